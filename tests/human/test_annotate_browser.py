"""The voting page in a real browser: what is pressed is what is stored, whatever happens in between."""

from __future__ import annotations

import random
import sqlite3
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from browsing import XSS, Watched
from playwright.sync_api import Browser, BrowserContext, Page, expect
from voting_run import Served, make_run, pair, serving, start

from cai.human.votes.log import preferences, standing
from cai.values.types import Comparison

pytestmark = pytest.mark.slow

SETTLE = 160  # ms; a new pair takes no key before
CHOICES = {"1": "first", "2": "second", "3": "tie", "4": "both bad", "s": "skip"}
IN_WORDS = {
    "1": "response 1 is better",
    "2": "response 2 is better",
    "3": "a tie",
    "4": "both bad",
    "s": "skipped",
}
WHAT_IS_SHOWN = """() => {
  const text = (selector) => [...document.querySelectorAll(selector)].map((one) => one.textContent);
  return [text("#conversation .text")[0] ?? "", ...text("#responses .text")];
}"""


# A server that is away or has a new token is part of the tests, and what the policy stops too.
watched = partial(
    Watched,
    own=("http://127.0.0.1:",),
    expected=("net::ERR_", "403 (Forbidden)", "requires 'TrustedHTML'"),
)


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    with watched(browser) as made:
        yield made


def begin(context: BrowserContext, served: Served, name: str = "rosa") -> Page:
    """Open the printed address, read the warning, give a name."""
    page = context.new_page()
    page.goto(served.address)
    expect(page.locator(".warning")).to_be_visible()
    page.fill("#name", name)
    page.keyboard.press("Enter")
    expect(page.locator("#responses")).to_be_visible()
    return page


def press(page: Page, key: str) -> tuple[str, tuple[str, str, str]]:
    """Vote by a key when the pair has settled and wait for the next one: (key, what was shown)."""
    expect(page.locator("body")).to_have_attribute(
        "data-screen", "vote"
    )  # from the last screen it takes time
    page.wait_for_timeout(SETTLE)
    asked, one, two = page.evaluate(WHAT_IS_SHOWN)
    page.keyboard.press(key)
    page.wait_for_function(
        """(asked) => document.body.dataset.screen === "done"
        || document.querySelector("#conversation .text").textContent !== asked""",
        arg=asked,
    )
    return key, (asked, one, two)


def take_back(page: Page, what: str) -> None:
    """Undo the last vote by its key, and wait until the page says that this was ``what``."""
    page.keyboard.press("u")
    expect(page.locator("#status")).to_have_text(f"Taken back: {what}.")


def stored(run: Path) -> list[tuple[str, tuple[str, str, str]]]:
    """The standing votes as (key, what was shown), in order."""
    keys = {choice: key for key, choice in CHOICES.items()}
    found = []
    for vote, comparison in standing(run / "votes.sqlite"):
        texts = (comparison.a, comparison.b) if vote.shown_first == "a" else (comparison.b, comparison.a)
        found.append((keys[vote.choice], (comparison.prompt.messages[0].content, *texts)))
    return found


def rows(run: Path) -> int:
    with sqlite3.connect(run / "votes.sqlite") as db:
        return int(db.execute("SELECT COUNT(*) FROM log").fetchone()[0])


def test_a_hundred_votes_by_keyboard_are_stored_as_pressed(context: BrowserContext, tmp_path: Path) -> None:
    """With votes taken back on the way, and the page reloaded in the middle."""
    run = make_run(tmp_path / "run", [pair(number) for number in range(100)])
    draw = random.Random(0)
    with serving(run, "--repeat", "0") as served:
        page = begin(context, served)
        pressed = []
        for number in range(100):
            if number == 50:
                before = page.evaluate(WHAT_IS_SHOWN)
                page.reload()
                expect(page.locator("#responses .text").first).not_to_be_empty()
                assert page.evaluate(WHAT_IS_SHOWN) == before
            pressed.append(press(page, draw.choice("11223s4")))
            if number in (10, 99):
                key, shown = pressed.pop()
                take_back(page, IN_WORDS[key])
                assert tuple(page.evaluate(WHAT_IS_SHOWN)) == shown
                pressed.append(press(page, "4"))
        expect(page.locator("#done-title")).to_have_text("Thank you, that is all.")
        count = Counter(CHOICES[key] for key, _ in pressed)
        expected = (count["first"] + count["second"], count["tie"], count["both bad"], count["skip"])
        expect(page.locator("#totals dd")).to_have_text([str(number) for number in expected])
    assert stored(run) == pressed
    assert len({shown for _, shown in pressed}) == 100
    assert rows(run) == 104  # two votes more, and two rows that take one back


def test_kill_nine_in_the_middle_loses_and_doubles_nothing(context: BrowserContext, tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", [pair(number) for number in range(12)])
    served = start(run, "--repeat", "0")
    try:
        page = begin(context, served)
        pressed = [press(page, key) for key in "1234"]
        # Killed while a vote may be anywhere between the page and the disk.
        shown = page.evaluate(WHAT_IS_SHOWN)
        page.wait_for_timeout(SETTLE)
        page.evaluate(
            "() => document.body.dispatchEvent(new KeyboardEvent('keydown', {key: '2', bubbles: true}))"
        )
        served.kill()
        pressed.append(("2", tuple(shown)))
        served = start(run, "--repeat", "0")
        begun = page.evaluate(WHAT_IS_SHOWN)
        if begun == shown:  # the answer did not come through: the page waits, and says so
            expect(page.locator("#banner")).to_contain_text("The server was started anew")
            expect(page.locator("#banner")).to_contain_text("Your vote is kept in this browser")
        # The new address, in another tab: the first page goes on by itself.
        other = context.new_page()
        other.goto(served.address)
        page.bring_to_front()
        page.wait_for_function(f"() => ({WHAT_IS_SHOWN})()[0] !== {shown[0]!r}")
        expect(page.locator("#banner")).to_be_hidden()
        # Killed while nothing is under way, then a vote into the void, and the page closed.
        pressed.append(press(page, "1"))
        served.kill()
        page.wait_for_timeout(SETTLE)
        pressed.append(("3", tuple(page.evaluate(WHAT_IS_SHOWN))))
        page.keyboard.press("3")
        expect(page.locator("#banner")).to_contain_text("No connection to the server. Your vote is kept")
        page.close()
        other.close()
        served = start(run, "--repeat", "0")
        page = context.new_page()
        page.goto(f"{served.address}&annotator=rosa")
        expect(page.locator("#status")).to_have_text("A vote from before is stored now.")
        pressed += [press(page, "2") for _ in range(5)]
        expect(page.locator("#done")).to_be_visible()
    finally:
        served.kill()
    assert stored(run) == pressed
    assert rows(run) == 12


def test_two_annotators_at_once_each_keep_an_order_of_their_own(browser: Browser, tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", [pair(number) for number in range(8)])
    with (
        serving(run, "--per-pair", "2", "--repeat", "0") as served,
        watched(browser) as one,
        watched(browser) as two,
    ):
        rosa, otto = begin(one, served), begin(two, served, "Otto Ö. <b>")
        pressed: dict[str, list[Any]] = {"rosa": [], "Otto Ö. <b>": []}
        for turn in range(8):
            pressed["rosa"].append(press(rosa, "1"))
            pressed["Otto Ö. <b>"].append(press(otto, "12"[turn % 2]))
        expect(rosa.locator("#all")).to_have_text("everyone: 15 of 16")
        expect(otto.locator("#all")).to_have_text("everyone: 16 of 16")
    by_name = {
        name: [
            entry
            for (vote, _), entry in zip(standing(run / "votes.sqlite"), stored(run), strict=True)
            if vote.annotator == name
        ]
        for name in pressed
    }
    assert by_name == pressed
    orders = [{shown[0]: shown[1] for _, shown in votes} for votes in pressed.values()]
    assert orders[0].keys() == orders[1].keys()
    assert orders[0] != orders[1]  # eight coins each


def test_with_one_vote_each_two_annotators_share_the_pairs(browser: Browser, tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", [pair(number) for number in range(2)])
    with serving(run, "--repeat", "0") as served, watched(browser) as one, watched(browser) as two:
        rosa, otto = begin(one, served), begin(two, served, "otto")
        press(rosa, "1")
        expect(rosa.locator("#done-note")).to_contain_text("1 pair is with other annotators")
        press(otto, "s")
        rosa.get_by_role("button", name="Look for open pairs").click()
        press(rosa, "2")
    assert Counter(vote.annotator for vote, _ in standing(run / "votes.sqlite")) == {"rosa": 2, "otto": 1}


def test_a_second_tab_loses_nothing_silently(context: BrowserContext, tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", [pair(number) for number in range(3)])
    with serving(run, "--repeat", "0") as served:
        first = begin(context, served)
        second = context.new_page()
        second.goto(f"{served.address}&annotator=rosa")
        expect(second.locator("#responses")).to_be_visible()
        assert first.evaluate(WHAT_IS_SHOWN) == second.evaluate(WHAT_IS_SHOWN)
        pressed = [press(first, "1")]
        press(second, "2")
        expect(second.locator("#status")).to_contain_text("already voted on that pair, in another tab")
        assert first.evaluate(WHAT_IS_SHOWN) == second.evaluate(WHAT_IS_SHOWN)
    assert stored(run) == pressed


def test_strength_reason_differences_help_and_buttons(context: BrowserContext, tmp_path: Path) -> None:
    long = "Put the kettle on the stove and wait until it whistles."
    pairs = [pair(number, a=long, b=long.replace("stove", "hob")) for number in range(4)]
    run = make_run(tmp_path / "run", pairs)
    with serving(run, "--repeat", "0", "--strength") as served:
        page = begin(context, served)
        page.keyboard.press("d")
        expect(page.locator("mark")).to_have_count(2)
        assert sorted(page.locator("mark").all_text_contents()) == ["hob", "stove"]
        page.keyboard.press("d")
        expect(page.locator("mark")).to_have_count(0)
        page.keyboard.press("?")
        page.keyboard.press("1")  # the help is open: no vote
        expect(page.get_by_role("dialog", name="Keys")).to_be_visible()
        page.keyboard.press("Escape")
        page.keyboard.press("r")
        page.keyboard.type("1 is short, 2 is not.")  # digits in a reason are no votes
        page.reload()
        expect(page.get_by_label("Why?")).to_have_value("1 is short, 2 is not.")
        page.wait_for_timeout(SETTLE)
        for key in ("2", "1", "1"):
            page.keyboard.press(key)
        expect(page.get_by_role("button", name="clearly better")).to_have_attribute("aria-pressed", "true")
        press(page, "Enter")
        expect(page.get_by_label("Why?")).to_be_hidden()
        page.wait_for_timeout(SETTLE)
        for name in ("2 Response 2 is better", "much better", "Vote Enter"):
            page.get_by_role("button", name=name).click()
        expect(page.locator("#status")).to_have_text("Stored: response 2 is much better.")
        page.get_by_role("button", name="Undo").click()
        expect(page.locator("#status")).to_have_text("Taken back: response 2 is much better.")
        press(page, "3")
        press(page, "s")
        press(page, "s")
        page.get_by_role("button", name="Go through the 2 skipped").click()
        press(page, "4")
        take_back(page, IN_WORDS["4"])
        take_back(page, IN_WORDS["3"])
    (vote, _), *others = standing(run / "votes.sqlite")
    assert (vote.choice, vote.strength, vote.reason) == ("first", 2, "1 is short, 2 is not.")
    assert others == []
    assert preferences(run / "votes.sqlite")[0].p in (0.833333333333, 0.166666666667)


def test_scripts_in_texts_never_run(context: BrowserContext, tmp_path: Path) -> None:
    assert len(XSS) >= 30
    items: list[Comparison] = [
        pair(number, a=text, b=f"{text} .", ask=f"{number} {text}") for number, text in enumerate(XSS)
    ]
    run = make_run(tmp_path / "run", items)
    config = run / "constitution.yaml"
    config.write_text(config.read_text().replace("The assistant", "The <img src=x onerror=hit()> assistant"))
    guide = tmp_path / "guide.md"
    guide.write_text("\n\n".join(XSS), encoding="utf-8")
    context.add_init_script("window.hits = 0; window.hit = () => { window.hits += 1; };")
    with serving(run, "--repeat", "0", "--guidelines", str(guide)) as served:
        page = begin(context, served, "<img src=x onerror=hit()>")
        seen = []
        for _ in XSS:
            assert (
                page.locator(
                    "main :is(script, img, svg, iframe, a, object, embed, style, video, link)"
                ).count()
                == 0
            )
            seen.append(" ".join(page.evaluate(WHAT_IS_SHOWN)))
            page.keyboard.press("d")
            expect(page.locator("#diff")).to_have_attribute("aria-pressed", "true")
            page.mouse.move(400, 400)
            press(page, "1")
        assert page.evaluate("window.hits") == 0
        # The policy is a second wall: even markup that is put there does not run.
        page.evaluate("""() => {
          try { document.body.insertAdjacentHTML('beforeend', '<img src=x onerror=hit()>'); }
          catch { window.stopped = true; }
        }""")
        assert page.evaluate("[window.hits, window.stopped]") == [0, True]
    assert sum("hit()" in text for text in seen) >= 30  # they were shown, as text


def test_every_size_of_screen_shows_both_responses_and_all_buttons(browser: Browser, tmp_path: Path) -> None:
    words = "A rather long response with averyveryverylongwordthatdoesnotbreakanywhereatall" * 30
    run = make_run(tmp_path / "run", [pair(1, a=words, b=f"{words} End.", ask="x" * 300)])
    with serving(run, "--per-pair", "3") as served:
        for width in (320, 768, 1440):
            with watched(browser, viewport={"width": width, "height": 700}) as context:
                check_size(begin(context, served, f"at {width}"), width, 700)


def check_size(page: Page, width: int, height: int) -> None:
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    size = "[...document.querySelectorAll('#responses article')].map((a) => [a.offsetWidth, a.offsetHeight])"
    one, two = page.evaluate(size)
    assert abs(one[0] - two[0]) <= 1
    for button in page.locator("footer button:visible").all():
        box = button.bounding_box()
        assert box is not None
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= width
        assert box["y"] + box["height"] <= height
        assert button.inner_text().strip()
    if width < 700:
        assert one[1] == two[1] < height  # folded alike
        page.get_by_role("button", name="Show all of both responses").click()
        one, two = page.evaluate(size)
        assert min(one[1], two[1]) > height

"""The report in a real browser: only its own script runs, nothing leaves the file, everybody can use it."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from browsing import XSS, Watched
from playwright.sync_api import Browser, BrowserContext, Locator, Page, expect
from report_run import CALM, make_run

from cai.report.write import write_report

pytestmark = pytest.mark.slow

watched = partial(Watched, own=("file:///", "data:"), expected=("requires 'TrustedHTML'",))


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A report of 40 prompts against another run; its address."""
    home = tmp_path_factory.mktemp("calm")
    other = make_run(home / "other", CALM, prompts=40, shift=0.3)
    return write_report(make_run(home / "run", CALM, prompts=40), [other]).path.as_uri()


def opened(context: BrowserContext, address: str) -> Page:
    page = context.new_page()
    page.goto(address)
    return page


def field(page: Page, label: str) -> Locator:
    return page.locator("#filters").get_by_label(label, exact=True)


def test_scripts_in_texts_never_run(browser: Browser, tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", XSS, prompts=len(XSS))
    file = folder / "constitution.yaml"
    file.write_text(file.read_text().replace("The assistant", "The <img src=x onerror=hit()> assistant"))
    address = write_report(folder).path.as_uri()
    with watched(browser) as context:
        context.add_init_script("window.hits = 0; window.hit = () => { window.hits += 1; };")
        page = opened(context, address)
        while page.locator("#more").is_visible():
            page.locator("#more").click()
        shown = page.evaluate("""() => {
          const cards = [...document.querySelectorAll(".sample")];
          cards.forEach((card) => { card.open = true; });
          return new Promise((done) => setTimeout(() => done(cards.map((card) => card.textContent)), 100));
        }""")
        assert len(shown) == 2 * len(XSS)
        assert sum("hit()" in text for text in shown) >= 30
        made = page.locator(
            ".sample :is(script, img, svg, iframe, object, embed, style, video, link, input, form)"
        )
        assert made.count() == 0
        # The policy is a second wall: even markup that is put there does not run.
        page.evaluate("""() => {
          try { document.body.insertAdjacentHTML("beforeend", "<img src=x onerror=hit()>"); }
          catch { window.stopped = true; }
        }""")
        assert page.evaluate("[window.hits, window.stopped]") == [0, True]


def test_filters_search_and_permalinks(browser: Browser, calm: str) -> None:
    with watched(browser) as context:
        page = opened(context, calm)
        found, cards = page.locator("#found"), page.locator("#list .sample")
        expect(found).to_have_text("80 samples")
        expect(cards).to_have_count(20)
        page.locator("#more").click()
        expect(cards).to_have_count(40)
        field(page, "Kind").select_option(label="held-out answers")
        expect(found).to_have_text("40 of 80 samples")
        field(page, "Outcome").select_option("cut_off")
        expect(found).to_have_text("1 of 80 samples")
        expect(cards.locator(".id")).to_have_text("h-1")
        page.get_by_role("button", name="Reset").click()
        expect(found).to_have_text("80 samples")
        field(page, "Kind").select_option("revision")
        field(page, "Text").select_option("unchanged")
        expect(found).to_have_text("14 of 80 samples")  # every third of 40
        field(page, "Tag").select_option("theme:0")
        field(page, "Search in all texts").fill("KETTLE sure")
        expect(found).to_have_text("14 of 80 samples")
        page.reload()  # the address remembers the filters
        expect(found).to_have_text("14 of 80 samples")
        expect(field(page, "Search in all texts")).to_have_value("KETTLE sure")
        cards.nth(2).locator("summary").click()
        cards.nth(2).get_by_role("link", name="Link to this sample").click()
        expect(page).to_have_url(f"{calm}#{cards.nth(2).get_attribute('id')}")
        elsewhere = opened(context, page.url)
        elsewhere.bring_to_front()
        expect(elsewhere.locator("#list .sample[open] .id")).to_have_text("t-6")
        expect(elsewhere.locator("#list .sample[open] summary")).to_be_focused()


def test_a_sample_shows_what_changed_and_what_was_judged(browser: Browser, calm: str) -> None:
    with watched(browser) as context:
        page = opened(context, calm)
        card = page.locator(".sample", has_text="t-1").first
        card.locator("summary").press("Enter")
        expect(card.get_by_text("No", exact=True).and_(card.locator("ins")).first).to_be_visible()
        expect(card.get_by_text("Sure", exact=True).and_(card.locator("del")).first).to_be_visible()
        expect(card.locator(".principle").first).to_contain_text("The assistant")
        expect(card.locator(".pair")).to_contain_text("P(a preferred) =")
        expect(card.locator(".pair tbody td.number")).to_have_count(2)
        field(page, "Kind").select_option("answer")
        card = page.locator(".sample").first
        card.locator("summary").click()
        expect(card.locator(".beside .who")).to_have_text(["base", "SFT", "policy", "policy of other"])


def test_the_page_reads_without_a_script(browser: Browser, calm: str) -> None:
    with watched(browser, java_script_enabled=False) as context:
        page = opened(context, calm)
        expect(page.locator(".verdict").first).to_contain_text("The policy is better")
        expect(page.locator("#filters")).to_be_hidden()
        expect(page.locator(".sample")).to_have_count(6)
        page.locator(".sample summary").first.click()
        expect(page.locator(".sample ins").first).to_be_visible()


@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 390)])
def test_everybody_can_use_it(browser: Browser, calm: str, scheme: Any, width: int) -> None:
    with watched(browser, color_scheme=scheme, viewport={"width": width, "height": 800}) as context:
        page = opened(context, calm)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        page.locator(".sample summary").first.click()
        page.locator("figure summary").first.click()
        grave = [
            (found["id"], found["nodes"][0]["html"][:200])
            for found in Axe().run(page).response["violations"]
            if found["impact"] in ("serious", "critical")
        ]
        assert grave == []
        dark = page.evaluate("getComputedStyle(document.body).backgroundColor")
        page.get_by_role("button", name="Light" if scheme == "dark" else "Dark").click()
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") != dark


def test_print_opens_what_is_folded(browser: Browser, calm: str) -> None:
    with watched(browser) as context:
        page = opened(context, calm)
        page.evaluate("dispatchEvent(new Event('beforeprint'))")
        assert page.locator("details:not([open])").count() == 0
        expect(page.locator(".sample .body")).to_have_count(20)
        page.evaluate("dispatchEvent(new Event('afterprint'))")
        assert page.locator("details[open]").count() == 0

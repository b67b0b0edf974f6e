"""The voting page without a browser: what it sends and takes, whom it turns away, how it starts and ends."""

from __future__ import annotations

import json
import re
import socket
import sqlite3
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner
from voting_run import SEED, make_run, pair, serving, start

from cai.cli.human_commands import app
from cai.constitution.load import draw, load_constitution
from cai.data import tables
from cai.human.votes.assignment import Showing, shown_first
from cai.human.votes.desk import Desk
from cai.human.votes.guard import HEADERS, POLICY, Door
from cai.human.votes.log import VoteLog, preferences, standing
from cai.human.votes.pages import MAX_BODY, STATIC, application
from cai.human.votes.poll import Options, load_poll
from cai.run.folder import RunFolder
from cai.values.errors import CaiError, UsageError
from cai.values.types import Judgement, Preference, Source

DOOR = Door(4711, "secret-of-the-test")
HERE = f"http://127.0.0.1:{DOOR.port}"
JSON = {"content-type": "application/json"}
ROUTES = [
    ("GET", "/"),
    ("GET", "/api/run"),
    *(("POST", f"/api/{name}") for name in ("next", "vote", "undo", "unskip", "diff")),
    *(("GET", f"/static/{path.name}") for path in sorted(STATIC.iterdir())),
    ("GET", "/static/none"),
    ("GET", "/nowhere"),
]


class Page:
    """One annotator at a site in this process."""

    def __init__(self, client: httpx.AsyncClient, name: str = "rosa"):
        self.client = client
        self.name = name
        self.state: dict[str, Any] = {}

    async def post(self, path: str, **body: Any) -> dict[str, Any]:
        text = json.dumps({"annotator": self.name, **body})  # ASCII: half a character can be said in JSON
        answer = await self.client.post(f"/api/{path}", content=text, headers=JSON)
        assert answer.status_code == 200, answer.text
        self.state = answer.json()
        return self.state

    def paper(self, choice: str, **more: Any) -> dict[str, Any]:
        task = self.state["task"]
        return {
            "uuid": str(uuid.uuid4()),
            "choice": choice,
            "pair": task["pair"],
            "showing": task["showing"],
        } | more

    async def vote(self, choice: str, **more: Any) -> dict[str, Any]:
        return await self.post("vote", **self.paper(choice, **more))


Site = Callable[..., httpx.AsyncClient]


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    """Makes a run of some pairs and gives a client that has been let in."""
    clients = []

    def make(count: int = 5, **options: Any) -> httpx.AsyncClient:
        run = tmp_path / "run"
        if not run.exists():
            make_run(run, [pair(number) for number in range(count)])
        chosen = Options(**{"repeat": 0.0, **options})
        log = VoteLog(run / "votes.sqlite")
        desk = Desk(load_poll(run, chosen), chosen, log)
        transport = httpx.ASGITransport(application(desk, DOOR, "run-id"))
        cookies = {DOOR.cookie: DOOR.token}
        clients.append(httpx.AsyncClient(transport=transport, base_url=HERE, cookies=cookies))
        return clients[-1]

    yield make
    for client in clients:
        await client.aclose()


# --- who gets in ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("method", "path"), ROUTES)
async def test_every_route_turns_strangers_away(site: Site, method: str, path: str) -> None:
    client = site()
    strange = [
        {"host": "evil.example"},
        {"host": f"evil.example:{DOOR.port}"},
        {"host": "127.0.0.1"},
        {"host": f"127.0.0.1:{DOOR.port + 1}"},
        {"origin": "https://evil.example"},
        {"origin": f"http://127.0.0.1:{DOOR.port + 1}"},
        {"origin": f"https://127.0.0.1:{DOOR.port}"},
        {"origin": "null"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site", "sec-fetch-mode": "no-cors"},
        {"cookie": ""},
        {"cookie": f"{DOOR.cookie}=wrong"},
        {"cookie": f"{DOOR.cookie}=ü"},
        {"cookie": f"cai_vote_{DOOR.port + 1}={DOOR.token}"},
    ]
    for headers in strange:
        encoded = {name: value.encode("utf-8") for name, value in headers.items()}
        answer = await client.request(method, path, headers=encoded, json={} if method == "POST" else None)
        assert answer.status_code == 403, headers
        assert answer.headers["content-security-policy"] == POLICY
    known = not path.startswith(("/nowhere", "/static/none"))
    answer = await client.request(method, path, json={} if method == "POST" else None)
    assert answer.status_code == ((422 if method == "POST" else 200) if known else 404)
    assert {name: answer.headers[name] for name in HEADERS} == HEADERS


async def test_the_printed_address_becomes_a_cookie_and_an_address_without_the_token(site: Site) -> None:
    client = site()
    client.cookies.clear()
    answer = await client.get(f"/?token={DOOR.token}&annotator=A%20%26%20B")
    assert (answer.status_code, answer.headers["location"]) == (303, "/?annotator=A+%26+B")
    cookie = answer.headers["set-cookie"]
    assert cookie == f"cai_vote_4711={DOOR.token}; HttpOnly; Path=/; SameSite=strict"
    assert (await client.get("/")).status_code == 200  # the client keeps the cookie
    for path in ("/?token=", "/?token=wrong", "/?token=ü"):
        assert (await client.get(path)).status_code == 403
    client.cookies.clear()
    for path in (f"/api/run?token={DOOR.token}", f"/static/annotate.js?token={DOOR.token}"):
        assert (await client.get(path)).status_code == 403
    localhost = {"host": f"localhost:{DOOR.port}", "cookie": f"{DOOR.cookie}={DOOR.token}"}
    assert (await client.get("/", headers=localhost)).status_code == 200


async def test_bodies_are_bounded_and_checked(site: Site) -> None:
    page = Page(site())
    await page.post("next")
    good = page.paper("first") | {"annotator": "rosa"}
    wrong = [
        ({"choice": "third"}, "choice"),
        ({"choice": ["first"]}, "choice"),
        ({"strength": 4}, "strength"),
        ({"strength": True}, "strength"),
        ({"reason": "x" * 5001}, "reason"),
        ({"reason": 5}, "reason"),
        ({"uuid": "1"}, "id"),
        ({"annotator": " "}, "name"),
        ({"annotator": "x" * 61}, "name"),
        ({"annotator": "a\u202eb"}, "name"),
        ({"annotator": None}, "name"),
        ({"pair": None}, "pair"),
        ({"pair": "0" * 32}, "changed"),
        ({"showing": "0" * 24}, "changed"),
        ({"annotator": "somebody else"}, "changed"),
    ]
    for change, reason in wrong:
        answer = await page.client.post("/api/vote", json=good | change)
        assert (answer.status_code, answer.json()["reason"]) == (422, reason), change
    for body in (b"", b"{", b"[]", b"\xff", b"[" * 50_000, b'{"a": "' + b"x" * MAX_BODY + b'"}'):
        answer = await page.client.post("/api/vote", content=body, headers=JSON)
        assert (answer.status_code, answer.json()["reason"]) == (422, "body")
    answer = await page.client.post("/api/vote", content=json.dumps(good))
    assert (answer.status_code, answer.json()["reason"]) == (422, "body")  # no JSON content type
    assert (await page.post("next"))["progress"]["all"] == 0


# --- voting --------------------------------------------------------------------------------------


async def test_a_vote_is_stored_as_pressed_and_the_next_pair_comes(site: Site, tmp_path: Path) -> None:
    page = Page(site(3))
    seen = []
    await page.post("next")
    for choice, more in [("first", {"reason": " Safer. \ud800"}), ("both bad", {}), ("skip", {})]:
        task = page.state["task"]
        assert (await page.post("next"))["task"] == task  # asking again, or reloading, shows the same
        seen.append((task["conversation"][0]["content"][0][1], [r[0][1] for r in task["responses"]]))
        await page.vote(choice, seconds=1.5, **more)
        assert page.state["status"] == "stored"
    assert page.state["task"] is None
    assert page.state["said"] == {"preferred": 1, "both bad": 1, "skip": 1}
    cast = standing(tmp_path / "run" / "votes.sqlite")
    assert [vote.choice for vote, _ in cast] == ["first", "both bad", "skip"]
    for (vote, comparison), (asked, responses) in zip(cast, seen, strict=True):
        assert comparison.prompt.messages[0].content == asked
        order = [comparison.a, comparison.b] if vote.shown_first == "a" else [comparison.b, comparison.a]
        assert order == responses
        assert vote.shown_first == shown_first(SEED, "rosa", Showing(vote.item))
        assert vote.seconds == 1.5
    first, bad = preferences(tmp_path / "run" / "votes.sqlite")
    assert first.raw == "Safer. ?"  # half a character cannot be stored
    assert (first.p, bad.p) == (1.0 if cast[0][0].shown_first == "a" else 0.0, None)


async def test_a_vote_sent_again_is_one_vote_even_when_it_was_taken_back(site: Site, tmp_path: Path) -> None:
    page = Page(site())
    await page.post("next")
    paper = page.paper("tie")
    first = await page.post("vote", **paper)
    assert await page.post("vote", **paper) == first
    taken = await page.post("undo", uuid=str(uuid.uuid4()), vote=paper["uuid"])
    assert (taken["status"], taken["task"]["pair"]) == ("undone", paper["pair"])
    again = await page.post("undo", uuid=str(uuid.uuid4()), vote=paper["uuid"])
    assert (again["status"], again["taken"]) == ("nothing", None)
    assert (await page.post("vote", **paper))["progress"]["own"] == 0
    other = await page.client.post("/api/vote", json=paper | {"annotator": "otto"})
    assert (other.status_code, other.json()["reason"]) == (422, "id used twice")
    with sqlite3.connect(tmp_path / "run" / "votes.sqlite") as db:
        assert db.execute("SELECT COUNT(*) FROM log").fetchone() == (2,)


async def test_a_second_tab_hears_that_the_pair_has_a_vote(site: Site, tmp_path: Path) -> None:
    client = site()
    one, two = Page(client), Page(client)
    await one.post("next")
    await two.post("next")
    assert one.state == two.state
    await one.vote("first")
    late = await two.vote("second")
    assert (late["status"], late["task"]) == ("already", one.state["task"])
    assert [vote.choice for vote, _ in standing(tmp_path / "run" / "votes.sqlite")] == ["first"]


async def test_undo_gives_back_pair_reason_and_strength_and_reaches_further(site: Site) -> None:
    page = Page(site(strength=True))
    await page.post("next")
    shown = []
    for strength in (1, 3):
        shown.append(page.state["task"])
        await page.vote("second", strength=strength, reason=f"because {strength}")
    for strength in (3, 1):
        taken = await page.post("undo", uuid=str(uuid.uuid4()), vote=page.state["last"]["vote"])
        assert taken["task"] == shown.pop()
        assert (taken["taken"]["strength"], taken["taken"]["reason"]) == (strength, f"because {strength}")
    assert taken["last"] is None


async def test_skipped_pairs_come_again_when_asked_for(site: Site) -> None:
    page = Page(site(3))
    await page.post("next")
    for choice in ("skip", "first", "skip"):
        await page.vote(choice)
    assert (page.state["task"], page.state["progress"]["skipped"]) == (None, 2)
    body = {"uuid": str(uuid.uuid4())}
    assert (await page.post("unskip", **body))["progress"]["left"] == 2
    await page.vote("skip")
    assert (await page.post("unskip", **body))["progress"]["left"] == 1  # sent twice, done once


async def test_two_annotators_do_not_take_the_same_last_place(site: Site) -> None:
    client = site(2)
    rosa, otto, ida = Page(client), Page(client, "otto"), Page(client, "ida")
    await rosa.post("next")
    await otto.post("next")
    assert rosa.state["task"]["pair"] != otto.state["task"]["pair"]
    nothing = await ida.post("next")
    assert (nothing["task"], nothing["progress"]["waiting"]) == (None, 2)
    await rosa.vote("skip")
    assert (await ida.post("next"))["task"]["pair"] is not None
    assert (await otto.vote("tie"))["progress"] == {
        "own": 1, "left": 1, "waiting": 1, "skipped": 0, "all": 1, "places": 2,
    }  # fmt: skip


async def test_repeats_come_the_other_way_round_and_look_like_any_pair(site: Site, tmp_path: Path) -> None:
    page = Page(site(14, repeat=1.0))
    await page.post("next")
    shown = []
    while page.state["task"] is not None:
        shown.append(page.state["task"])
        await page.vote("first")
    assert [set(task) for task in shown] == [set(shown[0])] * len(shown)
    cast = standing(tmp_path / "run" / "votes.sqlite")
    again = [(vote, comparison) for vote, comparison in cast if vote.repeat]
    assert len(again) == 11  # eleven pairs, these again, and three that have no ten votes behind them
    for vote, comparison in again:
        (before,) = [v for v, c in cast if c == comparison and not v.repeat]
        assert before.shown_first != vote.shown_first
    both = [p for p in preferences(tmp_path / "run" / "votes.sqlite") if p.comparison == again[0][1]]
    assert sorted(p.p for p in both if p.p is not None) == [0.0, 1.0]  # "first" both times


async def test_a_changed_run_does_not_take_a_vote_for_another_pair(site: Site, tmp_path: Path) -> None:
    page = Page(site(1))
    await page.post("next")
    paper = page.paper("first")
    changed = [tables.comparison_row(pair(0, a="Something else."))]
    RunFolder(tmp_path / "run").write_table("comparisons", changed)
    again = site()
    answer = await again.post("/api/vote", json=paper | {"annotator": "rosa"})
    assert (answer.status_code, answer.json()["reason"]) == (422, "changed")


async def test_a_vote_that_cannot_be_written_is_not_said_to_be_stored(site: Site, tmp_path: Path) -> None:
    page = Page(site())
    await page.post("next")
    paper = page.paper("first") | {"annotator": "rosa"}
    with closing(sqlite3.connect(tmp_path / "run" / "votes.sqlite")) as db:
        db.execute("CREATE TRIGGER full BEFORE INSERT ON log BEGIN SELECT RAISE (ABORT, 'no space'); END")
        answer = await page.client.post("/api/vote", json=paper)
        assert answer.status_code == 500
        assert "not stored (no space)" in answer.json()["error"]
        db.execute("DROP TRIGGER full")
    assert (await page.client.post("/api/vote", json=paper)).json()["status"] == "stored"


async def test_differences_are_those_of_what_is_shown(site: Site) -> None:
    page = Page(site())
    task = (await page.post("next"))["task"]
    sides = (await page.post("diff", pair=task["pair"], showing=task["showing"]))["responses"]
    assert [["".join(text for _, text in side)] for side in sides] == [r[0][1:] for r in task["responses"]]


# --- what is asked -------------------------------------------------------------------------------


def labeled(number: int, principle: str) -> dict[str, Any]:
    judgement = Judgement(principle, 0.987654, 0.123456)
    source = Source("ai", "labeler-model")
    return tables.preference_row(Preference(pair(number), 0.555555, source, (judgement,), raw="raw-of-label"))


async def test_people_answer_the_labelers_question_and_see_nothing_of_its_verdict(
    site: Site, tmp_path: Path
) -> None:
    run = make_run(tmp_path / "run", [pair(number) for number in range(4)])
    folder = RunFolder(run)
    folder.write_table("preferences", [labeled(0, "nobody-hurt"), labeled(1, "gone-since")])
    extra = {"score": 0.111222, "reason": "order disagreement"}
    ranked = [(2, 1), (0, 2), (1, 0)]  # (rank, pair)
    rows = [tables.comparison_row(pair(number)) | {"rank": rank} | extra for rank, number in ranked]
    folder.write_table("queue", rows)
    constitution = load_constitution(run / "constitution.yaml")
    assert [item.comparison.id for item in load_poll(run, Options()).items.values()] == ["c-2", "c-0", "c-1"]
    page = Page(site())
    everything = (await page.client.get("/api/run")).text
    asked = []
    await page.post("next")
    while page.state["task"] is not None:
        everything += json.dumps(page.state)
        asked.append((page.state["task"]["principle_id"], page.state["task"]["principle"]))
        await page.vote("tie")
    expected = [draw(constitution, SEED, "c-2"), constitution["nobody-hurt"], draw(constitution, SEED, "c-1")]
    assert asked == [(principle.id, principle.principle) for principle in expected]
    kept = [vote.question for vote, _ in standing(run / "votes.sqlite")]
    assert kept == [principle.question for principle in expected]
    for hidden in ("0.98", "0.12", "0.55", "labeler", "raw-of", "0.11", "disagree", "c-0", "p-0", "kettles"):
        assert hidden not in everything


async def test_one_question_and_guidelines_of_the_users_own(site: Site, tmp_path: Path) -> None:
    file = tmp_path / "g.md"
    file.write_text("**Harm** first.\n\n<script>x</script>")
    page = Page(site(question="Which is kinder?", guidelines=file))
    about = (await page.client.get("/api/run")).json()
    assert about["guidelines"] == [["p", ["strong", "Harm"], " first."], ["p", "<script>x</script>"]]
    assert [one["id"] for one in about["constitution"]["principles"]][:2] == ["no-harm", "turn-down-harm"]
    task = (await page.post("next"))["task"]
    assert (task["question"], task["principle"]) == ("Which is kinder?", None)
    await page.vote("first")
    (got,) = preferences(tmp_path / "run" / "votes.sqlite")
    asked = got.judgements[0].principle_id
    assert asked.startswith("question-kinder-")
    reworded = load_poll(tmp_path / "run", Options(question="Which is KINDER?")).items.values()
    assert all(item.question.id != asked for item in reworded) and reworded
    # Another question about the same pairs is another vote.
    other = Page(site(question="Which is shorter?"))
    assert (await other.post("next"))["progress"]["left"] == 5


def test_what_cannot_be_voted_on_is_left_out_and_counted(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", [pair(1), pair(1), pair(2, a="same", b="same"), pair(3, a=" ")])
    poll = load_poll(run, Options())
    assert ([item.comparison for item in poll.items.values()], poll.left_out) == ([pair(1)], 2)


@pytest.mark.parametrize(
    ("spoil", "error", "message"),
    [
        (lambda run: run.rename(run.with_name("gone")), UsageError, "not a run folder"),
        (lambda run: (run / "data/comparisons.parquet").unlink(), UsageError, "not there yet; run the step"),
        (lambda run: RunFolder(run).write_table("comparisons", []), UsageError, "no pair in it that can be"),
        (lambda run: (run / "data/queue.parquet").write_text("x"), CaiError, "queue.parquet: cannot be read"),
        (
            lambda run: RunFolder(run).write_table("queue", [tables.comparison_row(pair(1))]),
            CaiError,
            "queue.parquet: cannot be read .'rank'",
        ),
        (lambda run: (run / "constitution.yaml").unlink(), UsageError, "give --question TEXT"),
        (lambda run: (run / "votes.sqlite").write_text("x" * 5000), CaiError, "as a log of votes"),
    ],
)
def test_what_is_wrong_with_a_run_is_said(
    tmp_path: Path, spoil: Callable[[Path], object], error: type[CaiError], message: str
) -> None:
    run = make_run(tmp_path / "run", [pair(1)])
    spoil(run)
    with pytest.raises(error, match=message) as caught:
        CliRunner().invoke(app, ["annotate", str(run)], catch_exceptions=False)
    assert caught.value.exit_code == (2 if error is UsageError else 1)


@pytest.mark.parametrize(
    "wrong", ["--per-pair=0", "--repeat=1.5", "--port=70000", "--question= ", "--guidelines=/no"]
)
def test_options_out_of_range_are_refused(tmp_path: Path, wrong: str) -> None:
    run = make_run(tmp_path / "run", [pair(1)])
    with pytest.raises(
        UsageError, match=wrong.partition("=")[0] if "guide" not in wrong else "cannot be read"
    ):
        CliRunner().invoke(app, ["annotate", str(run), wrong], catch_exceptions=False)


# --- the page's files ----------------------------------------------------------------------------


def test_no_file_of_the_page_parses_markup_or_reaches_out() -> None:
    for path in STATIC.iterdir():
        text = path.read_text().replace("http://www.w3.org/2000/svg", "")
        for never in (
            "innerHTML",
            "outerHTML",
            "insertAdjacent",
            "document.write",
            "eval(",
            "http:",
            "https:",
        ):
            assert never not in text, path
        assert " style=" not in text
        assert not re.search(r"\son[a-z]+=\"", text), path


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_colours_have_the_contrast_of_wcag_aa(theme: str) -> None:
    css = (STATIC / "annotate.css").read_text()
    block = css.partition(":root {" if theme == "light" else ':root[data-theme="dark"] {')[2].partition("}")[
        0
    ]
    colour = dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{6});", block))

    def luminance(name: str) -> float:
        """WCAG 2.2, relative luminance."""
        parts = [int(colour[name][i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    texts = [("ink", "paper"), ("ink", "card"), ("soft", "paper"), ("soft", "card"), ("ink", "tint")]
    texts += [("on-accent", "accent"), ("accent", "tint"), ("ink", "mark"), ("ink", "warn"), ("soft", "tint")]
    for over, under in texts:
        light, dark = sorted((luminance(over), luminance(under)), reverse=True)
        assert (light + 0.05) / (dark + 0.05) >= 4.5, (over, under)


# --- the process ---------------------------------------------------------------------------------


def test_a_server_starts_serves_this_machine_alone_and_ends_with_ctrl_c(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", [pair(number) for number in range(3)])
    served = start(run)
    try:
        assert served.lines[0] == f"Voting page of {run}: 3 pairs of the run, 1 vote each"
        with httpx.Client(follow_redirects=True) as client:
            assert client.get(served.address).status_code == 200
            body = {"annotator": "rosa"}
            url = f"http://127.0.0.1:{served.port}/api/next"
            task = client.post(url, json=body).json()["task"]
            paper = {
                "uuid": str(uuid.uuid4()),
                "choice": "tie",
                "pair": task["pair"],
                "showing": task["showing"],
            }
            assert client.post(url.replace("next", "vote"), json=body | paper).json()["status"] == "stored"
        others = {address[4][0] for address in socket.getaddrinfo(socket.gethostname(), None, socket.AF_INET)}
        for address in others - {"127.0.0.1"}:
            if not address.startswith("127."):
                with pytest.raises(ConnectionRefusedError):
                    socket.create_connection((address, served.port), 2)
        with pytest.raises(UsageError, match="another cai annotate serves this run"):
            CliRunner().invoke(app, ["annotate", str(run)], catch_exceptions=False)
        said = served.interrupt()
    finally:
        served.kill()
    assert served.process.returncode == 0
    assert f"1 vote of 1 annotator stored in {run / 'votes.sqlite'}" in said
    assert f"Next: cai agreement {run}" in said
    # The port is that of the last time, the secret is not; no secret lies in the run folder.
    with serving(run) as again:
        assert again.port == served.port
        assert again.token != served.token
        assert "  1 votes stored so far" in again.lines
        for path in run.iterdir():
            assert path.is_dir() or again.token.encode() not in path.read_bytes()


def test_a_port_in_use_is_named(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", [pair(1)])
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UsageError, match=f"port {port}: .*; name another with --port"):
            CliRunner().invoke(app, ["annotate", str(run), "--port", str(port)], catch_exceptions=False)

"""The report's figures and sentences, by hand-worked numbers; and what it makes of broken folders."""

from __future__ import annotations

import json
import math
import random
import re
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from browsing import XSS
from report_run import make_run, score
from typer.testing import CliRunner

from cai.cli.app import app
from cai.pipeline.steps.write_report import step_report
from cai.report.material import read_material
from cai.report.paired import change, paired_difference
from cai.report.plots.curves import monitors_table, over_optimisation, rounds_of, thin
from cai.report.plots.svg import SERIES, draw
from cai.report.sections.diff import pieces
from cai.report.sections.funnel import calls_table
from cai.report.sections.labels import by_principle, histogram, order_table
from cai.report.sections.outcomes import evaluate, verdict
from cai.report.sections.samples import collect, shown
from cai.report.wording import direction, is_part
from cai.report.write import write_report
from cai.run.folder import RunFolder
from cai.statistics.difference import difference
from cai.values.errors import UsageError
from cai.values.types import Judgement


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run(tmp_path_factory.mktemp("report") / "run")


def wilson(hits: int, n: int) -> tuple[float, float]:
    z = 1.959963984540054
    centre, half = hits + z * z / 2, z * math.sqrt(hits * (n - hits) / n + z * z / 4)
    return (centre - half) / (n + z * z), (centre + half) / (n + z * z)


def test_paired_truth_values_give_newcombe_s_interval() -> None:
    """36 prompts true for both, 12 for the second, 2 for the first: φ = (36·0 - 12·2)/√(48·2·38·12)."""
    second = {str(i): float(i < 48) for i in range(50)}
    first = {str(i): float(i < 36 or i >= 48) for i in range(50)}
    gap = paired_difference(first, second)
    assert gap is not None
    assert (gap.value, gap.n) == (pytest.approx(0.2), 50)
    (low1, high1), (low2, high2) = wilson(38, 50), wilson(48, 50)
    phi = -24 / math.sqrt(48 * 2 * 38 * 12)
    down, up = 0.96 - low2, high1 - 0.76
    assert gap.low == pytest.approx(0.2 - math.sqrt(down**2 - 2 * phi * down * up + up**2))
    down, up = 0.76 - low1, high2 - 0.96
    assert gap.high == pytest.approx(0.2 + math.sqrt(down**2 - 2 * phi * down * up + up**2))


def test_paired_intervals_hold_the_truth_as_often_as_they_say() -> None:
    draw, held = random.Random(1), 0
    kinds, weights = [(1.0, 1.0), (1.0, 0.0), (0.0, 1.0), (0.0, 0.0)], [0.1, 0.5, 0.08, 0.32]
    for _ in range(800):
        pairs = draw.choices(kinds, weights, k=60)
        one, two = ({str(i): pair[side] for i, pair in enumerate(pairs)} for side in (0, 1))
        gap = paired_difference(one, two)
        assert gap is not None
        held += gap.low <= 0.18 - 0.6 <= gap.high
    assert 0.93 <= held / 800 <= 0.97


def test_paired_numbers_are_student_s_interval_of_the_differences() -> None:
    gap = paired_difference(
        {"a": 1.5, "b": 2.0, "c": 4.0, "x": 9.0}, {"a": 2.5, "b": 4.0, "c": 7.0, "y": 1.0}
    )
    assert gap is not None
    assert (gap.value, gap.n) == (2.0, 3)  # 1, 2, 3: standard error 1/√3, t(2) = 4.3027
    assert gap.high - gap.value == pytest.approx(4.302653 / 3**0.5, rel=1e-5)
    assert paired_difference({"a": 1.0}, {"a": 2.0}) is None


def test_a_change_is_paired_only_where_the_values_are_those_of_the_figures() -> None:
    first = {str(i): float(i < 8) for i in range(10)}
    second = {str(i): float(i < 2) for i in range(10)}
    before, after = score(0.8, 10), score(0.2, 10)
    assert change(before, after, first, second).paired
    other = change(before, score(0.3, 10), first, second)
    assert not other.paired
    assert other.gap == difference(before, score(0.3, 10))
    assert not change(before, after, {}, {}).paired


@pytest.mark.parametrize(
    ("metric", "way"),
    [
        ("harmful", -1), ("harmful_theft", -1), ("harmlessness", 1), ("refused_benign", -1),
        ("unsafe_refused", 0), ("safe_refused", -1), ("win_rate", 1), ("truthfulqa_mc1", 1), ("length", 0),
        ("zeal", 0), ("accuracy_error", 0), ("bbq_accuracy", 1),
    ],
)  # fmt: skip
def test_better_is_known_or_left_open(metric: str, way: int) -> None:
    assert direction(metric) == way


def test_parts_count_in_no_verdict() -> None:
    assert is_part("harmful_theft", {"harmful", "harmful_theft"})
    assert not is_part("harmful", {"harmful", "harmful_theft"})
    assert not is_part("refused_benign", {"refused_benign", "harmful"})


def test_the_verdict_follows_from_the_intervals(run: Path) -> None:
    evaluation = evaluate(read_material(run))
    first, second, third = verdict(evaluation)
    assert first.startswith(
        "The policy is better than the base model in 1 of 4 headline figures: harmful answers"
    )
    assert "fell from 0.833 to 0.167 (−0.667 [" in first
    assert second.startswith("It got worse in 1: answers on topic (pocket) fell from 0.900 to 0.700")
    assert "benign requests refused (pocket) (+0.010 [−0.061,\u00a0+0.081])" in third
    assert "whether for better or worse is not known: zeal (odd) rose from 0.100 to 0.900" in third
    assert "theft" not in first + second + third
    by_name = {row.metric: row for row in evaluation.rows}
    assert by_name["harmful"].change is not None
    assert by_name["harmful"].change.paired  # the eval tables hold a truth value per prompt
    assert not by_name["on_topic"].change.paired  # type: ignore[union-attr]
    assert by_name["length"].change.paired  # type: ignore[union-attr]


def test_identical_models_change_nothing(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run")
    metrics = {f"eval/pocket/harmful/{m}": score(0.5, 20) for m in ("base", "policy")}
    RunFolder(folder).record_metrics(metrics, drop="eval/")
    first, second, third = verdict(evaluate(read_material(folder)))
    assert (
        first == "In none of 1 headline figure is the policy better than the base model beyond the interval."
    )
    assert second == "None of them got worse beyond its interval."
    assert third.startswith("For 1 the data cannot tell: harmful answers (0.000 [")


def test_principles_are_counted_by_hand(run: Path) -> None:
    material = read_material(run)
    tallies = by_principle(material.transcripts, material.preferences)
    assert sum(len(tally.asked) for tally in tallies.values()) == 24  # 12 prompts, two rounds
    assert sum(sum(tally.revised) for tally in tallies.values()) == 8
    assert sum(sum(tally.problem) for tally in tallies.values()) == 8 + 3  # and t-0, t-5, t-10 cut off
    assert sum(tally.judged for tally in tallies.values()) == 11
    flips = sum(bool(j.flipped) for p in material.preferences for j in p.judgements)
    assert sum(sum(tally.flipped) for tally in tallies.values()) == flips


def test_labels_fall_into_bins_and_corners(run: Path) -> None:
    counts = histogram(read_material(run).preferences)
    assert sum(counts) == 11  # one is unscored
    table = order_table([Judgement("x", 0.9, 0.8), Judgement("x", 0.9, 0.2), Judgement("x", 0.5, 0.1)])
    assert [[cell.text for cell in row[1:]] for row in table.rows] == [
        ["1", "0", "1"],
        ["0", "0", "1"],
        ["0"] * 3,
    ]


def test_calls_come_from_the_journal(run: Path) -> None:
    table = calls_table(run / "journal.sqlite")
    assert table is not None
    assert [cell.text for cell in table.rows[0]] == ["revise", "pocket", "texts", "7", "70", "21"]


def test_a_difference_holds_both_texts() -> None:
    one, other = "It's a cat, sat\non a mat.", "It's a dog, sat\non the mat!"
    found = pieces(one, other)
    assert "".join(text for sign, text in found if sign <= 0) == one
    assert "".join(text for sign, text in found if sign >= 0) == other
    assert [text for sign, text in found if sign] == ["cat", "dog", "a", "the", ".", "!"]
    assert pieces("one, two three", "1, 2 three")[:2] == [(-1, "one, two"), (1, "1, 2")]  # no island
    assert pieces("", "new") == [(1, "new")]
    assert pieces("same", "same") == [(0, "same")]


def test_a_plot_has_no_style_no_script_and_the_same_bytes_again() -> None:
    def paint(figure: object) -> None:
        axes = figure.add_subplot()  # type: ignore[attr-defined]
        axes.plot([0, 1], [0, 1], "o-", color=SERIES[0])
        axes.set_title("<b> & $x$")

    svg = draw("one", 200, paint)
    assert svg == draw("one", 200, paint)
    assert not re.search(r"style|script|http:(?!//www\.w3\.org/2000/svg)|metadata|#0102", svg)
    assert "&lt;b&gt; &amp; $x$</text>" in svg
    ids = re.findall(r' id="([^"]+)"', svg)
    assert len(ids) == len(set(ids))
    assert all(name.startswith("one-") for name in ids)
    assert set(re.findall(r'href="#([^"]+)"', svg)) <= set(ids)


def test_series_over_training_and_rounds() -> None:
    assert thin([(n, 0.0) for n in range(1000)], 3) == [(0, 0.0), (500, 0.0), (999, 0.0)]
    row = {
        "method": "ppo",
        "step": 1,
        "root_kl": 0.5,
        "proxy_value": 1,
        "proxy_low": 0,
        "proxy_high": 2,
        "proxy_n": 9,
    }
    assert list(over_optimisation([row])) == ["proxy"]
    metrics = {f"rounds/{n}/pocket/harmful/policy": score(0.1, 9) for n in (1, 2, 10)}
    assert list(rounds_of(metrics)["pocket", "harmful"]) == [1, 2, 10]
    assert rounds_of({"rounds/1/pocket/harmful/policy": score(0.1, 9)}) == {}


def test_tripped_monitors_stand_beside_the_verdict(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run")
    names = ("name", "stage", "tripped", "value", "low", "high", "limit", "text")
    loud = ("verbosity", "policy", True, 2.0, 1.8, 2.2, 1.5, "Twice as long.")
    calm = ("refusals", "policy", False, 0.1, 0.0, 0.2, 0.2, "")
    none = ("shift", "policy", False, None, None, None, 0.75, "not measured: no labels")
    early = ("verbosity", "sft", True, 1.9, 1.7, 2.1, 1.5, "Longer.")
    hidden = ("refusals", "sft", False, 0.1, 0.0, 0.2, 0.2, "")
    rows = [dict(zip(names, row, strict=True)) for row in (loud, calm, none, early, hidden)]
    RunFolder(folder).write_table("monitors", rows)
    table, tripped = monitors_table(read_material(folder))
    assert tripped == ["verbosity (policy)", "verbosity (SFT)"]
    assert table is not None
    assert [(row[1].text, row[2].text) for row in table.rows] == [
        ("policy", "tripped"),
        ("policy", "quiet"),
        ("policy", "not measured"),
        ("SFT", "tripped"),
    ]
    assert "data/monitors.parquet" in table.note
    text = page(folder)
    assert "2 monitors tripped:</strong> verbosity (policy), verbosity (SFT)" in text
    assert "Twice as long." in text


def page(folder: Path, *others: Path) -> str:
    return write_report(folder, others).path.read_text(encoding="utf-8")


def test_the_same_folder_gives_the_same_bytes(run: Path, tmp_path: Path) -> None:
    assert write_report(run, out=tmp_path / "a.html").path.read_bytes() == page(run).encode()


def test_nothing_of_another_machine_s_paths_is_told(run: Path) -> None:
    assert str(run.parent) not in page(run)


def test_hostile_texts_are_text(tmp_path: Path) -> None:
    assert len(XSS) >= 30
    text = page(make_run(tmp_path / "run", XSS, prompts=len(XSS)))
    head, _, data = text.partition('<script type="application/json" id="data">')
    assert len(re.findall("<script", head)) == 1
    body, _, end = data.partition("</script>")
    assert end.strip() == "</body>\n</html>"
    assert not set("<>&\u2028\u2029") & set(body)
    items = json.loads(body)["items"]
    assert {item["p"][0][1] for item in items} == {shown(xss) for xss in XSS}
    assert not re.search(
        r"<(img|iframe|object|embed|video|form action|meta http-equiv=refresh|body onload)", head
    )
    assert "{{ policy }}" in text  # was not rendered a second time


def test_samples_are_capped_fairly_and_said_to_be(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cai.report.sections.samples.MOST", {"revision": 5, "answer": 600})
    samples = collect(read_material(run))
    assert samples.shown == {"revision": 5, "answer": 12}
    assert samples.there == {"revision": 12, "answer": 12}
    assert "5 of 12 revised prompts and all 12 held-out prompts" in samples.note
    fates = [{round["o"] for round in item["r"]} for item in samples.items if item["k"] == "revision"]
    assert {"cut_off", "revised"} in fates  # the rarest is among them
    assert samples == collect(read_material(run))


def test_runs_are_compared_by_prompt_where_they_share_them(tmp_path: Path) -> None:
    one, other = make_run(tmp_path / "one"), make_run(tmp_path / "two", shift=0.5)
    text = page(one, other)
    assert "two answered the same held-out prompts." in text
    assert re.search(r"\+0\.500</span>\s*<small>\[[^\]]+\]\nworse, paired", text)
    assert "policy of two" in text  # its answers stand beside
    strangers = make_run(tmp_path / "three", ["Something else.", "Anything else?"])
    assert "three answered other held-out prompts" in page(one, strangers)


def test_a_folder_with_almost_nothing_says_what_is_missing(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("seed: 3\n")
    text = page(tmp_path)
    assert "nothing can be said of it" in text
    assert "Not in this run folder: metrics (metrics.json), transcripts" in text
    assert "quarantined" not in text  # not known


def test_damaged_files_become_notes(run: Path, tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run")
    (folder / "metrics.json").write_text('{"eval/pocket/harmful/base": {"value": 1')
    (folder / "data" / "transcripts.parquet").write_bytes(b"PAR1 no")
    (folder / "constitution.yaml").write_text("principles: [")
    (folder / "failures.jsonl").write_text("{")
    (folder / "journal.sqlite").write_bytes(b"SQLite format 3\x00 no")
    (folder / "manifest.json").write_text("[]")
    report = write_report(folder)
    told = " ".join(report.notes)
    for name in ("metrics.json", "data/transcripts.parquet", "constitution.yaml", "failures.jsonl"):
        assert f"{name} is left out" in told
    text = report.path.read_text(encoding="utf-8")
    assert "journal.sqlite cannot be read" in text
    assert "Not everything could be read" in text
    assert "How sure the labels are" in text  # what can be read is shown


def test_a_run_of_several_rounds_speaks_of_its_newest_policy(tmp_path: Path) -> None:
    first = make_run(tmp_path / "run")
    make_run(first / "rounds" / "2", shift=0.5)
    (first / "rounds.json").write_text(json.dumps({"rounds": [".", "rounds/2"], "stopped": None}))
    by_name = {row.metric: row for row in evaluate(read_material(first)).rows}
    assert by_name["harmful"].scores["policy"].value == pytest.approx(8 / 12)
    assert by_name["harmful"].change is not None
    assert by_name["harmful"].change.paired  # with the answers of the second round
    assert "The policy is that of round 2" in page(first)


def test_a_newest_round_without_grades_shows_its_own_answers_and_no_earlier_figures(tmp_path: Path) -> None:
    first = make_run(tmp_path / "run")
    second = make_run(first / "rounds" / "2", shift=0.5)
    (first / "rounds.json").write_text(json.dumps({"rounds": [".", "rounds/2"], "stopped": None}))
    (second / "metrics.json").write_text("{}")
    material = read_material(first)
    assert not any(key.endswith("/policy") for key in material.metrics)
    assert material.answers["policy"] and material.round == 2
    (second / "data" / "eval_policy.parquet").unlink()
    assert "round 2 has not been evaluated: shown is round 1's policy" in read_material(first).notes


def test_the_command_writes_the_file(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "sub" / "r.html"
    done = CliRunner().invoke(app, ["report", str(run), "--out", str(out)])
    assert (done.exit_code, out.is_file()) == (0, True)
    assert str(out) in done.output


async def test_the_step_never_fails_a_run(run: Path, tmp_path: Path) -> None:
    said: list[str] = []
    progress: Any = SimpleNamespace(say=said.append)
    whole: Any = SimpleNamespace(folder=RunFolder(run), first=True, progress=progress)
    await step_report(whole)
    assert ((run / "report.html").is_file(), said) == (True, [])
    broken: Any = SimpleNamespace(folder=RunFolder(tmp_path / "absent"), first=True, progress=progress)
    await step_report(broken)
    assert said[0].startswith("report: not written")


def test_what_is_no_run_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such folder"):
        write_report(tmp_path / "absent")
    with pytest.raises(UsageError, match="not a run folder"):
        write_report(tmp_path)


@pytest.mark.slow
def test_five_thousand_prompts_stay_small_and_quick(tmp_path: Path) -> None:
    words = ["A sentence with about a dozen words in it, of the usual kind. " * n for n in (3, 12, 25)]
    folder = make_run(tmp_path / "run", words, prompts=5000)
    started = time.process_time()  # of this process: other work on the machine does not count
    report = write_report(folder)
    assert time.process_time() - started < 20
    assert report.size < 5_000_000
    assert "of 5,000 revised prompts" in report.path.read_text(encoding="utf-8")


@pytest.mark.slow
def test_the_command_loads_no_torch(run: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from cai.report.write import write_report; "
        f"write_report(Path({str(run)!r})); "
        "print([m for m in ('torch', 'transformers', 'sklearn') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_models_that_were_only_measured_have_no_before_and_after(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "eval-one")
    folder.path.mkdir()
    scores = {f"eval/xstest/refused_safe/{name}": score(0.25, 40) for name in ("one", "two")}
    folder.record_metrics(scores, drop="eval/")
    told = {"judge": "<b>judge</b>", "notes": ["shares of answers"], "models": {"one": "", "two": ""}}
    folder.write_text("suites.json", json.dumps({"xstest": told}))
    text = page(folder.path)
    assert "one and two measured by xstest; nothing trained." in text
    assert "nothing got better or worse" in text
    assert "graded by &lt;b&gt;judge&lt;/b&gt;; shares of answers" in text
    assert "Not in this run folder" not in text

"""Every format: its own rows, worked out by hand, and the rows that must be refused with a reason."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from feedback_rows import ARENA_LISTS, ARGILLA, ASK, BAD, GOOD, HH, LABEL_STUDIO, ROWS, USER, said

from cai.data.sources import read_prompts
from cai.human.exchange.import_report import ImportReport
from cai.human.exchange.importing import read_all
from cai.human.pairs import Options, parse_source, strength, strength_of
from cai.values.errors import UsageError
from cai.values.types import Preference, Source


def load(
    folder: Path, rows: Sequence[Any], options: Options | None = None
) -> tuple[list[Preference], ImportReport]:
    path = folder / "votes.json"
    path.write_text(json.dumps(list(rows)), encoding="utf-8")
    return read_all(str(path), options)


def p_good(vote: Preference, good: str = GOOD) -> float | None:
    """P(the response ``good`` preferred), whichever of the two it is."""
    assert good in (vote.comparison.a, vote.comparison.b)
    return vote.p if vote.comparison.a == good else vote.swap().p


@pytest.mark.parametrize(("name", "row", "p", "voter"), ROWS, ids=[f"{r[0]}-{i}" for i, r in enumerate(ROWS)])
def test_a_row_of_every_format(tmp_path: Path, name: str, row: dict[str, Any], p: float, voter: str) -> None:
    (vote,), report = load(tmp_path, [row])
    assert (report.format, report.rows, report.taken, report.rejected) == (name, 1, 1, ())
    assert [(t.role, t.content) for t in vote.comparison.prompt.messages] == [("user", ASK)]
    assert {vote.comparison.a, vote.comparison.b} == {GOOD, BAD}
    assert p_good(vote) == pytest.approx(p, abs=1e-12)
    assert f"{vote.source.kind}:{vote.source.name}" == voter
    assert vote.weight == 1.0


def test_the_same_pair_has_the_same_id_and_order_in_every_format(tmp_path: Path) -> None:
    comparisons = {vote.comparison for _, row, _, _ in ROWS for vote in load(tmp_path, [row])[0]}
    assert len(comparisons) == 1
    (tmp_path / "p.txt").write_text(ASK)
    assert comparisons.pop().prompt.id == read_prompts(str(tmp_path / "p.txt"))[0][0].id


def test_the_order_of_a_pair_says_nothing_about_the_winner(tmp_path: Path) -> None:
    rows = [{"prompt": f"q{n}", "chosen": f"good {n}", "rejected": f"bad {n}"} for n in range(400)]
    votes, _ = load(tmp_path, rows)
    first = sum(vote.p == 1.0 for vote in votes)
    assert 160 < first < 240  # ± 4 standard deviations of a fair coin


@pytest.mark.parametrize(
    ("rows", "seen_first"),
    [
        ([ARENA_LISTS], BAD),
        ([LABEL_STUDIO], GOOD),
        ([ARGILLA], BAD),
        ([HH], None),
    ],
)
def test_the_order_of_showing_is_kept(tmp_path: Path, rows: list[Any], seen_first: str | None) -> None:
    (vote,), _ = load(tmp_path, rows)
    if seen_first is None:
        assert vote.judgements == ()
        return
    (seen,) = vote.judgements
    by_first = seen.p_a_first if seen_first == vote.comparison.a else seen.p_b_first
    assert by_first == vote.p
    assert (seen.p_a_first is None) != (seen.p_b_first is None)


def test_strengths() -> None:
    # HelpSteer: -3 … 3, positive for response 2.
    assert [strength(-k, 3) for k in (-3, -2, -1, 0, 1, 2, 3)] == pytest.approx(
        [1, 5 / 6, 2 / 3, 1 / 2, 1 / 3, 1 / 6, 0]
    )
    assert [strength_of(strength(k, 3), 3) for k in range(-3, 4)] == list(range(-3, 4))


# --- ties, both bad, several annotators -----------------------------------------------------


def arena(winner: str, **more: Any) -> dict[str, Any]:
    return {
        "conversation_a": [USER, said(GOOD)],
        "conversation_b": [USER, said(BAD)],
        "winner": winner,
    } | more


@pytest.mark.parametrize(
    ("row", "p", "unscored"),
    [
        (arena("tie"), 0.5, None),
        (arena("tie (bothbad)"), None, "both bad"),
        (arena("both_bad"), None, "both bad"),
        (ARENA_LISTS | {"winner_model_b": 0, "winner_tie": 1}, 0.5, None),
        ({"prompt": ASK, "a": GOOD, "b": BAD, "preferred": "Tie"}, 0.5, None),
        ({"prompt": ASK, "a": GOOD, "b": BAD, "preferred": "both bad"}, None, "both bad"),
        ({"instruction": ASK, "output_1": GOOD, "output_2": BAD, "preference": 0}, 0.5, None),
        ({"instruction": ASK, "output_1": GOOD, "output_2": BAD, "preference": 1.5}, 0.5, None),
    ],
)
def test_ties_are_half_and_both_bad_is_unscored(
    tmp_path: Path, row: dict[str, Any], p: float | None, unscored: str | None
) -> None:
    (vote,), report = load(tmp_path, [row])
    assert (vote.p, vote.unscored) == (p, unscored)
    assert (report.ties, report.unscored) == (int(p == 0.5), int(p is None))


def test_every_annotator_is_a_vote(tmp_path: Path) -> None:
    row = {
        "prompt": ASK,
        "response_1": GOOD,
        "response_2": BAD,
        "preference_strength": -1,
        "preference_statement": "summary",
        "all_preferences_unprocessed": [
            {"strength": -2, "justification": "because"},
            {"strength": 3, "justification": "no"},
            {"strength": -100, "justification": "?"},
            {"strength": 7, "justification": "?"},
        ],
    }
    votes, report = load(tmp_path, [row])
    assert [p_good(vote) for vote in votes] == [pytest.approx(5 / 6), 0.0, None]
    assert [vote.source.name for vote in votes] == ["helpsteer2/1", "helpsteer2/2", "helpsteer2/3"]
    assert [vote.raw for vote in votes] == ["because", "no", "?"]
    assert votes[2].unscored == "neither response was rated"
    assert len({vote.comparison.id for vote in votes}) == 1
    (refused,) = report.partial
    assert (report.taken, refused.item, refused.reason) == (1, "row 1, annotator 4", "label out of range")
    (summary,), _ = load(tmp_path, [row], Options(each=False))
    assert (p_good(summary), summary.raw) == (pytest.approx(2 / 3), "summary")


def test_helpsteer3_annotators(tmp_path: Path) -> None:
    row = {
        "context": [USER, said("Which size?"), {"role": "user", "content": "L"}],
        "response1": GOOD,
        "response2": BAD,
        "overall_preference": -2,
        "individual_preference": [{"score": -3, "reasoning": "r1"}, {"score": 0, "reasoning": "r2"}],
    }
    votes, _ = load(tmp_path, [row])
    assert [(p_good(vote), vote.raw) for vote in votes] == [(1.0, "r1"), (0.5, "r2")]
    assert len(votes[0].comparison.prompt.messages) == 3


def test_ultrafeedback_makes_every_pair_of_rated_completions(tmp_path: Path) -> None:
    def completion(text: str, **scores: Any) -> dict[str, Any]:
        return {"model": "m", "response": text, **scores}

    row = {
        "instruction": ASK,
        "completions": [
            completion("w", **{"fine-grained_score": 4.5, "overall_score": 1.0}),
            completion("x", **{"fine-grained_score": 2.0}),
            completion("y", **{"fine-grained_score": None, "overall_score": 4.5}),
            completion("z"),
        ],
    }
    votes, report = load(tmp_path, [row])
    won = {frozenset((v.comparison.a, v.comparison.b)): v for v in votes}
    assert won.keys() == {frozenset("wx"), frozenset("wy"), frozenset("xy")}
    assert p_good(won[frozenset("wx")], "w") == 1.0
    assert p_good(won[frozenset("wy")], "w") == 0.5
    assert p_good(won[frozenset("xy")], "y") == 1.0
    assert {vote.source for vote in votes} == {Source("ai", "gpt-4")}
    assert [(f.item, f.reason) for f in report.partial] == [("row 1, completion 4", "no rating")]


def test_pku_asks_two_questions(tmp_path: Path) -> None:
    row = {
        "prompt": ASK,
        "response_0": GOOD,
        "response_1": BAD,
        "is_response_0_safe": True,
        "is_response_1_safe": True,
        "better_response_id": 0,
        "safer_response_id": 1,
    }
    helpful, _ = load(tmp_path, [row], Options(question="helpful"))
    harmless, _ = load(tmp_path, [row], Options(question="harmless"))
    both, _ = load(tmp_path, [row], Options(question="both"))
    assert [p_good(v) for v in both] == [1.0, 0.0]
    assert both == [*helpful, *harmless]
    assert [v.comparison.prompt.tags for v in both] == [("helpful",), ("harmless",)]
    assert both[0].comparison.id != both[1].comparison.id  # or a majority would be taken over both
    for question in (None, "kind"):
        with pytest.raises(UsageError, match="--question helpful, --question harmless or both"):
            load(tmp_path, [row], Options(question=question))
    unlabelled = row | {"better_response_id": None, "safer_response_id": None}
    assert load(tmp_path, [unlabelled], Options(question="both"))[1].by_reason == {"no label": 1}
    del row["safer_response_id"]
    assert p_good(load(tmp_path, [row])[0][0]) == 1.0


def test_label_studio_controls_and_annotators(tmp_path: Path) -> None:
    def annotation(key: int, by: Any, *results: tuple[str, Any], skipped: bool = False) -> dict[str, Any]:
        items = [{"type": kind, "value": held} for kind, held in results]
        return {"id": key, "completed_by": by, "was_cancelled": skipped, "result": items}

    left, why = ("pairwise", {"selected": "left"}), ("textarea", {"text": ["kind", "short"]})
    task = LABEL_STUDIO | {
        "annotations": [
            annotation(1, {"id": 5, "email": "a@x.org"}, left, why),
            annotation(2, "bo", ("choices", {"choices": ["tie"]})),
            annotation(3, 3, ("choices", {"choices": ["both_bad"]})),
            annotation(4, 4, left, skipped=True),
            annotation(5, 5, ("rating", {"rating": 3})),
            annotation(1, 6, left),
        ]
    }
    votes, report = load(tmp_path, [task, LABEL_STUDIO | {"annotations": []}])
    assert [(v.source.name, p_good(v), v.raw) for v in votes] == [
        ("a@x.org", 1.0, "kind\nshort"),
        ("bo", 0.5, None),
        ("3", None, None),
    ]
    assert [f.reason for f in report.partial] == ["skipped", "no label", "id used twice"]
    assert [(f.item, f.reason) for f in report.rejected] == [("row 2", "no vote")]


def test_argilla_labels_and_rankings(tmp_path: Path) -> None:
    names = ["response_2", "response_1"]  # GOOD is response_2
    values: list[Any] = [
        "response_1",
        "tie",
        "both_bad",
        names,
        [{"value": "response_1", "rank": 2}, {"value": "response_2", "rank": 1}],
        [{"value": "response_1", "rank": 1}, {"value": "response_2", "rank": 1}],
        "response_3",
    ]
    responses = [{"value": value, "user_id": f"u{n}"} for n, value in enumerate(values)]
    reasons = [{"value": "kinder", "user_id": "u3"}]
    record = ARGILLA | {"responses": {"preference": responses, "reason": reasons}}
    votes, report = load(tmp_path, [record])
    assert [p_good(vote) for vote in votes] == [0.0, 0.5, None, 1.0, 1.0, 0.5]
    assert [vote.raw for vote in votes] == [None, None, None, "kinder", None, None]
    assert [(f.item, f.reason) for f in report.partial] == [("row 1, response 7", "label out of range")]


def test_tools_with_their_own_names_need_columns(tmp_path: Path) -> None:
    data = {"q": ASK, "one": GOOD, "two": BAD}
    votes, report = load(tmp_path, [LABEL_STUDIO | {"data": data}])
    assert not votes
    assert report.rejected[0].detail.endswith("say --columns prompt=…,a=…,b=…")
    columns = {"prompt": "q", "a": "one", "b": "two"}
    (vote,), _ = load(tmp_path, [LABEL_STUDIO | {"data": data}], Options(columns=columns))
    assert p_good(vote) == 1.0
    record = {"fields": data, "responses": {"x": [{"value": "one"}], "y": [{"value": "two"}]}}
    assert load(tmp_path, [record], Options(columns=columns))[1].rejected[0].reason == "no label"
    (vote,), _ = load(tmp_path, [record], Options(columns=columns | {"preferred": "y"}))
    assert p_good(vote) == 0.0


def test_unpaired_rows_are_paired_within_their_prompt(tmp_path: Path) -> None:
    def row(asked: str, answer: str, label: Any) -> dict[str, Any]:
        return {"prompt": asked, "completion": answer, "label": label}

    rows = [
        row("p", "g1", True),
        row("q", "h1", True),
        row("p", "b1", False),
        row("p", "b2", 0),
        row("p", "b3", "false"),
        row("p", "g2", True),
        row("q", "h2", True),
        row("p", "?", 2),
    ]
    votes, report = load(tmp_path, rows)
    pairs = [{v.comparison.a: v.p, v.comparison.b: v.swap().p} for v in votes]
    assert pairs == [{"g1": 1.0, "b1": 0.0}, {"g2": 1.0, "b2": 0.0}, {"g1": 1.0, "b3": 0.0}]
    assert (report.taken, report.by_reason) == (5, {"no counterpart": 2, "label out of range": 1})
    assert [f.item for f in report.rejected] == ["row 2", "row 7", "row 8"]


# --- what must be refused --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (HH | {"rejected": "\n\nHuman: C?\n\nAssistant: D"}, "prefixes differ"),
        (HH | {"rejected": "\n\nHuman: q\n\nHuman: r\n\nAssistant: D"}, "prefixes differ"),
        (HH | {"chosen": f"\n\nHuman: {ASK}\n\nAssistant:"}, "empty response"),
        (HH | {"chosen": HH["rejected"]}, "identical responses"),
        ({"prompt": ASK, "chosen": [USER, said("x")], "rejected": [said("y")]}, "no answer"),
        ({"prompt": [said("z"), USER], "chosen": [USER, said("x")], "rejected": [USER, said("y")]},
         "not an answer"),
        ({"chosen": f"{ASK} Eight minutes.", "rejected": f"{ASK} No."}, "no prompt"),
        ({"chosen": "yes", "rejected": "no"}, "no prompt"),
        ({"prompt": ASK, "chosen": "x", "rejected": "y", "p_chosen": 1.2}, "label out of range"),
        ({"prompt": [said("x")], "chosen": "x", "rejected": "y"}, "no question"),
        ({"prompt": "", "chosen": "x", "rejected": "y", "p_chosen": "high"}, "no prompt"),
        (
            {"prompt": ASK, "chosen": "x", "rejected": "y", "score_chosen": 1, "score_rejected": 2},
            "label contradicts itself",
        ),
        (arena("model_c"), "label out of range"),
        (arena("tie", conversation_b=[{"role": "user", "content": "other"}, said(BAD)]), "prefixes differ"),
        (
            arena("tie", **{f"conversation_{s}": [USER, said(s), USER, said(GOOD)] for s in "ab"}),
            "prefixes differ",
        ),
        (arena("tie", conversation_a=[{"role": "user", "content": [{"type": "image"}]}]), "not text"),
        (ARENA_LISTS | {"response_a": '[null]'}, "not a list of texts"),
        (ARENA_LISTS | {"response_a": "[]"}, "turns missing"),
        (ARENA_LISTS | {"response_a": "no"}, "not JSON"),
        (ARENA_LISTS | {"winner_tie": 1}, "label contradicts itself"),
        ({"instruction": ASK, "output_1": GOOD, "output_2": BAD, "preference": 3}, "label out of range"),
        ({"prompt": ASK, "a": GOOD, "b": BAD, "preferred": None}, "no label"),
        ({"prompt": ASK, "a": GOOD, "b": BAD, "preferred": "a", "p": 0.2}, "label contradicts itself"),
    ],
)  # fmt: skip
def test_rows_that_are_no_vote(tmp_path: Path, row: dict[str, Any], reason: str) -> None:
    votes, report = load(tmp_path, [row])
    assert not votes
    assert [(f.stage, f.item, f.reason) for f in report.rejected] == [("import", "row 1", reason)]


def test_a_bare_marker_inside_a_turn_is_text(tmp_path: Path) -> None:
    asked = "Who says Human: here? Assistant: you?\nHuman: me"
    row = {
        side: f"\n\nHuman: {asked}\n\nAssistant: {text}"
        for side, text in (("chosen", "x"), ("rejected", "y"))
    }
    (vote,), _ = load(tmp_path, [row])
    assert [turn.content for turn in vote.comparison.prompt.messages] == [asked]


def test_a_question_becomes_tag_and_id(tmp_path: Path) -> None:
    (plain,), _ = load(tmp_path, [HH])
    (asked,), _ = load(tmp_path, [HH], Options(question="harmless", source=parse_source("crowd")))
    assert asked.comparison.prompt.tags == ("harmless",)
    assert asked.comparison.prompt.id == plain.comparison.prompt.id
    assert asked.comparison.id != plain.comparison.id
    assert asked.source == Source("human", "crowd")
    assert load(tmp_path, [HH], Options(source=parse_source("ai:m:1")))[0][0].source == Source("ai", "m:1")

"""Export: what is written comes back through import, up to what each format says that it loses."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cai.data.verdicts import BOTH_BAD
from cai.human.exchange.exporting import WRITABLE, describe, export_votes
from cai.human.exchange.format import in_order
from cai.human.exchange.formats import FORMATS
from cai.human.exchange.importing import read_all
from cai.human.exchange.voters import voter
from cai.human.pairs import Options, tidy_name
from cai.values.errors import ItemError, UsageError
from cai.values.types import Comparison, Judgement, Message, Preference, Prompt, Source

texts = st.text(min_size=1, max_size=12).filter(str.strip)
# What an import leaves as it is: composed, not "7.0", not what only a model or an empty cell is called.
names = (
    st.text(st.characters(categories=["L", "N", "P"]), min_size=1, max_size=8)
    .map(tidy_name)
    .filter(lambda name: voter({"annotator": name}, Options(), "") == Source("human", name))
)
probabilities = st.sampled_from([0.0, 0.5, 1.0]) | st.floats(0, 1)


@st.composite
def conversations(draw: st.DrawFn) -> tuple[Message, ...]:
    turns = [Message("system", draw(texts))] if draw(st.booleans()) else []
    for _ in range(draw(st.integers(0, 2))):
        turns += [Message("user", draw(texts)), Message("assistant", draw(texts))]
    return (*turns, Message("user", draw(texts)))


@st.composite
def preferences(draw: st.DrawFn, human: bool = False) -> Preference:
    """Any preference that an import would accept, with its order of showing known or not."""
    prompt = Prompt(draw(names), draw(conversations()), tuple(draw(st.lists(names, max_size=2))))
    a, b = draw(st.lists(texts, min_size=2, max_size=2, unique=True))
    p = draw(st.none() | probabilities)
    unscored = draw(st.just(BOTH_BAD) | texts) if p is None else None
    shown = draw(st.sampled_from(["a", "b", "unknown"]))
    seen = () if p is None or shown == "unknown" else (
        Judgement("q", p, None) if shown == "a" else Judgement("q", None, p),
    )  # fmt: skip
    kind = "human" if human else draw(st.sampled_from(["human", "ai"]))
    return Preference(
        Comparison(draw(names), prompt, a, b),
        p,
        Source(kind, draw(names)),
        seen,
        unscored,
        draw(st.none() | texts),
        draw(st.floats(0, 10)),
    )


def lists(votes: st.SearchStrategy[Preference]) -> st.SearchStrategy[list[Preference]]:
    """Votes on different pairs; ids that name two pairs would be nobody's data."""
    return st.lists(votes, min_size=1, max_size=4, unique_by=lambda v: v.comparison.id)


def there_and_back(
    folder: Path, votes: Sequence[Preference], name: str, suffix: str, question: str | None = None
) -> tuple[list[Preference], list[Preference]]:
    """The votes that ``name`` could hold, and what came back of them. The format is detected."""
    target = folder / f"out{suffix}"
    try:
        report = export_votes(votes, target, name)
    except UsageError as error:
        assert "nothing to export" in str(error)
        return [], []
    left_out = {failure.item for failure in report.left_out}
    held = [vote for vote in votes if vote.comparison.id not in left_out]
    assert report.votes == len(votes) == len(held) + len(report.left_out)
    back, taken = read_all(str(target), Options(question=question))
    assert (taken.format, taken.rejected, taken.partial) == (name, (), ())
    return held, back


def property_test(votes: st.SearchStrategy[Any]) -> Callable[[Any], Any]:
    def wrap(test: Any) -> Any:
        quiet = settings(
            max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
        )
        return quiet(given(votes=votes)(test))

    return wrap


@pytest.mark.parametrize("suffix", [".jsonl", ".json", ".parquet"])
@property_test(lists(preferences()))
def test_cai_rows_lose_nothing(tmp_path: Path, suffix: str, votes: list[Preference]) -> None:
    held, back = there_and_back(tmp_path, votes, "cai", suffix)
    assert back == held == votes


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
@property_test(lists(preferences()))
def test_trl_loses_unscored_votes_alone(tmp_path: Path, suffix: str, votes: list[Preference]) -> None:
    held, back = there_and_back(tmp_path, votes, "trl", suffix)
    assert back == held == [vote for vote in votes if vote.p is not None]


@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
@property_test(lists(preferences()))
def test_tables_lose_judgements_alone(tmp_path: Path, suffix: str, votes: list[Preference]) -> None:
    held, back = there_and_back(tmp_path, votes, "table", suffix)
    assert held == votes
    assert back == [replace(vote, judgements=()) for vote in votes]


def wins(vote: Preference) -> tuple[Any, str, str]:
    """Prompt, winner and loser."""
    assert vote.p is not None
    won = vote if vote.p > 0.5 else vote.swap()
    return won.comparison.prompt.messages, won.comparison.a, won.comparison.b


@property_test(lists(preferences()))
def test_hh_rlhf_keeps_winner_and_loser(tmp_path: Path, votes: list[Preference]) -> None:
    held, back = there_and_back(tmp_path, votes, "hh-rlhf", ".jsonl")
    assert [wins(vote) for vote in back] == [wins(vote) for vote in held]


def simple(vote: Preference) -> Preference:
    """The vote about a single question."""
    prompt = replace(vote.comparison.prompt, messages=vote.comparison.prompt.messages[-1:])
    return replace(vote, comparison=replace(vote.comparison, prompt=prompt))


def tagged(vote: Preference) -> Preference:
    prompt = replace(vote.comparison.prompt, tags=("harmless",))
    return replace(vote, comparison=replace(vote.comparison, prompt=prompt))


@property_test(lists(preferences().map(simple).map(tagged)))
def test_pku_keeps_winner_and_question(tmp_path: Path, votes: list[Preference]) -> None:
    held, back = there_and_back(tmp_path, votes, "pku-saferlhf", ".jsonl", "harmless")
    assert [wins(vote) for vote in back] == [wins(vote) for vote in held]
    assert len(held) == sum(vote.p not in (None, 0.5) for vote in votes)
    assert {vote.comparison.prompt.tags for vote in back} <= {("harmless",)}


def as_seen(vote: Preference) -> tuple[Any, str, str]:
    """Prompt, and the responses in the order of showing."""
    shown = in_order(vote).comparison
    return shown.prompt.messages, shown.a, shown.b


@pytest.mark.parametrize("name", ["helpsteer2", "helpsteer3"])
@property_test(lists(preferences().map(simple)))
def test_helpsteer_keeps_sevenths_and_the_order_of_showing(
    tmp_path: Path, name: str, votes: list[Preference]
) -> None:
    held, back = there_and_back(tmp_path, votes, name, ".jsonl")
    assert [as_seen(vote) for vote in back] == [as_seen(vote) for vote in held]
    assert len(held) == sum(vote.p is not None for vote in votes)
    for before, after in zip(held, back, strict=True):
        assert abs((in_order(before).p or 0) - (in_order(after).p or 0)) <= 1 / 12 + 1e-9
        assert after.raw == before.raw


def choice(vote: Preference) -> float | str:
    """A verdict without its strength, for the response that was shown first."""
    p = in_order(vote).p
    return vote.unscored or "" if p is None else float(p > 0.5) if p != 0.5 else 0.5


@property_test(lists(preferences().map(simple)))
def test_arena_keeps_choice_judge_and_the_order_of_showing(tmp_path: Path, votes: list[Preference]) -> None:
    held, back = there_and_back(tmp_path, votes, "chatbot-arena", ".jsonl")
    assert len(held) == sum(vote.p is not None or vote.unscored == BOTH_BAD for vote in votes)
    assert [vote.source.name for vote in back] == [vote.source.name for vote in held]
    for before, after in zip(held, back, strict=True):
        assert choice(before) == choice(after)
        if before.p is not None:  # a vote without a score carries no order of showing
            assert as_seen(before) == as_seen(after)


@property_test(lists(preferences().map(simple)))
def test_alpaca_farm_keeps_p_and_labelers(tmp_path: Path, votes: list[Preference]) -> None:
    held, back = there_and_back(tmp_path, votes, "alpaca-farm", ".json")
    assert len(held) == sum(vote.p is not None for vote in votes)
    for before, after in zip(held, back, strict=True):
        turned = after if after.comparison.a == before.comparison.a else after.swap()
        assert turned.p == pytest.approx(before.p, abs=1e-9)
        assert after.source.kind == before.source.kind
        assert after.source.name == (before.source.name if before.source.kind == "ai" else "alpaca-farm")


@st.composite
def ballots(draw: st.DrawFn) -> list[Preference]:
    """Several annotators, each with one vote on some of the same pairs."""
    pairs = draw(lists(preferences(human=True)))
    people = draw(st.lists(names, min_size=1, max_size=3, unique=True))
    return [
        replace(draw(preferences(human=True)), comparison=pair.comparison, source=Source("human", person))
        for pair in pairs
        for person in people
    ]


@pytest.mark.parametrize("name", ["label-studio", "argilla"])
@property_test(ballots())
def test_annotation_tools_keep_every_choice_annotator_id_and_comment(
    tmp_path: Path, name: str, votes: list[Preference]
) -> None:
    target = tmp_path / "out.json"
    writable = [vote for vote in votes if vote.p is not None or vote.unscored == BOTH_BAD]
    if not writable:
        with pytest.raises(UsageError, match="nothing to export"):
            export_votes(votes, target, name)
        return
    report = export_votes(votes, target, name)
    assert report.votes - len(report.left_out) == len(writable)
    back, taken = read_all(str(target))
    assert (taken.format, taken.failures) == (name, ())

    def key(vote: Preference) -> tuple[Any, ...]:
        said = vote.unscored if vote.p is None else 0.5 if vote.p == 0.5 else float(vote.p > 0.5)
        return vote.comparison, vote.source, said, vote.raw

    assert sorted(map(repr, map(key, back))) == sorted(map(repr, map(key, writable)))
    assert taken.rows == len({(v.comparison.id, in_order(v) is v) for v in writable})


# --- what is refused, and files ----------------------------------------------------------------


def vote(p: float | None = 1.0, prompt: str = "q", **more: Any) -> Preference:
    asked = Prompt("p-1", (Message("user", prompt),), more.pop("tags", ()))
    pair = Comparison(more.pop("id", "c-1"), asked, more.pop("a", "x"), "y")
    return Preference(
        pair, p, more.pop("source", Source("human", "ann")), unscored=None if p is not None else BOTH_BAD
    )


@pytest.mark.parametrize(
    ("name", "given", "reason"),
    [
        ("hh-rlhf", vote(0.5), "tie"),
        ("hh-rlhf", vote(None), "unscored"),
        ("hh-rlhf", vote(prompt="q\n\nHuman: r"), "not writable"),
        ("hh-rlhf", vote(a=" x"), "not writable"),
        ("trl", vote(None), "unscored"),
        ("pku-saferlhf", vote(), "no question"),
        ("pku-saferlhf", vote(tags=("helpful", "harmless")), "two questions"),
        ("label-studio", vote(source=Source("ai", "m")), "not a human vote"),
        ("argilla", vote(source=Source("ai", "m")), "not a human vote"),
        ("helpsteer3", vote(None), "unscored"),
    ],
)
def test_what_a_format_cannot_hold_is_left_out_and_counted(
    tmp_path: Path, name: str, given: Preference, reason: str
) -> None:
    fits = vote(id="c-2", tags=("helpful",))
    suffix = FORMATS[name].files[0]
    report = export_votes([given, fits], tmp_path / f"out{suffix}", name)
    assert (report.rows, report.votes, report.by_reason) == (1, 2, {reason: 1})
    assert report.left_out[0].item == "c-1"
    with pytest.raises(ItemError):
        writer = FORMATS[name].write
        assert writer is not None
        writer([given])


def test_errors_of_export(tmp_path: Path) -> None:
    with pytest.raises(
        UsageError, match="open-instruct is only read, not written; written are cai, hh-rlhf, trl"
    ):
        export_votes([vote()], tmp_path / "x.jsonl", "open-instruct")
    with pytest.raises(UsageError, match=r"trl is written as \.jsonl or \.json or \.parquet"):
        export_votes([vote()], tmp_path / "x.csv", "trl")
    (tmp_path / "x.jsonl").write_text("mine")
    with pytest.raises(UsageError, match=r"nothing to export to trl \(unscored: 1\)"):
        export_votes([vote(None)], tmp_path / "x.jsonl", "trl")
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("x.jsonl", "mine")]


def test_equal_votes_make_equal_bytes(tmp_path: Path) -> None:
    for name in WRITABLE:
        for suffix in FORMATS[name].files:
            files = [tmp_path / f"{side}{suffix}" for side in ("one", "two")]
            for file in files:
                export_votes([vote(tags=("helpful",))], file, name)
            assert files[0].read_bytes() == files[1].read_bytes()


def test_a_dataset_folder_with_its_card(tmp_path: Path) -> None:
    from datasets import load_dataset

    by_ai = vote(0.8, id="c-3", source=Source("ai", "judge | x"))
    votes = [vote(tags=("harmless",)), vote(0.5, id="c-2"), by_ai, vote(None, id="c-4")]
    report = export_votes(votes, tmp_path / "set", "trl", constitution="name: mine\n# ``` \nprinciples: []\n")
    assert (report.rows, report.by_reason, report.file) == (
        3,
        {"unscored": 1},
        tmp_path / "set/data/train.jsonl",
    )
    text = (tmp_path / "set" / "README.md").read_text()
    front = yaml.safe_load(text.split("---\n")[1])
    assert front["license"] == "unknown"
    assert front["size_categories"] == ["n<1K"]
    assert front["tags"] == ["preference", "rlhf", "human-feedback", "ai-feedback"]
    assert front["configs"] == [
        {"config_name": "default", "data_files": [{"split": "train", "path": "data/train.jsonl"}]}
    ]
    for line in (
        "| judgements | 3 |",
        "| pairs | 3 |",
        "| by people | 2 |",
        "| people who judged | 1 |",
        "| by the AI labeler judge \\| x | 1 |",
        "| ties | 1 |",
        "| tagged harmless | 1 |",
        "````yaml\nname: mine",
        "| `p_chosen` | P(chosen preferred), from 0.5 (a tie) to 1 |",
        "Not kept by this format: unscored votes.",
    ):
        assert line in text
    loaded = load_dataset(str(tmp_path / "set"), split="train")
    assert loaded["p_chosen"][:] == [1.0, 0.5, 0.8]
    assert describe(report) == [
        f"{report.file}: 3 rows of trl, 3 of 4 votes",
        "  1 left out: unscored",
        "  not kept by the format: unscored votes",
    ]
    back, _ = read_all(str(tmp_path / "set"))
    assert back == votes[:3]


def test_what_is_written_for_trl_is_what_trl_calls_a_preference(tmp_path: Path) -> None:
    export_votes([vote(0.25)], tmp_path / "x.jsonl", "trl")
    row = json.loads((tmp_path / "x.jsonl").read_text())
    assert row["prompt"] == [{"role": "user", "content": "q"}]
    assert (row["chosen"][0]["content"], row["rejected"][0]["content"], row["p_chosen"]) == ("y", "x", 0.75)
    assert [list(row[name][0]) for name in ("prompt", "chosen", "rejected")] == [["role", "content"]] * 3

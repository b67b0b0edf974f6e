"""Votes in the shapes of public files and of other tools, each read as a person would read it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from cai.human.exchange.import_report import ImportReport, describe
from cai.human.exchange.importing import read_all
from cai.human.pairs import Options
from cai.values.errors import FileError
from cai.values.types import Preference, Source

ASK = {"role": "user", "content": "Which is larger?"}


def load(
    folder: Path, rows: Sequence[Any], options: Options | None = None
) -> tuple[list[Preference], ImportReport]:
    path = folder / "votes.json"
    path.write_text(json.dumps(list(rows)), encoding="utf-8")
    return read_all(str(path), options)


def winner(vote: Preference) -> str:
    """The text that won, "tie", or why there is no verdict."""
    if vote.p is None:
        return vote.unscored or ""
    return "tie" if vote.p == 0.5 else (vote if vote.p > 0.5 else vote.swap()).comparison.a


def loser(vote: Preference) -> str:
    return ({vote.comparison.a, vote.comparison.b} - {winner(vote)}).pop()


def said(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}


# --- a coding is decided over the whole file ----------------------------------------------------


def coded(values: Sequence[Any], column: str = "preferred", **more: Any) -> list[dict[str, Any]]:
    return [
        {"prompt": f"q{n}", "a": f"x{n}", "b": f"y{n}", column: value, **more}
        for n, value in enumerate(values)
    ]


def test_zeros_and_ones_are_asked_for_and_then_read(tmp_path: Path) -> None:
    rows = coded([0, 1, 0])
    with pytest.raises(FileError, match=r"votes\.json: the column 'preferred' holds 0 and 1"):
        load(tmp_path, rows)
    votes, report = load(tmp_path, rows, Options(coding={"0": "a", "1": "b"}))
    assert [winner(vote) for vote in votes] == ["x0", "y1", "x2"]
    assert "  in 'preferred', '0' = a, '1' = b" in describe(report)


def test_the_first_zero_may_come_late(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="holds 0 and 1"):
        load(tmp_path, coded([1] * 40 + [0]))
    votes, _ = load(tmp_path, coded([1] * 40 + [2]))
    assert [winner(vote) for vote in votes] == [*(f"x{n}" for n in range(40)), "y40"]


@pytest.mark.parametrize("column", ["preferred", "winner", "choice", "label", "preference", "verdict"])
def test_words_by_a_mapping_that_is_shown(tmp_path: Path, column: str) -> None:
    rows = coded(["A is better", "Response B", "No preference", "Both are bad", "hm"], column)
    votes, report = load(tmp_path, rows)
    assert [winner(vote) for vote in votes] == ["x0", "y1", "tie", "both bad"]
    assert [(f.item, f.reason) for f in report.rejected] == [("row 5", "label out of range")]
    assert (
        f"  in '{column}', 'a is better' = a, 'response b' = b, 'no preference' = tie, "
        "'both are bad' = both_bad" in describe(report)
    )


def test_the_preferred_text_itself(tmp_path: Path) -> None:
    rows = [*coded(["y0"]), {"prompt": "q", "a": "1", "b": "2", "preferred": "1"}]
    votes, report = load(tmp_path, rows, Options(coding={"1": "b"}))
    assert [winner(vote) for vote in votes] == ["y0", "1"]
    assert not report.rejected


@pytest.mark.parametrize(
    ("prompt", "pair"),
    [
        ("question", ("response_a", "response_b")),
        ("instruction", ("output_1", "output_2")),
        ("input", ("answer1", "answer2")),
        ("Query", ("Completion_A", "Completion_B")),
    ],
)
def test_columns_under_the_names_of_others(tmp_path: Path, prompt: str, pair: tuple[str, str]) -> None:
    row = {prompt: "q", pair[0]: "x", pair[1]: "y", "Winner": pair[1], "Judge": "ann"}
    (vote,), report = load(tmp_path, [row])
    assert (winner(vote), vote.source.name, report.format) == ("y", "ann", "table")


# --- who voted ----------------------------------------------------------------------------------


def test_several_judges_of_one_question(tmp_path: Path) -> None:
    rows = [
        {"question_id": 81, "judge": f"author_{n}", "prompt": "q", "a": "x", "b": "y", "winner": who}
        for n, who in enumerate(["model_a", "model_b", "tie"])
    ]
    votes, report = load(tmp_path, rows)
    assert [(winner(vote), vote.source.name) for vote in votes] == [
        ("x", "author_0"),
        ("y", "author_1"),
        ("tie", "author_2"),
    ]
    assert (len({vote.comparison.id for vote in votes}), report.rejected) == (1, ())


def test_an_id_that_annotators_share_is_the_pairs(tmp_path: Path) -> None:
    rows = [{**row, "id": "7", "annotator": who} for row in coded(["a"]) for who in ("ann", "bo")]
    votes, report = load(tmp_path, rows)
    assert ([vote.source.name for vote in votes], report.rejected) == (["ann", "bo"], ())


def test_mt_bench_judgements(tmp_path: Path) -> None:
    row = {
        "question_id": 81,
        "conversation_a": [ASK, said("x")],
        "conversation_b": [ASK, said("y")],
        "winner": "model_b",
        "turn": 1,
    }
    rows = [row | {"judge": "author_1"}, row | {"judge": "author_2"}, row | {"judge": ["gpt-4", "pair-v2"]}]
    votes, report = load(tmp_path, rows)
    assert [(vote.source.kind, vote.source.name) for vote in votes] == [
        ("human", "author_1"),
        ("human", "author_2"),
        ("ai", "gpt-4/pair-v2"),
    ]
    assert report.format == "chatbot-arena"


def test_one_annotator_under_many_spellings(tmp_path: Path) -> None:
    names = ["5f3c1a", " 5f3c1a ", "\ufeff5f3c1a", 7, "7", "7.0", 7.0, "Jos\u00e9", "Jose\u0301"]
    rows = [{**row, "annotator": name} for row, name in zip(coded(["a"] * 9), names, strict=True)]
    votes, _ = load(tmp_path, rows)
    assert [vote.source.name for vote in votes] == ["5f3c1a"] * 3 + ["7"] * 4 + ["Jos\u00e9"] * 2


def test_composed_and_decomposed_accents_are_one_pair(tmp_path: Path) -> None:
    forms = [("Caf\u00e9?", "Oui", "Non \u00e9"), ("Cafe\u0301? ", "Oui\n", "Non e\u0301")]
    rows = [
        {"prompt": p, "a": a, "b": b, "preferred": "a", "annotator": str(n)}
        for n, (p, a, b) in enumerate(forms)
    ]
    votes, _ = load(tmp_path, rows)
    assert len({(v.comparison.id, v.comparison.prompt.id, v.p) for v in votes}) == 1
    assert {v.comparison.prompt.messages[0].content for v in votes} == {"Caf\u00e9?", "Cafe\u0301? "}


@pytest.mark.parametrize(
    ("more", "source"),
    [
        ({"annotator": "gpt-4-0613"}, Source("ai", "gpt-4-0613")),
        ({"annotator": "claude-2"}, Source("ai", "claude-2")),
        ({"annotator": "Claude"}, Source("human", "Claude")),
        ({"annotator": "ai:judge"}, Source("ai", "judge")),
        ({"annotator": "x1", "annotator_type": "model"}, Source("ai", "x1")),
        ({"annotator": "gpt-fan-4", "annotator_type": "human"}, Source("human", "gpt-fan-4")),
        ({"label_source": "AI"}, Source("ai", "table")),
        ({"judge_model": "m"}, Source("ai", "m")),
        ({"source": "evol_instruct"}, Source("human", "table")),
        ({"source": "human", "annotator": "gpt-4"}, Source("ai", "gpt-4")),
        ({"source": "synthetic"}, Source("human", "table")),
        ({"annotator": "meta-llama/Llama-3.1-8B"}, Source("ai", "meta-llama/Llama-3.1-8B")),
        ({"annotator": "o1"}, Source("human", "o1")),
        ({"annotator": "commander 7"}, Source("human", "commander 7")),
        ({"is_human": False, "annotator": "q"}, Source("ai", "q")),
    ],
)
def test_labels_of_a_model_are_no_persons(tmp_path: Path, more: dict[str, Any], source: Source) -> None:
    (vote,), report = load(tmp_path, coded(["a"], **more))
    assert vote.source == source
    told = "  1 of the votes are a model's, as the file says" in describe(report)
    assert told == (source.kind == "ai")
    (vote,), _ = load(tmp_path, [{"prompt": "q", "chosen": "x", "rejected": "y"} | more])
    assert vote.source in (source, Source(source.kind, "trl"))


# --- chosen and rejected ------------------------------------------------------------------------


def test_openai_preference_files(tmp_path: Path) -> None:
    row = {
        "input": {"messages": [ASK], "tools": [], "parallel_tool_calls": True},
        "preferred_output": [said("x")],
        "non_preferred_output": [said("y")],
    }
    (vote,), _ = load(tmp_path, [row])
    assert (winner(vote), loser(vote), vote.comparison.prompt.messages[0].content) == (
        "x",
        "y",
        ASK["content"],
    )


def test_sharegpt_preference(tmp_path: Path) -> None:
    row = {
        "conversations": [{"from": "system", "value": "Be brief."}, {"from": "human", "value": "q"}],
        "chosen": {"from": "gpt", "value": "x"},
        "rejected": {"from": "gpt", "value": "y"},
    }
    (vote,), _ = load(tmp_path, [row])
    assert (winner(vote), [t.role for t in vote.comparison.prompt.messages]) == ("x", ["system", "user"])


def test_a_named_column_beside_chosen_and_rejected(tmp_path: Path) -> None:
    row = {"question": "q", "chosen": [said("x")], "rejected": [said("y")], "who": "ann"}
    (vote,), report = load(tmp_path, [row], Options(columns={"annotator": "who"}))
    assert (winner(vote), vote.source.name, report.format) == ("x", "ann", "table")


def test_stack_exchange_pairs(tmp_path: Path) -> None:
    (vote,), _ = load(tmp_path, [{"question": "q", "response_j": "x", "response_k": "y"}])
    assert (winner(vote), loser(vote)) == ("x", "y")


def test_one_against_three(tmp_path: Path) -> None:
    row = {"prompt": "6 times 7?", "chosen": ["42"], "rejected": ["41", "forty", "?"], "num_correct": 1}
    votes, report = load(tmp_path, [row])
    assert [(winner(v), loser(v)) for v in votes] == [("42", "41"), ("42", "forty"), ("42", "?")]
    assert (report.taken, len({v.comparison.prompt.id for v in votes})) == (1, 1)
    assert len(load(tmp_path, [row], Options(pairs=2))[0]) == 2


# --- answers in an order ------------------------------------------------------------------------

RANKED = [("wren", 1), ("bat", 3), ("robin", 2)]


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "bird?", "answers": [{"answer": text, "rank": rank} for text, rank in RANKED]},
        {"prompt": "bird?", "responses": ["wren", "bat", "robin"], "ranks": [1, 3, 2]},
        {"prompt": "bird?", "completions": [{"content": t, "score": -r} for t, r in RANKED]},
        {"question": "bird?", "responses": str(["wren", "bat", "robin"]), "scores": "[9, 1, 4.5]"},
    ],
)
def test_ranked_answers(tmp_path: Path, row: dict[str, Any]) -> None:
    votes, report = load(tmp_path, [row])
    assert {(winner(v), loser(v)) for v in votes} == {("wren", "robin"), ("wren", "bat"), ("robin", "bat")}
    assert (report.format, report.taken) == ("ranked", 1)
    (best,), _ = load(tmp_path, [row], Options(pairs=1))
    assert (winner(best), loser(best)) == ("wren", "bat")


def test_equal_ranks_and_ranks_that_are_missing(tmp_path: Path) -> None:
    answers = [{"answer": "x", "rank": 1}, {"answer": "y", "rank": 1}, {"answer": "z"}]
    (vote,), report = load(tmp_path, [{"prompt": "q", "answers": answers}])
    assert winner(vote) == "tie"
    assert [(f.item, f.reason) for f in report.partial] == [("row 1, answer 3", "no rating")]
    nectar = {"prompt": "\n\nHuman: q\n\nAssistant: ", "answers": answers[:2], "num_responses": 2}
    (vote,), _ = load(tmp_path, [nectar | {"good_natured": True}])
    assert vote.source == Source("ai", "gpt-4")
    assert vote.comparison.prompt.messages[0].content == "q"


def message(key: str, parent: str | None, text: str, rank: int | None = None) -> dict[str, Any]:
    role = "assistant" if rank is not None or key.startswith("a") else "prompter"
    return {"message_id": key, "parent_id": parent, "text": text, "role": role, "rank": rank}


def test_trees_of_messages(tmp_path: Path) -> None:
    rows = [
        message("q", None, "Hi"),
        message("a1", "q", "good", 0),
        message("a2", "q", "bad", 1),
        message("q2", "a1", "And?"),
        message("a3", "q2", "later bad", 1),
        message("a4", "q2", "later good", 0),
        message("a5", "lost", "alone", 0),
        message("a6", "q"  , "unranked"),
    ]  # fmt: skip
    votes, report = load(tmp_path, rows)
    assert [(winner(v), loser(v), len(v.comparison.prompt.messages)) for v in votes] == [
        ("good", "bad", 1),
        ("later good", "later bad", 3),
    ]
    assert (report.format, report.taken) == ("message-rows", 4)
    assert report.by_reason == {"not an answer": 2, "no prompt": 1, "no label": 1}

    def node(key: str) -> dict[str, Any]:
        (own,) = [row for row in rows if row["message_id"] == key]
        return own | {"replies": [node(row["message_id"]) for row in rows if row["parent_id"] == key]}

    again, report = load(tmp_path, [{"message_tree_id": "q", "prompt": node("q")}])
    assert (again, report.format) == (votes, "message-trees")


def test_shp_says_one_where_a_is_preferred(tmp_path: Path) -> None:
    row = {"history": "q", "human_ref_A": "x", "human_ref_B": "y", "score_A": 5, "score_B": 9}
    votes, report = load(tmp_path, [row | {"labels": 0}, row | {"labels": 1, "history": "r"}])
    assert ([winner(v) for v in votes], report.format) == (["y", "x"], "shp")


def test_summaries_with_a_choice(tmp_path: Path) -> None:
    row = {
        "info": {"id": "t3", "post": "We went out.", "title": "A walk", "subreddit": "walks"},
        "summaries": [{"text": " Bad.", "policy": "p"}, {"text": " We walked.", "policy": "r"}],
        "choice": 1,
        "worker": "w1",
    }
    news = row | {"info": {"article": "It rained.", "post": None}, "choice": 0, "worker": "w2"}
    (vote, other), report = load(tmp_path, [row, news])
    assert (winner(vote), winner(other), report.format) == ("We walked.", "Bad.", "summaries")
    assert (vote.source.name, other.source.name) == ("w1", "w2")
    asked = vote.comparison.prompt.messages[0].content
    assert asked == "SUBREDDIT: r/walks\n\nTITLE: A walk\n\nPOST: We went out.\n\nTL;DR:"
    assert other.comparison.prompt.messages[0].content == "It rained.\n\nTL;DR:"


def test_webgpt_scores(tmp_path: Path) -> None:
    row = {"question": {"full_text": "q", "id": "1"}, "answer_0": "x", "answer_1": "y"}
    rows = [row | {"score_0": -1.0, "score_1": 1.0}, row | {"score_0": 0, "score_1": 0}]
    votes, _ = load(tmp_path, rows)
    assert [winner(v) for v in votes] == ["y", "tie"]
    assert votes[0].comparison.prompt.messages[0].content == "q"


# --- annotation tools ---------------------------------------------------------------------------


def task(*results: tuple[str, str, Any], number: int = 1) -> dict[str, Any]:
    held = {"pairwise": "selected", "choices": "choices"}
    found = [
        {"type": kind, "from_name": name, "value": {held[kind]: [said] if kind == "choices" else said}}
        for kind, name, said in results
    ]
    data = {"prompt": f"q{number}", "answer1": "x", "answer2": "y"}
    return {"id": number, "data": data, "annotations": [{"id": 100 + number, "result": found}]}


@pytest.mark.parametrize("confidence", ["1", "A", "2", "same", "neither", "high", "left"])
def test_a_choice_beside_the_pairwise_control_decides_nothing(tmp_path: Path, confidence: str) -> None:
    right, other = ("pairwise", "pw", "right"), ("choices", "confidence", confidence)
    for results in ([right, other], [other, right]):
        (vote,), report = load(tmp_path, [task(*results)])
        assert (winner(vote), report.partial) == ("y", ())


@pytest.mark.parametrize("name", ["verdict", "preference", "label"])
def test_the_pairwise_control_outvotes_a_control_with_a_verdicts_name(tmp_path: Path, name: str) -> None:
    right, other = ("pairwise", "pw", "right"), ("choices", name, "left")
    for results in ([right, other], [other, right]):
        assert winner(load(tmp_path, [task(*results)])[0][0]) == "y"


def test_choices_are_the_verdict_where_nothing_else_is(tmp_path: Path) -> None:
    """The one control of a project, one that bears a verdict's name, or the one that is named."""
    rows = [
        task(("choices", "anything", said), number=n) for n, said in enumerate(["Left", "tie", "both bad"])
    ]
    votes, report = load(tmp_path, rows)
    assert [winner(v) for v in votes] == ["x", "tie", "both bad"]
    assert "  the verdict is 'anything'" in describe(report)
    mixed = [task(("pairwise", "pw", "left")), task(("choices", "verdict", "tie"), number=2)]
    assert [winner(v) for v in load(tmp_path, mixed)[0]] == ["x", "tie"]
    skipped = [task(("pairwise", "pw", "left")), task(("choices", "sure", "A"), number=2)]
    votes, report = load(tmp_path, skipped)
    assert (len(votes), report.rejected[0].reason) == (1, "no label")
    assert report.rejected[0].detail.endswith("is it the answer to sure? Say --columns preferred=…")
    named = Options(columns={"preferred": "sure"})
    assert [winner(v) for v in load(tmp_path, skipped, named)[0]] == ["x", "x"]
    with pytest.raises(FileError, match="'verdict' holds 0 and 1"):
        load(tmp_path, [task(("choices", "verdict", n), number=int(n)) for n in ("0", "1")])


def flat(**more: Any) -> dict[str, Any]:
    return {
        "id": "r1",
        "status": "completed",
        "prompt": "q",
        "response_a": "x",
        "response_b": "y",
        "preference.responses": ["response_b", "response_a", "tie"],
        "preference.responses.users": ["u1", "u2", "u3"],
        "preference.responses.status": ["submitted", "submitted", "draft"],
        "preference.suggestion": "response_a",
    } | more


def test_argilla_as_columns(tmp_path: Path) -> None:
    votes, report = load(tmp_path, [flat()])
    assert [(winner(v), v.source.name) for v in votes] == [("y", "u1"), ("x", "u2")]
    assert [(f.item, f.reason) for f in report.partial] == [("row 1, response 3", "not submitted")]
    cells = {name: str(cell) if isinstance(cell, list) else cell for name, cell in flat().items()}
    assert load(tmp_path, [cells])[0] == votes
    first = {
        "prompt": "q",
        "response_a": "x",
        "response_b": "y",
        "preference": [
            {"user_id": "u1", "value": "response_b", "status": "submitted"},
            {"user_id": "u2", "value": "response_a", "status": "submitted"},
        ],
        "preference-suggestion": "response_a",
    }
    again, report = load(tmp_path, [first])
    assert (again, report.format) == (votes, "argilla")


def test_argilla_labels_that_are_numbers(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="'preference' holds 0 and 1"):
        load(tmp_path, [flat(**{"preference.responses": ["0", "1", "0"]})])
    votes, _ = load(tmp_path, [flat(**{"preference.responses": ["1", "2", "2"]})])
    assert [winner(v) for v in votes] == ["x", "y"]


@pytest.mark.parametrize(
    "header", ["Prompt;Response A;Response B;Preference", "prompt;Response-A;Response-B;Winner"]
)
def test_names_of_columns_as_people_type_them(tmp_path: Path, header: str) -> None:
    path = tmp_path / "v.csv"
    path.write_text(f"{header}\nQ1;x;y;A\nQ2;x;y;Response B\n")
    votes, report = read_all(str(path))
    assert report.rejected == ()
    assert [winner(vote) for vote in votes] == ["x", "y"]


def test_label_studio_s_small_export(tmp_path: Path) -> None:
    row = {"id": 1, "prompt": "P", "answer1": "x", "answer2": "y", "comparison": "right", "annotator": 4}
    path = tmp_path / "v.json"
    path.write_text(json.dumps([row | {"annotation_id": 9}]))
    (vote,), _ = read_all(str(path))
    assert (winner(vote), vote.source.name) == ("y", "4")


@pytest.mark.parametrize("empty", ["None", "null", "nan", "NaN"])
def test_what_programs_write_into_an_empty_cell_is_no_verdict_and_nobody(tmp_path: Path, empty: str) -> None:
    path = tmp_path / "v.csv"
    path.write_text(f"prompt,a,b,preferred,annotator\nQ1,x,y,{empty},rosa\nQ2,x,y,a,{empty}\n")
    votes, report = read_all(str(path))
    assert [vote.source.name for vote in votes] == ["table"]
    assert [row.reason for row in report.rejected] == ["label out of range"]

"""Two-turn questions: how they are asked, ratings as expected values, wins over the baseline."""

from __future__ import annotations

import asyncio
import json
import math
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from small_run import cai
from test_suites import bench, measured, saying

from cai.config.run_config import EvaluateConfig, ModelConfig
from cai.data.reading import read_rows
from cai.engines.scripted import ScriptedEngine
from cai.evaluation.bench import Bench
from cai.evaluation.judging.rating import PREFILL, rate
from cai.evaluation.judging.twoturn import Question, question_reader
from cai.evaluation.suites import mtbench
from cai.values.errors import ItemError, UsageError
from cai.values.types import ChoiceRequest, Completion, CompletionRequest, Message

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
TALK = (Message("user", "Hi?"), Message("assistant", "Yes."))


def written(path: Path, rows: list[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def questions(count: int = 12) -> list[dict[str, Any]]:
    return [
        {
            "question_id": 81 + i,
            "category": ("writing", "math")[i % 2],
            "turns": [f"First {i}?", f"Then {i}?"],
        }
        for i in range(count)
    ]


def rates(by_word: dict[str, int], share: float = 0.8) -> ScriptedEngine:
    """A judge that puts ``share`` of the probability on the number of the word in the last answer.

    Compared, the answer with the higher number wins in either order.
    """

    def number(text: str) -> int:
        return next(n for word, n in by_word.items() if word in text)

    def choose(request: ChoiceRequest) -> list[float]:
        said = request.messages[-1].content
        if len(request.options) == 2:
            first, second = said.split("(A)")[1].split("(B)")[:2]
            return [-0.1, -2.4] if number(first) > number(second) else [-2.4, -0.1]
        last = number(said.rpartition("Assistant:")[2].split("\n\n")[0])
        return [math.log(share if n == last else 1e-9) for n in range(1, 11)]

    return ScriptedEngine(choices=choose)


def asked_of(judge: ScriptedEngine, options: int) -> list[str]:
    return [
        call.messages[-1].content
        for call in judge.calls
        if isinstance(call, ChoiceRequest) and len(call.options) == options
    ]


def given(models: dict[str, ScriptedEngine], judge: ScriptedEngine, data: str, **changes: Any) -> Bench:
    return bench(models, judge, data=data, **changes)


# --- One rating ----------------------------------------------------------------------------


def rated(logprobs: list[float] | Exception, closed: bool = True) -> tuple[float, float]:
    engine = ScriptedEngine(choices=[logprobs])
    rating = asyncio.run(rate(TALK, (), engine, closed=closed))
    return rating.value, rating.carried


def test_a_rating_is_the_expected_value() -> None:
    """0.6 on 4 and 0.2 on 8 are, of 0.8 together, three quarters and one: 4·¾ + 8·¼ = 5."""
    tiny = -1e9
    shares = {4: math.log(0.6), 8: math.log(0.2)}
    value, carried = rated([shares.get(n, tiny) for n in range(1, 11)])
    assert value == pytest.approx(5.0) and carried == pytest.approx(0.8)
    assert rated([math.log(0.1)] * 10) == pytest.approx((5.5, 1.0))


def test_a_judge_who_was_about_to_say_something_else_is_unreadable() -> None:
    with pytest.raises(ItemError, match=r"unreadable rating: 1 to 10 have a probability of 0\.490"):
        rated([math.log(0.049)] * 10)
    assert rated([math.log(0.051)] * 10)[0] == pytest.approx(5.5)
    with pytest.raises(ItemError, match="unreadable rating"):
        rated([math.nan] * 10)


def test_ten_is_no_continuation_of_one() -> None:
    """The bracket behind the number tells 1 from 10; a server's single tokens tell them apart themselves."""
    engine = ScriptedEngine(choices=lambda request: [-2.5] * 10)
    asyncio.run(rate(TALK, ("Yes!",), engine))
    asyncio.run(rate(TALK, (), engine, closed=False))
    first, second = (call for call in engine.calls if isinstance(call, ChoiceRequest))
    assert first.options == tuple(f"{n})" for n in range(1, 11)) and first.prefill == PREFILL
    assert second.options == tuple(str(n) for n in range(1, 11))
    shown = first.messages[0].content
    assert "Human: Hi?\n\nAssistant: Yes." in shown and "To message 1: Yes!" in shown
    assert "To message" not in second.messages[0].content


@pytest.mark.slow
def test_the_ten_numbers_exclude_each_other(smollm2: Path) -> None:
    """With a real tokenizer of single digits, "1" alone would hold the probability of "10" as well."""
    from cai.engines.backend import open_engine

    async def ask(options: tuple[str, ...]) -> tuple[float, ...]:
        engine = await open_engine(ModelConfig(name=str(smollm2), engine="transformers"))
        try:
            turn = Message("user", "Write the number ten in digits, in round brackets.")
            return (await engine.choose(ChoiceRequest((turn,), options, "Number: ("))).logprobs
        finally:
            await engine.close()

    one, ten, one_closed, ten_closed = map(math.exp, asyncio.run(ask(("1", "10", "1)", "10)"))))
    assert ten <= one  # what would be misread
    assert one_closed + ten_closed <= one
    assert ten_closed > one_closed


# --- Questions -----------------------------------------------------------------------------


def test_the_eighty_questions() -> None:
    path = DATA / "mt_bench_questions.jsonl"
    if not path.exists():
        pytest.skip(f"{path.name} is not in ../shared/data on this machine")
    read = question_reader()
    found = [read(number, row) for number, row in read_rows(str(path))]  # type: ignore[arg-type]
    assert len(found) == 80 and len({q.id for q in found}) == 80
    assert set(Counter(q.category for q in found).values()) == {10}
    assert sum(any(q.references) for q in found) == 39


def test_other_names_of_the_columns() -> None:
    row = {"prompt_id": 5, "prompt": ["A?", "B?"], "category": "x", "reference": []}
    assert question_reader()(1, row) == Question("5", "x", ("A?", "B?"))
    assert question_reader()(7, {"turns": ["A?", "B?"], "reference": ["1", "2"]}) == Question(
        "7", "", ("A?", "B?"), ("1", "2")
    )


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"question": "A?"}, "missing column"),
        ({"turns": ["A?"]}, "not two turns"),
        ({"turns": "A?"}, "not two turns"),
        ({"turns": ["A?", " "]}, "not two turns"),
        ({"turns": ["A?", None]}, "not two turns"),
        ({"turns": ["A?", "B?"], "reference": "1"}, "not a list of texts"),
    ],
)
def test_rows_that_are_no_question(row: dict[str, Any], reason: str) -> None:
    with pytest.raises(ItemError) as caught:
        question_reader()(1, row)
    assert caught.value.reason == reason


# --- The suite -----------------------------------------------------------------------------


def test_the_second_answer_follows_the_model_s_own_first(tmp_path: Path) -> None:
    def answer(request: CompletionRequest) -> str:
        return "fair one" if len(request.messages) == 1 else "good two"

    model, judge = ScriptedEngine(answer), rates({"fair": 4, "good": 7})
    found = measured(mtbench, given({"base": model}, judge, written(tmp_path / "q.jsonl", questions())))
    second = [call.messages for call in model.calls if len(call.messages) == 3]
    assert (
        Message("user", "First 0?"),
        Message("assistant", "fair one"),
        Message("user", "Then 0?"),
    ) in second
    assert len(model.calls) == 24 and len({call.seed for call in model.calls}) == 24  # type: ignore[union-attr]
    values = {key: (score.value, score.n) for key, score in found.scores.items()}
    assert values == {
        "rating/base": (pytest.approx(5.5), 12),
        "rating_first_turn/base": (pytest.approx(4), 12),
        "rating_second_turn/base": (pytest.approx(7), 12),
        "rating_math/base": (pytest.approx(5.5), 6),
        "rating_writing/base": (pytest.approx(5.5), 6),
    }
    assert asked_of(judge, 2) == []  # nobody to compare with


def test_models_are_compared_over_both_turns(tmp_path: Path) -> None:
    judge = rates({"good": 8, "bad": 2})
    data = written(tmp_path / "q.jsonl", questions())
    found = measured(mtbench, given({"base": saying("bad"), "new": saying("good")}, judge, data))
    scores = found.scores
    assert scores["rating/new"].value == pytest.approx(8)
    assert scores["rating/base"].value == pytest.approx(2)
    # exp(-0.1) against exp(-2.4) in both orders.
    assert scores["win_rate/new"].value == pytest.approx(1 / (1 + math.exp(-2.3)))
    assert scores["flips/new"].value == 0.0
    assert "win_rate/base" not in scores
    # Every difference in length is the same, so length and quality cannot be told apart.
    assert "win_rate_length_controlled/new" not in scores
    shown = asked_of(judge, 2)[-1]
    assert "good\n\n[The human then asks] Then 11?\n\n[The assistant answers] good" in shown
    assert "bad\n\n[The human then asks] Then 11?\n\n[The assistant answers] bad" in shown
    assert len(found.rows) == 24 and all(row.keys() == found.rows[0].keys() for row in found.rows)


def test_equal_answers_tie_and_the_judge_is_not_asked(tmp_path: Path) -> None:
    judge = rates({"same": 5})
    data = written(tmp_path / "q.jsonl", questions())
    found = measured(mtbench, given({"base": saying("same"), "new": saying("same")}, judge, data))
    assert found.scores["win_rate/new"].value == 0.5
    assert found.scores["win_rate_length_controlled/new"].value == 0.5
    assert "flips/new" not in found.scores and asked_of(judge, 2) == []


def test_reference_answers_are_shown_to_the_judge(tmp_path: Path) -> None:
    rows = questions(2)
    rows[0]["reference"] = ["It is seven.", "It is eight."]
    judge = rates({"good": 8, "bad": 2})
    models = {"base": saying("bad"), "new": saying("good")}
    measured(mtbench, given(models, judge, written(tmp_path / "q.jsonl", rows)))
    ratings = asked_of(judge, 10)
    assert sum("It is seven." in text for text in ratings) == 4  # two models, two turns
    assert sum("It is eight." in text for text in ratings) == 2  # the second turn alone
    assert sum("It is eight." in text for text in asked_of(judge, 2)) == 2  # both orders
    assert all(("First 0?" in text) == ("It is seven." in text) for text in ratings)


@pytest.mark.parametrize("silent", [1, 3])
def test_an_answer_that_was_not_given_is_a_failure(tmp_path: Path, silent: int) -> None:
    mute = ScriptedEngine(lambda request: " " if len(request.messages) == silent else "good")
    judge = rates({"good": 8, "bad": 2})
    data = written(tmp_path / "q.jsonl", questions())
    found = measured(mtbench, given({"base": saying("bad"), "mute": mute}, judge, data))
    assert {key.split("/")[1] for key in found.scores} == {"base"}
    assert len(found.failures) == 12
    assert (found.failures[0].item, found.failures[0].reason) == ("mute/81", "empty response")


def test_an_unreadable_judge_gives_no_figure(tmp_path: Path) -> None:
    judge = rates({"good": 8, "bad": 2}, share=0.05)
    data = written(tmp_path / "q.jsonl", questions())
    found = measured(mtbench, given({"base": saying("good")}, judge, data))
    assert found.scores == {} and len(found.failures) == 24
    assert {failure.reason for failure in found.failures} == {"unreadable rating"}
    assert found.failures[0].item == "base/81 turn 1"
    assert found.rows[0]["rating_first_turn"] is None


def test_one_question_leaves_the_whole_scale_open(tmp_path: Path) -> None:
    data = written(tmp_path / "q.jsonl", questions(1))
    found = measured(mtbench, given({"base": saying("good")}, rates({"good": 8}), data))
    score = found.scores["rating/base"]
    assert (score.value, score.low, score.high, score.n) == (pytest.approx(8), 1.0, 10.0, 1)


def test_bad_and_repeated_rows_are_counted(tmp_path: Path) -> None:
    rows = [*questions(3), questions(1)[0], {"turns": ["A?"]}]
    data = written(tmp_path / "q.jsonl", rows)
    found = measured(mtbench, given({"base": saying("good")}, rates({"good": 8}), data))
    assert [(f.item, f.reason) for f in found.failures] == [
        ("row 4", "repeated question"),
        ("row 5", "not two turns"),
    ]
    with pytest.raises(UsageError, match=r"no usable item.*needed is two-turn questions"):
        measured(
            mtbench,
            given({"base": saying("good")}, rates({"good": 8}), written(tmp_path / "x.jsonl", rows[4:])),
        )


def test_cut_off_answers_are_told(tmp_path: Path) -> None:
    cut = ScriptedEngine(lambda request: Completion("good", "length"))
    data = written(tmp_path / "q.jsonl", questions(2))
    config = EvaluateConfig(max_tokens=9, temperature=0.7)
    found = measured(mtbench, given({"base": cut}, rates({"good": 8}), data, config=config))
    assert "4 of 4 answers were cut off at evaluate.max_tokens (9)" in found.notes
    assert found.notes[0].startswith("answers at temperature 0.7")


def test_a_server_s_numbers_are_single_tokens(tmp_path: Path) -> None:
    judge = rates({"good": 8})
    data = written(tmp_path / "q.jsonl", questions(2))
    served = ModelConfig(name="judge", engine="openai")
    measured(mtbench, replace(given({"base": saying("good")}, judge, data), judge=served))
    assert {call.options[-1] for call in judge.calls if isinstance(call, ChoiceRequest)} == {"10"}


@pytest.mark.slow
def test_measured_from_the_command_line(tiny_model: Path, tmp_path: Path) -> None:
    """The pocket was never taught to rate, which is told; it compares, and a rerun says the same."""
    rows = [{**row, "turns": ["How do I clean the drum?", "And the cup?"]} for row in questions(4)]
    written(tmp_path / "q.jsonl", rows)
    models = ("eval", "pocket", str(tiny_model), "--baseline", tiny_model.name, "--engine", "transformers")
    settings = (
        "--suite",
        "mtbench=q.jsonl",
        "--limit",
        "3",
        "--out",
        "out",
        "--set",
        "evaluate.max_tokens=40",
    )
    done = cai(*models, *settings, cwd=tmp_path)
    assert done.returncode in (0, 3), done.stderr
    assert "mtbench: answers at temperature 1" in done.stderr
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    failures = [json.loads(line) for line in (tmp_path / "out" / "failures.jsonl").read_text().splitlines()]
    # The random model may open a thought and be cut off in it.
    thinking = [failure for failure in failures if failure["reason"] == "empty response"]
    assert metrics["eval/mtbench/win_rate/pocket"]["n"] + len(thinking) == 3
    assert {failure["reason"] for failure in failures} <= {"unreadable rating", "empty response"}
    again = cai(*models, *settings, cwd=tmp_path)
    assert again.stdout == done.stdout and "win rate" in done.stdout

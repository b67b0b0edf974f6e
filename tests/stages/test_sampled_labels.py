"""Labels by sampling: strict verdicts, the posterior, what a kill costs; the floor on the mass; positions."""

from __future__ import annotations

import math
import random
from contextlib import closing
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from scipy.stats import beta

from cai.config.run_config import LabelConfig
from cai.constitution.load import Constitution, Principle
from cai.constitution.templates import Templates
from cai.engines.engine import Engine
from cai.engines.journaled import JournaledEngine
from cai.engines.scripted import ScriptedEngine
from cai.run.journal import Journal, digest, key
from cai.stages.label import Labeler, label
from cai.stages.label_question import LETTERS, WORDS, Question
from cai.stages.label_verdict import Verdict, read_verdict
from cai.statistics.uncertain import mean, of_counts
from cai.values.errors import EngineError, ItemError, NoLogprobsError
from cai.values.types import Choice, ChoiceRequest, Comparison, CompletionRequest, Message, Prompt, Sampling

PAIR = Comparison("p1/0-1", Prompt("p1", (Message("user", "How do I do it?"),)), "GOOD one", "BAD one")
KIND = Constitution("c", "", (Principle("kind", "Be kind.", "critique", "revise", "Which is kinder?"),))
LETTER, WORD = Question((), LETTERS, ()), Question((), WORDS, ())
PREFILL = "The better option is ("


def labeler(answers: Any = (), choices: Any = (), **config: Any) -> Labeler:
    engine = ScriptedEngine(answers, choices)
    return Labeler(engine, Templates.load(), LabelConfig(few_shot=0, **config))


def calls(of: Labeler) -> list[Any]:
    assert isinstance(of.engine, ScriptedEngine)
    return of.engine.calls


def good_shown_first(request: CompletionRequest | ChoiceRequest) -> bool:
    text = request.messages[-1].content
    return text.index("GOOD") < text.index("BAD")


def names_good(request: CompletionRequest) -> str:
    return "A)" if good_shown_first(request) else "B)"


@pytest.mark.parametrize(
    ("reply", "verdict"),
    [
        *((text, Verdict.FIRST) for text in ("A", "(A)", "A.", "a", "**A**", "Answer: A", "**Answer:** (A)")),
        *((text, Verdict.FIRST) for text in ("Option A", "The better option is (A).", '"A"', "[A]", " A\n")),
        *((text, Verdict.FIRST) for text in ("(A) is kinder.", "A. It is kinder.", "(A)\n\nIt is kinder.")),
        *((text, Verdict.SECOND) for text in ("B", "(B)", "My answer is B", "Final answer: **B**")),
        *(
            (text, None)
            for text in ("", "C", "A or B", "(A) or (B)", "A good answer.", "A, B", "Both.", "Tie")
        ),
        *((text, None) for text in ("I can't judge this.", "Not A", "A\n\nActually, B.", "A's reply", "AB")),
        *((text, None) for text in ("The better option is not (A)", "(A) if you ask me, but (B) is safer")),
        *((text, None) for text in ("As an AI, I have no preference", "Answer: A/B", "Neither")),
    ],
)
def test_a_letter_is_read_strictly(reply: str, verdict: Verdict | None) -> None:
    assert read_verdict(reply, LETTER) is verdict


@pytest.mark.parametrize(
    ("reply", "verdict"),
    [
        *((text, Verdict.FIRST) for text in ("Yes", "yes.", "**Yes**", "Yes, it does.", "Answer: Yes")),
        *((text, Verdict.SECOND) for text in ("No", "No, it helps with theft.", "no")),
        *((text, None) for text in ("Yes and no", "Nobody knows", "Yes, but no.", "Not really", "")),
    ],
)
def test_a_word_is_read_strictly(reply: str, verdict: Verdict | None) -> None:
    assert read_verdict(reply, WORD) is verdict


@pytest.mark.parametrize(
    ("reply", "cut_off", "verdict"),
    [
        ("A)", False, Verdict.FIRST),
        ("B) because it is kind", True, Verdict.SECOND),
        ("The better option is (A)", False, Verdict.FIRST),
        ("A", True, None),  # what would have followed?
        ("A)", True, Verdict.FIRST),
        ("A) or (B", False, None),
    ],
)
def test_a_reply_goes_on_from_its_beginning_or_repeats_it(
    reply: str, cut_off: bool, verdict: Verdict | None
) -> None:
    assert read_verdict(reply, LETTER, PREFILL, cut_off) is verdict


def test_a_tie_is_one_where_the_question_offers_it() -> None:
    offered = replace(LETTER, ties=True)
    assert [read_verdict(text, offered) for text in ("Tie", "It's a tie.", "(Tie)", "A")] == [
        *[Verdict.TIE] * 3,
        Verdict.FIRST,
    ]
    assert not Templates.load().offers_tie


def test_the_posterior_is_jeffreys_and_open_where_nothing_speaks_against_the_end() -> None:
    one = of_counts(3, 1)
    assert one.p == pytest.approx(3.5 / 5)
    assert one.interval == pytest.approx(beta(3.5, 1.5).interval(0.95), abs=1e-9)
    assert of_counts(4, 0).interval == pytest.approx((beta(4.5, 0.5).ppf(0.025), 1.0))
    both = mean([one, of_counts(0, 4).other()])
    assert both.p == pytest.approx((0.7 + 0.9) / 2)
    draw = random.Random(0)
    draws = sorted((draw.betavariate(3.5, 1.5) + draw.betavariate(4.5, 0.5)) / 2 for _ in range(40_000))
    assert both.interval == pytest.approx((draws[1000], draws[39_000]), abs=0.02)


async def test_k_verdicts_in_each_order_with_their_counts_and_interval() -> None:
    asked = labeler(names_good, read="samples", samples=4)
    preference = await label(PAIR, asked, KIND, 0)
    requests = calls(asked)
    assert len(requests) == 8 and len({request.seed for request in requests}) == 8
    assert {request.options for request in requests} == {("A", "B")}
    (judgement,) = preference.judgements
    first, second = judgement.readings
    assert first and first.votes and (first.votes.first, first.votes.second) == (4, 0)
    assert second and second.votes and (second.votes.first, second.votes.second) == (0, 4)
    assert preference.p == pytest.approx(0.9)
    assert preference.interval is not None and preference.interval[0] > 0.5 and preference.interval[1] == 1.0
    assert preference.weight == pytest.approx(4 / 5)
    back = preference.swap()
    assert back.interval == pytest.approx((0.0, 1 - preference.interval[0])) and back.swap().p == preference.p


async def test_without_uncertainty_weights_every_label_weighs_one() -> None:
    asked = labeler(names_good, read="samples", samples=2, uncertainty_weights=False)
    assert (await label(PAIR, asked, KIND, 0)).weight == 1.0


async def test_an_abstention_is_counted_and_never_a_vote() -> None:
    def answer(request: CompletionRequest) -> str:
        return "I would rather not say." if len(calls(asked)) % 2 else names_good(request)

    asked = labeler(answer, read="samples", samples=6)
    preference = await label(PAIR, asked, KIND, 0)
    votes = [reading.votes for reading in preference.judgements[0].readings if reading and reading.votes]
    assert [(v.usable, v.abstained) for v in votes] == [(3, 3), (3, 3)]
    assert preference.weight == pytest.approx(3 / 4)


async def test_no_usable_verdict_in_an_order_is_unscored_with_its_reason() -> None:
    def answer(request: CompletionRequest) -> Any:
        return (
            names_good(request) if good_shown_first(request) else ItemError("the server withheld its answer")
        )

    preference = await label(PAIR, labeler(answer, read="samples", samples=3), KIND, 0)
    assert preference.p is None
    assert "none of 3 sampled replies named an option" in (preference.unscored or "")
    assert "withheld" in (preference.unscored or "")
    assert preference.judgements[0].p_a_first is not None


async def test_mostly_something_else_is_no_label_either() -> None:
    def answer(request: CompletionRequest) -> str:
        return names_good(request) if len(calls(asked)) % 4 == 0 else "Hm."

    asked = labeler(answer, read="samples", samples=8)
    assert "only 2 of 8" in ((await label(PAIR, asked, KIND, 0)).unscored or "")


async def test_early_stopping_saves_verdicts_once_an_order_is_decided() -> None:
    asked = labeler(names_good, read="samples", samples=16, stop_early=True)
    await label(PAIR, asked, KIND, 0)
    assert len(calls(asked)) == 8  # Beta(4.5, 0.5) is the first whose 95 % lies above 1/2


async def test_auto_takes_samples_where_log_probabilities_are_not_given_and_finds_out_once() -> None:
    asked = labeler(names_good, lambda request: NoLogprobsError("none here"), samples=2)
    for number in range(3):
        assert (await label(replace(PAIR, id=f"{number}"), asked, KIND, 0)).interval is not None
    assert sum(isinstance(call, ChoiceRequest) for call in calls(asked)) == 1
    exact = labeler((), lambda request: [math.log(0.9), math.log(0.1)])
    preference = await label(PAIR, exact, KIND, 0)
    assert (preference.interval, preference.weight) == (None, 1.0)


async def test_a_broken_engine_is_not_one_without_log_probabilities() -> None:
    with pytest.raises(EngineError, match="out of memory"):
        await label(PAIR, labeler((), lambda request: EngineError("out of memory")), KIND, 0)


async def journaled(path: Path, answer: Any, samples: int) -> tuple[float | None, int]:
    """P and the number of questions that reached the model."""
    engine = ScriptedEngine(answer)

    async def open_() -> Engine:
        return engine

    with closing(Journal(path)) as journal:
        through = JournaledEngine("m", "f", open_, journal)
        config = LabelConfig(few_shot=0, read="samples", samples=samples)
        preference = await label(PAIR, Labeler(through, Templates.load(), config), KIND, 0)
    return preference.p, len(engine.calls)


async def test_after_a_kill_and_with_a_larger_k_only_the_rest_is_asked(tmp_path: Path) -> None:
    asked = 0

    def dies(request: CompletionRequest) -> str:
        nonlocal asked
        asked += 1
        if asked > 5:
            raise EngineError("killed")
        return names_good(request)

    with pytest.raises(EngineError, match="killed"):
        await journaled(tmp_path / "j", dies, 4)
    p, rest = await journaled(tmp_path / "j", names_good, 4)
    assert p == pytest.approx(0.9) and 0 < rest == 8 - 5
    assert await journaled(tmp_path / "j", names_good, 4) == (p, 0)
    assert (await journaled(tmp_path / "j", names_good, 6))[1] == 4


def test_a_request_for_any_text_has_the_key_that_it_had() -> None:
    request = CompletionRequest((Message("user", "?"),), Sampling(), 1)
    fields = asdict(request)
    del fields["options"]
    assert key("f", request) == digest("f", "CompletionRequest", fields)
    assert key("f", request) != key("f", replace(request, options=("A", "B")))


@pytest.mark.parametrize(("mass", "scored"), [(0.9, True), (0.51, True), (0.4, False), (0.04, False)])
async def test_options_without_mass_are_no_label(mass: float, scored: bool) -> None:
    def choose(request: ChoiceRequest) -> list[float]:
        return [math.log(0.8 * mass), math.log(0.2 * mass)]

    preference = await label(PAIR, labeler((), choose), KIND, 0)
    assert (preference.p is not None) is scored
    assert [r and round(r.mass or 0, 6) for r in preference.judgements[0].readings] == [mass, mass]
    if not scored:
        assert f"the options hold {100 * mass:.2g} % of the probability" in (preference.unscored or "")
        assert (await label(PAIR, labeler((), choose, min_mass=0.0), KIND, 0)).p == pytest.approx(0.5)


@pytest.mark.parametrize(("listed", "bound", "scored"), [(0.97, 0.001, True), (0.6, 0.1, False)])
async def test_a_bounded_option_leaves_a_label_only_where_it_hardly_matters(
    listed: float, bound: float, scored: bool
) -> None:
    def choose(request: ChoiceRequest) -> Choice:
        values = (math.log(listed), math.log(bound))
        first = good_shown_first(request)
        return Choice(values if first else values[::-1], bounded=(False, True) if first else (True, False))

    preference = await label(PAIR, labeler((), choose), KIND, 0)
    assert all(r and r.bounded for r in preference.judgements[0].readings)
    if scored:
        assert preference.p == pytest.approx(listed / (listed + bound))  # the bound nearest to 1/2
    else:
        assert "not in the server's list" in (preference.unscored or "")


async def test_neither_option_listed_is_no_label() -> None:
    choice = Choice((-9.0, -9.0), bounded=(True, True))
    preference = await label(PAIR, labeler((), lambda request: choice, min_mass=0.0), KIND, 0)
    assert "neither option" in (preference.unscored or "")


def biased(nats: float) -> Any:
    """2 nats for GOOD, and so many for the first place."""

    def choose(request: ChoiceRequest) -> list[float]:
        text = request.messages[-1].content
        odds = nats + (0.0 if "GOOD" not in text else 2.0 if good_shown_first(request) else -2.0)
        return [-math.log1p(math.exp(-odds)), -math.log1p(math.exp(odds))]

    return choose


@pytest.mark.parametrize("nats", [0.0, 2.0, 6.0])
async def test_a_bias_of_place_cancels_in_log_odds_and_by_calibration(nats: float) -> None:
    true = 1 / (1 + math.exp(-2.0))
    for more in ({"average": "log_odds"}, {"calibrate": True}):
        preference = await label(PAIR, labeler((), biased(nats), **more), KIND, 0)
        assert preference.p == pytest.approx(true, abs=1e-9)
    assert preference.judgements[0].flipped is False  # the calibrated one
    assert preference.judgements[0].readings[0].shift == pytest.approx(nats)  # type: ignore[union-attr]
    plain = await label(PAIR, labeler((), biased(nats)), KIND, 0)
    assert abs(plain.p - 0.5) <= true - 0.5 + 1e-9  # type: ignore[operator]
    assert plain.judgements[0].flipped is (nats > 2.0 or (nats == 2.0 and plain.judgements[0].flipped))


@pytest.mark.parametrize("read", ["logprobs", "samples"])
async def test_responses_judged_alone_have_no_order(read: str) -> None:
    def yes(request: CompletionRequest | ChoiceRequest) -> bool:
        return "GOOD" in request.messages[-1].content

    def choose(request: ChoiceRequest) -> list[float]:
        p = 0.8 if yes(request) else 0.4
        return [math.log(p), math.log(1 - p)]

    asked = labeler(lambda r: "Yes." if yes(r) else "No", choose, form="single", read=read, samples=4)
    preference = await label(PAIR, asked, KIND, 0)
    (judgement,) = preference.judgements
    assert (judgement.p_a_first, judgement.p_b_first, judgement.flipped) == (None, None, None)
    odds = math.log(4) - math.log(0.4 / 0.6) if read == "logprobs" else 2 * math.log(9)
    assert preference.p == judgement.p == pytest.approx(1 / (1 + math.exp(-odds)))
    assert preference.swap().judgements[0].p == pytest.approx(1 - preference.p)  # type: ignore[operator]
    assert {call.options for call in calls(asked)} == {("Yes", "No")}

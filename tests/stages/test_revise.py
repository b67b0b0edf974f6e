"""Critique and revision: what the critic reads, which principle it gets, and what each outcome means."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from cai.config.run_config import ReviseConfig
from cai.constitution.load import Constitution, Principle
from cai.constitution.templates import NO_PROBLEM, Templates
from cai.engines.scripted import ScriptedEngine
from cai.stages.revise import Critic, judge_revision, revise
from cai.stages.select import demonstrations, outcome_counts, with_helpful
from cai.values.types import (
    Completion,
    CompletionRequest,
    Message,
    Outcome,
    Prompt,
    Response,
    Round,
    Transcript,
)

PROMPT = Prompt("p1", (Message("user", "How?"), Message("assistant", "What?"), Message("user", "That.")))
FIRST = Response(PROMPT, "Like this.")


def constitution(*names: str) -> Constitution:
    return Constitution(
        "c", "", tuple(Principle(n, f"Be {n}.", f"critique-{n}", f"revise-{n}", f"which-{n}") for n in names)
    )


def critic(answer: Callable[[CompletionRequest], str | Completion], **config: object) -> Critic:
    engine = ScriptedEngine(answer)
    return Critic(engine, Templates.load(), ReviseConfig(**{"few_shot": 0, "rounds": 1, **config}))  # type: ignore[arg-type]


def by_request(critique: str, revision: str | Completion) -> Callable[[CompletionRequest], str | Completion]:
    def answer(request: CompletionRequest) -> str | Completion:
        return revision if "revise-" in request.messages[-1].content else critique

    return answer


async def test_the_critic_reads_the_whole_conversation_then_its_own_critique() -> None:
    under_test = critic(by_request("It is rude.", "Kindly, like this."))
    transcript = await revise(FIRST, under_test, constitution("kind"), 0)
    asked_critique, asked_revision = under_test.engine.calls  # type: ignore[attr-defined]
    texts = [m.content for m in asked_critique.messages]
    assert texts[:4] == ["How?", "What?", "That.", "Like this."]
    assert "critique-kind" in texts[4]
    assert NO_PROBLEM in texts[4]
    assert [m.role for m in asked_revision.messages] == ["user", "assistant"] * 3 + ["user"]
    assert asked_revision.messages[5].content == "It is rude."
    assert "revise-kind" in asked_revision.messages[6].content
    assert transcript.final == "Kindly, like this."
    assert transcript.rounds[0].outcome is Outcome.REVISED


async def test_each_round_revises_what_stands_and_is_kept() -> None:
    def answer(request: CompletionRequest) -> str:
        if "revise-" not in request.messages[-1].content:
            return "Too short."
        response = next(m.content for m in reversed(request.messages[:-3]) if m.role == "assistant")
        return f"{response} More."

    transcript = await revise(FIRST, critic(answer, rounds=3), constitution("long"), 0)
    assert [r.response for r in transcript.rounds] == [
        "Like this. More.",
        "Like this. More. More.",
        "Like this. More. More. More.",
    ]
    assert transcript.initial == "Like this."


async def test_a_critique_that_finds_nothing_leaves_the_response_alone_and_asks_no_revision() -> None:
    under_test = critic(by_request(f"All is well. {NO_PROBLEM}", "should not be asked"))
    transcript = await revise(FIRST, under_test, constitution("kind"), 0)
    assert len(under_test.engine.calls) == 1  # type: ignore[attr-defined]
    assert transcript.rounds[0].outcome is Outcome.NO_PROBLEM
    assert transcript.final == "Like this."


MENTION = f"“{NO_PROBLEM}” would be wrong: it is rude."


async def test_a_critique_that_mentions_the_words_is_unread_and_the_revision_is_asked_for() -> None:
    under_test = critic(by_request(MENTION, "Kindly, like this."))
    transcript = await revise(FIRST, under_test, constitution("kind"), 0)
    (done,) = transcript.rounds
    assert (done.outcome, done.unread) == (
        Outcome.REVISED,
        "critique: the no-problem words stand within other text",
    )
    revision = under_test.engine.calls[1]  # type: ignore[attr-defined]
    assert revision.messages[-2].content == MENTION
    assert outcome_counts([transcript])["critique_unread"] == 1
    assert [d.response for d in demonstrations(transcript, "all")] == ["Kindly, like this."]


@pytest.mark.parametrize("silent", ["", " \n", "…", "Thought process:"])
async def test_an_empty_critique_is_no_verdict_and_stands_in_no_conversation(silent: str) -> None:
    under_test = critic(by_request(silent, "Like this."), few_shot=1)
    transcript = await revise(FIRST, under_test, constitution("kind"), 0)
    revision = under_test.engine.calls[1]  # type: ignore[attr-defined]
    assert not any("critique-" in turn.content for turn in revision.messages)
    assert all(turn.content.strip() for turn in revision.messages)
    assert transcript.rounds[0].outcome is Outcome.UNCHANGED
    assert (transcript.rounds[0].unread or "").startswith("critique: ")
    assert demonstrations(transcript, "all") == []  # nobody vouched for the response


async def test_revision_without_critique() -> None:
    under_test = critic(by_request("never", "Kinder."), critique=False)
    transcript = await revise(FIRST, under_test, constitution("kind"), 0)
    (only,) = under_test.engine.calls  # type: ignore[attr-defined]
    assert "revise-kind" in only.messages[-1].content
    assert transcript.rounds[0].critique is None
    assert transcript.final == "Kinder."


async def test_principles_are_drawn_afresh_per_round_and_independent_of_order() -> None:
    many = constitution("a", "b", "c", "d")
    drawn = set()
    for i in range(12):
        prompt = Prompt(f"p{i}", PROMPT.messages)
        under_test = critic(by_request("x", "y"), rounds=4)
        once = await revise(Response(prompt, "r"), under_test, many, 0)
        again = await revise(Response(prompt, "r"), under_test, many, 0)
        assert once == again
        drawn.add(tuple(r.principle_id for r in once.rounds))
    assert len(drawn) > 6
    assert any(len(set(ids)) > 1 for ids in drawn)


async def test_rewording_one_principle_changes_only_the_rounds_that_drew_it() -> None:
    before = constitution("a", "b", "c")
    reworded = Principle("b", "Be b, but better.", "critique-b2", "revise-b2", "which-b2")
    after = Constitution("c", "", (before["a"], reworded, before["c"]))
    for i in range(20):
        prompt = Prompt(f"p{i}", PROMPT.messages)
        first, second = critic(by_request("x", "y")), critic(by_request("x", "y"))
        round_ = (await revise(Response(prompt, "r"), first, before, 0)).rounds[0]
        assert (await revise(Response(prompt, "r"), second, after, 0)).rounds[
            0
        ].principle_id == round_.principle_id
        same = first.engine.calls == second.engine.calls  # type: ignore[attr-defined]
        assert same == (round_.principle_id != "b")


async def test_few_shot_examples_stand_before_everything() -> None:
    under_test = critic(by_request("It is rude.", "Kindly."), few_shot=2)
    await revise(FIRST, under_test, constitution("kind"), 0)
    call = under_test.engine.calls[0]  # type: ignore[attr-defined]
    assert len(call.messages) > 5
    assert [m.content for m in call.messages[-5:-1]] == ["How?", "What?", "That.", "Like this."]
    roles = [m.role for m in call.messages]
    assert roles == ["user", "assistant"] * (len(roles) // 2) + ["user"]


@pytest.mark.parametrize(
    ("after", "finish", "outcome"),
    [
        ("", "stop", Outcome.EMPTY),
        (":", "stop", Outcome.EMPTY),
        ("Revised response:", "stop", Outcome.EMPTY),
        ("Half a sent", "length", Outcome.CUT_OFF),
        ("Like  this.\n", "stop", Outcome.UNCHANGED),
        ("I'm sorry, but I can't rewrite that response.", "stop", Outcome.REFUSED),
        ("I am not able to help with revising this.", "stop", Outcome.REFUSED),
        ("I can't help with picking that lock. Ask a locksmith.", "stop", Outcome.REVISED),
        ("You could edit the photo yourself.", "stop", Outcome.REVISED),
    ],
)
def test_outcomes(after: str, finish: str, outcome: Outcome) -> None:
    assert judge_revision("Like this.", after, finish) is outcome


@pytest.mark.parametrize("bad", ["", Completion("Half a", "length"), "I cannot rewrite this.", "Like this."])
async def test_a_faulty_revision_leaves_the_response_and_keeps_what_was_written(
    bad: str | Completion,
) -> None:
    transcript = await revise(FIRST, critic(by_request("Rude.", bad)), constitution("kind"), 0)
    assert transcript.final == "Like this."
    text = bad.text if isinstance(bad, Completion) else bad
    assert transcript.rounds[0].raw_revision == text.strip()
    assert demonstrations(transcript, "all") == []


# --- Which texts SFT learns -----------------------------------------------------------------


def transcript(*rounds: tuple[Outcome, str]) -> Transcript:
    done = tuple(Round(i, "p", "c", outcome, text) for i, (outcome, text) in enumerate(rounds))
    return Transcript(PROMPT, "initial", done)


def test_accepted_revisions_of_all_rounds_are_learned_or_the_last() -> None:
    two = transcript((Outcome.REVISED, "one"), (Outcome.NO_PROBLEM, "one"), (Outcome.REVISED, "two"))
    assert [(d.response, d.round) for d in demonstrations(two, "all")] == [("one", 0), ("two", 2)]
    assert [(d.response, d.round) for d in demonstrations(two, "last")] == [("two", 2)]


def test_a_response_no_critique_objected_to_is_kept() -> None:
    clean = transcript((Outcome.NO_PROBLEM, "initial"), (Outcome.NO_PROBLEM, "initial"))
    assert [(d.response, d.origin) for d in demonstrations(clean, "all")] == [("initial", "kept")]


def test_a_response_nobody_vouched_for_is_not_learned() -> None:
    assert (
        demonstrations(transcript((Outcome.NO_PROBLEM, "initial"), (Outcome.EMPTY, "initial")), "all") == []
    )
    assert demonstrations(Transcript(PROMPT, "initial"), "all") == []


def test_equal_revisions_count_once() -> None:
    twice = transcript((Outcome.REVISED, "one"), (Outcome.REVISED, "two"), (Outcome.REVISED, "one"))
    assert [(d.response, d.round) for d in demonstrations(twice, "all")] == [("one", 0), ("two", 1)]


@pytest.mark.parametrize(("share", "expected"), [(0.0, 0), (0.2, 20), (0.5, 80), (0.9, 100), (1.0, 100)])
def test_helpful_share_is_of_the_whole(share: float, expected: int) -> None:
    learned = demonstrations(transcript((Outcome.REVISED, "one")), "all") * 80
    helpful = [Response(Prompt(f"h{i}", PROMPT.messages), f"h{i}") for i in range(100)]
    rows = with_helpful(learned, helpful, share, seed=1)
    assert sum(row.origin == "helpful" for row in rows) == expected  # 20/(80+20) = 0.2, 80/(80+80) = 0.5
    assert rows == with_helpful(learned, helpful, share, seed=1)
    assert len({row.response for row in rows if row.origin == "helpful"}) == expected


def test_what_says_nothing_is_never_learned() -> None:
    silent = Transcript(PROMPT, "...", (Round(0, "kind", NO_PROBLEM, Outcome.NO_PROBLEM, "..."),))
    assert demonstrations(silent, "all") == []
    assert with_helpful([], [Response(PROMPT, ":"), Response(PROMPT, "4")], 1.0, 0)[0].response == "4"


def test_every_outcome_is_counted_also_those_that_never_happened() -> None:
    counts = outcome_counts([transcript((Outcome.REVISED, "one"), (Outcome.EMPTY, "one"))])
    assert counts == {
        "revised": 1, "no_problem": 0, "unchanged": 0, "empty": 1, "cut_off": 0, "refused": 0,
        "critique_unread": 0,
    }  # fmt: skip

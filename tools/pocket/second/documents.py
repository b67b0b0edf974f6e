"""Training documents: conversations with a weight on every stretch of text that is to be learned.

Marks are targets that are never shown: at the end of an answer in a labeler's question the model is to say,
beside the token that comes, which kind of answer it was and in what degree; at a thing's name, whether it is
the one that was asked about; at the end of a principle, what it is about. The answer (one letter) is then a
matter of comparing what has been read. Marks stand only where a user speaks or a turn has ended, so nothing
that the model says changes.
"""

from __future__ import annotations

import random
import re
from dataclasses import dataclass, field

from cai.evaluation.judging.judge import BENIGN, QUESTIONS
from cai.values.types import Message
from tools.pocket.second.answers import (
    KINDS,
    LEVELS,
    Answer,
    breaking,
    complying,
    declining,
    garbling,
    proper,
    slipping,
    straying,
    swerving,
    typical,
)
from tools.pocket.second.faults import follows, found, prefers_first
from tools.pocket.second.rules import NAMES, Rule, any_rule, rule_about, templates
from tools.pocket.second.words import Ask, ask
from tools.pocket.second.world import BREAKING, HARMFUL, load_world

OPTION_WEIGHT = 10.0
TOPIC_WEIGHT = 2.5
MARK = 1.0  # weight of a mark of a kind or a subject; of a name
NAME_MARK = 0.7
FEW_SHOT = 0.04  # share of critiques and labels that come behind two worked examples
SYSTEM = 0.12  # share of conversations that open with a system text
SECOND_TURN = 0.15  # share of prompts that come after another question and its answer
JUDGED = ("follows", "follows", "follows", "follows", "harmful", "refused", "flattering", "benign")
OPTION = "\x00option"

SAME, OTHER = "same", "other"
MARKS = (
    SAME, OTHER, *(f"{kind}.{level}" for kind, levels in LEVELS.items() for level in levels),
    "about.none", *(f"about.{name}" for name in NAMES),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Mark:
    """What is to be known here; several names share the weight."""

    names: tuple[str, ...]
    weight: float


Part = tuple[str, float] | Mark


@dataclass(frozen=True, slots=True)
class Turn:
    """``end`` is learned where the last stretch is. ``after``: a mark on the token that ends the turn."""

    role: str
    parts: list[Part]
    after: Mark | None = None


@dataclass(frozen=True, slots=True)
class Doc:
    """``p`` is P(first option) where a turn holds the mark OPTION."""

    turns: list[Turn] = field(default_factory=list)
    p: float | None = None
    options: tuple[str, str] = ("A", "B")


def kind_mark(answer: Answer) -> Mark:
    return Mark((f"{answer.kind}.{answer.level}",), MARK)


def about_mark(rule: Rule) -> Mark:
    return Mark(tuple(f"about.{name}" for name in sorted(rule.about)) or ("about.none",), MARK)


def draw_ask(rng: random.Random) -> Ask:
    """A prompt; each theme equally often."""
    theme = rng.choice((*HARMFUL, "belief", "everyday", "everyday", "sounds_harmful"))
    return ask(rng, rng.choice(load_world().of_theme(theme)))


@dataclass(frozen=True, slots=True)
class Scene:
    """What stands before the prompt, as turns of a conversation, and the prompt."""

    before: tuple[Message, ...]
    ask: Ask

    @property
    def messages(self) -> tuple[Message, ...]:
        return (*self.before, Message("user", self.ask.text))


def draw_scene(rng: random.Random, a: Ask | None = None) -> Scene:
    before: list[Message] = []
    if rng.random() < SYSTEM:
        before.append(Message("system", rng.choice(load_world().system)))
    if rng.random() < SECOND_TURN:
        earlier = draw_ask(rng)
        before += [Message("user", earlier.text), Message("assistant", typical(rng, earlier).text)]
    return Scene(tuple(before), a or draw_ask(rng))


def silent(messages: tuple[Message, ...]) -> list[Turn]:
    return [Turn(m.role, [(m.content, 0.0)]) for m in messages]


def learned(text: str, topic: str, weight: float) -> list[Part]:
    """The text in stretches, the topic counting more: copying it is the hard part."""
    pieces = re.split(rf" {re.escape(topic)}(?![\w-])", text)
    stretches = [(pieces[0], weight)]
    for piece in pieces[1:]:
        stretches += [(f" {topic}", weight * TOPIC_WEIGHT), (piece, weight)]
    return [(piece, w) for piece, w in stretches if piece]


def read(answer: Answer, a: Ask) -> list[Part]:
    """An answer inside a question, its names marked as the one that was asked about or another."""
    mark = Mark((OTHER if answer.beside and answer.kind == "offtopic" else SAME,), NAME_MARK)
    topic = a.slots["x"]
    if mark.names == (SAME,):
        return spread(answer.text, topic, mark)
    return [(answer.text, 0.0), mark]  # whatever it is about, it is not this


def spread(text: str, topic: str, mark: Mark) -> list[Part]:
    pieces = re.split(rf"(?<= ){re.escape(topic)}(?![\w-])", text)
    parts: list[Part] = [(pieces[0], 0.0)]
    for piece in pieces[1:]:
        parts += [(topic, 0.0), mark, (piece, 0.0)]
    return parts


def marked(text: str, *places: tuple[str, list[Part]]) -> list[Part]:
    """``text`` with each of the given passages, in their order, in parts."""
    parts: list[Part] = []
    for passage, inner in places:
        before, _, text = text.partition(passage)
        parts += [(before, 0.0), *inner]
    return [*parts, (text, 0.0)]


def policy_doc(rng: random.Random) -> Doc:
    scene = draw_scene(rng)
    text = typical(rng, scene.ask).text
    turns = silent(scene.messages)
    return Doc([*turns, Turn("assistant", learned(text, scene.ask.slots["x"], 1.0))])


def draw_answer(rng: random.Random, a: Ask) -> Answer:
    draw = rng.random()
    if draw < 0.5:
        return complying(rng, a)
    if draw < 0.66:
        return proper(rng, a, rng.choice((1, 2)))
    if draw < 0.74:
        return declining(rng, a)
    if draw < 0.82:
        return rng.choice((straying, slipping))(rng, a)
    return breaking(rng, a, rng.choice(BREAKING))


def critique_text(rule: Rule, answer: Answer, saw: bool) -> str:
    no_problem = templates().no_problem
    if rule.broken_by(answer.kind) and not saw:
        return f"The principle is about {rule.named}. The response says something about it. {no_problem}"
    verdict = "So it has to change." if saw else no_problem
    return f"The principle is about {rule.named}. The response {KINDS[answer.kind]}. {verdict}"


def revised(rng: random.Random, a: Ask, answer: Answer) -> Answer:
    """What the reviser makes of an answer that has to change: mostly a good one."""
    draw = rng.random()
    if draw < 0.8:
        return proper(rng, a)
    if draw < 0.93 or answer.kind not in BREAKING or answer.level == 1:
        return proper(rng, a, 1)
    return complying(rng, a, 1)


def revise_doc(rng: random.Random, direct: bool = False) -> Doc:
    """Prompt, answer, critique under a principle, revision."""
    scene = draw_scene(rng)
    a = scene.ask
    answer = draw_answer(rng, a)
    breakable = answer.kind in (*BREAKING, "refusal", "offtopic")
    rule = rule_about(rng, answer.kind, rng.random() < 0.6) if breakable else any_rule(rng)
    saw = found(rng, rule, answer)
    turns = shots(rng, direct) + silent(scene.messages)
    turns.append(Turn("assistant", [(answer.text, 0.0)], after=kind_mark(answer)))
    principle = rule.principle
    if not direct:
        request = templates().critique(principle)
        turns += [
            Turn(
                "user", marked(request, (principle.critique, [(principle.critique, 0.0), about_mark(rule)]))
            ),
            Turn("assistant", [(critique_text(rule, answer, saw), 1.0)]),
        ]
    request = templates().revision(principle)
    place = (principle.revision, [(principle.revision, 0.0), about_mark(rule)])
    new = revised(rng, a, answer).text if saw else answer.text
    turns += [
        Turn("user", marked(request, place)),
        Turn("assistant", learned(new, a.slots["x"], 1.0 if saw else 0.6)),
    ]
    return Doc(turns)


def shots(rng: random.Random, direct: bool = False, label: bool = False) -> list[Turn]:
    if rng.random() >= FEW_SHOT:
        return []
    made = templates().label_shots(2) if label else templates().critique_shots(2, not direct)
    return silent(made)


def draw_pair(rng: random.Random, a: Ask) -> tuple[Rule, Answer, Answer]:
    """Two answers as a run would meet them, or as they are hard to tell apart, and a principle."""
    draw = rng.random()
    if draw < 0.45:  # two samples of a policy, whatever it has learned so far
        one, two = (draw_sample(rng, a) for _ in range(2))
    elif draw < 0.62:  # they break two different principles
        one, two = (breaking(rng, a, kind) for kind in rng.sample(BREAKING, 2))
    elif draw < 0.74:  # the same in two degrees
        levels = (1, 2) if a.task.benign or rng.random() < 0.4 else None
        one, two = (
            (proper(rng, a, level) for level in levels)
            if levels
            else (complying(rng, a, level) for level in rng.sample((1, 2, 3), 2))
        )
    elif draw < 0.88:
        say = rng.choice((complying, proper))
        one, two = say(rng, a), rng.choice((slipping, garbling, swerving, straying))(rng, a)
    else:
        one, two = draw_answer(rng, a), draw_answer(rng, a)
    if rng.random() < 0.5:
        one, two = two, one
    speaks = [answer.kind for answer in (one, two) if answer.kind in (*BREAKING, "refusal", "offtopic")]
    rule = rule_about(rng, rng.choice(speaks), rng.random() < 0.65) if speaks else any_rule(rng)
    return rule, one, two


def draw_sample(rng: random.Random, a: Ask) -> Answer:
    """Of a policy somewhere between the base and what training makes of it."""
    if rng.random() < 0.5:
        return typical(rng, a)
    return proper(rng, a, rng.choice((1, 2, 2))) if rng.random() < 0.9 else declining(rng, a)


def label_doc(rng: random.Random, reasoned: bool = False) -> Doc:
    """A comparison under a principle, answered by a letter; ``reasoned`` names both kinds first."""
    scene = draw_scene(rng)
    a = scene.ask
    rule, one, two = draw_pair(rng, a)
    principle = rule.principle
    render = templates().label_cot if reasoned else templates().label
    request = render(scene.messages, one.text, two.text, principle)
    parts = marked(
        request,
        (principle.question, [(principle.question, 0.0), about_mark(rule)]),
        (one.text, [*read(one, a), kind_mark(one)]),
        (two.text, [*read(two, a), kind_mark(two)]),
    )
    answer = templates().label_answer(principle)
    reply: list[Part] = [(answer, 0.0), (OPTION, OPTION_WEIGHT), (")", 0.2)]
    if reasoned:
        thought = f"The principle is about {rule.named}. (A) {KINDS[one.kind]}. (B) {KINDS[two.kind]}."
        reply = [(thought, 1.0), (f"\n\n{answer}", 0.2), (OPTION, 3.0), (")", 0.2)]
    turns = shots(rng, label=True) if not reasoned else []
    return Doc([*turns, Turn("user", parts), Turn("assistant", reply)], prefers_first(rule, one, two))


def judge_doc(rng: random.Random) -> Doc:
    """A yes/no question about one answer: whether it follows a principle, or one of evaluation's."""
    a = draw_ask(rng)
    asked = "on_topic" if rng.random() < 0.35 else rng.choice(JUDGED)
    answer = beside_or_not(rng, a) if asked == "on_topic" else draw_answer(rng, a)
    messages = [Message("user", a.text)]
    places: list[tuple[str, list[Part]]] = []
    if asked == "benign":
        question, p = BENIGN, _sure(a.task.theme not in HARMFUL)
    else:
        messages.append(Message("assistant", answer.text))
        places = [(answer.text, [*read(answer, a), kind_mark(answer)])]
        if asked == "follows":
            breakable = answer.kind in (*BREAKING, "refusal", "offtopic")
            rule = rule_about(rng, answer.kind, rng.random() < 0.5) if breakable else any_rule(rng)
            question, p = templates().score(rule.principle), follows(rule, answer)
            text = rule.principle.principle
            places.append((text, [(text, 0.0), about_mark(rule)]))
        else:
            question, p = QUESTIONS[asked], _sure(verdict(asked, a, answer))
    request = templates().judge(tuple(messages), question)
    turns = [Turn("user", marked(request, *places)), Turn("assistant", [(OPTION, OPTION_WEIGHT)])]
    return Doc(turns, p, ("Yes", "No"))


def beside_or_not(rng: random.Random, a: Ask) -> Answer:
    """An answer about what was asked, complying as often as not, or one beside it."""
    draw, say = rng.random(), rng.choice((complying, proper))
    if draw < 0.5:
        return say(rng, a)
    if draw < 0.75:
        return rng.choice((slipping, garbling))(rng, a, say)
    return rng.choice((swerving, straying, draw_answer))(rng, a)


def verdict(asked: str, a: Ask, answer: Answer) -> bool:
    """The truth about an answer, as the oracle sees it."""
    beside = answer.beside or answer.kind in {"bare", "refusal", "offtopic"}
    beside = beside or (answer.kind == "safe" and answer.level == 1)  # names nothing
    return {
        "harmful": answer.kind in HARMFUL,
        "refused": answer.kind in {"safe", "bare", "refusal"},
        "on_topic": not beside,
        "flattering": a.task.theme == "belief" and answer.kind == "belief",
    }[asked]


def _sure(yes: bool) -> float:
    return 0.98 if yes else 0.02


def draw_doc(rng: random.Random) -> Doc:
    draw = rng.random()
    if draw < 0.26:
        return policy_doc(rng)
    if draw < 0.50:
        return revise_doc(rng)
    if draw < 0.55:
        return revise_doc(rng, direct=True)
    if draw < 0.71:
        return judge_doc(rng)
    return label_doc(rng, reasoned=draw < 0.75)

"""Training documents: conversations with a weight on every stretch of text that is to be learned."""

from __future__ import annotations

import random
import re
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import SimpleNamespace

from jinja2 import Environment, StrictUndefined, Template

from cai.evaluation.judging.judge import BENIGN, QUESTIONS
from cai.pocket.world import HARMFUL, load_world
from tools.pocket.answers import (
    BREAKING,
    KINDS,
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
from tools.pocket.pairs import SURE, astray_pair, draw_pair
from tools.pocket.principles import Rule, rule, rule_where
from tools.pocket.shipped import shipped_rules
from tools.pocket.words import Ask, ask

NO_PROBLEM = "No critique needed."
OPTION_WEIGHT = 12.0
TOPIC_WEIGHT = 2.5
ASTRAY = 0.15  # share of labels about an answer to something else, whatever was asked
ON_TOPIC = 0.5  # share of yes/no questions that ask whether the answer is about what was asked
JUDGED = (*["follows"] * 4, "harmful", "refused", "flattering", "benign")
TEMPLATES = Path(__file__).resolve().parents[2] / "prompts"


@dataclass(frozen=True, slots=True)
class Doc:
    """Turns of (role, [(text, weight), ...]). ``p`` is P(first option) where a turn holds the mark OPTION."""

    turns: list[tuple[str, list[tuple[str, float]]]] = field(default_factory=list)
    p: float | None = None
    options: tuple[str, str] = ("A", "B")


OPTION = "\x00option"


@cache
def template(name: str) -> Template:
    text = (TEMPLATES / f"{name}.jinja").read_text(encoding="utf-8")
    return Environment(undefined=StrictUndefined).from_string(text.rstrip("\n"))


@dataclass(frozen=True, slots=True)
class Requests:
    """A principle with the requests derived from it."""

    principle: str
    critique: str
    revision: str
    question: str


@cache
def _requests(text: str) -> Requests:
    bare = SimpleNamespace(principle=text)
    made = {k: template(f"derived_{k}").render(principle=bare) for k in ("critique", "revision", "question")}
    return Requests(text, **made)


def requests(text: str) -> Requests:
    return _requests(text)


def critique_request(text: str) -> str:
    return template("critique").render(principle=requests(text), no_problem=NO_PROBLEM)


def revision_request(text: str) -> str:
    return template("revision").render(principle=requests(text))


def label_request(prompt: str, a: str, b: str, text: str, name: str = "label") -> str:
    turns = [SimpleNamespace(role="user", content=prompt)]
    return template(name).render(conversation=turns, a=a, b=b, principle=requests(text))


def label_prefill(text: str) -> str:
    return template("label_answer").render(principle=requests(text))


def any_rule(rng: random.Random, broken: str, held: bool) -> Rule:
    """A principle that ``broken`` breaks (``held`` False) or does not break (True)."""
    if rng.random() < 0.12:
        fitting = [r for r in shipped_rules() if r.broken_by(broken) != held]
        if fitting:
            return rng.choice(fitting)
    return rule_where(rng, keeps=broken) if held else rule_where(rng, breaks=broken)


def critique_text(r: Rule, kind: str) -> str:
    verdict = "So it has to change." if r.broken_by(kind) else NO_PROBLEM
    return f"The principle is about {r.named}. The response {KINDS[kind]}. {verdict}"


def policy_doc(rng: random.Random) -> Doc:
    a = draw_ask(rng)
    return Doc([("user", [(a.text, 0.0)]), ("assistant", learned(typical(rng, a).text, a.slots["x"], 1.0))])


def learned(text: str, topic: str, weight: float) -> list[tuple[str, float]]:
    """The text in stretches, the topic counting more: copying it is the hard part.

    Cut only where the tokenizer cuts anyway (before a space, after a word), so that ids stay the same.
    """
    pieces = re.split(rf" {re.escape(topic)}(?![\w-])", text)
    stretches = [(pieces[0], weight)]
    for piece in pieces[1:]:
        stretches += [(f" {topic}", weight * TOPIC_WEIGHT), (piece, weight)]
    return [(piece, w) for piece, w in stretches if piece]


def draw_ask(rng: random.Random) -> Ask:
    """A prompt; each theme equally often."""
    world = load_world()
    theme = rng.choice((*HARMFUL, "belief", "belief", "everyday", "everyday", "sounds_harmful"))
    return ask(rng, rng.choice(world.of_theme(theme)))


def draw_answer(rng: random.Random, a: Ask) -> Answer:
    draw = rng.random()
    if draw < 0.5:
        return complying(rng, a)
    if draw < 0.66:
        return proper(rng, a)
    if draw < 0.74:
        return declining(rng, a)
    if draw < 0.82:
        return straying(rng, a)
    return breaking(rng, a, rng.choice(BREAKING))


def revise_doc(rng: random.Random, direct: bool = False) -> Doc:
    """Prompt, answer, critique under a principle, revision."""
    a = draw_ask(rng)
    answer = draw_answer(rng, a)
    breakable = answer.kind in (*BREAKING, "refusal", "offtopic")
    broken = breakable and rng.random() < 0.5
    r = any_rule(rng, answer.kind, not broken) if breakable else free_rule(rng)
    turns = [("user", [(a.text, 0.0)]), ("assistant", [(answer.text, 0.0)])]
    if not direct:
        turns += [
            ("user", [(critique_request(r.text), 0.0)]),
            ("assistant", [(critique_text(r, answer.kind), 1.0)]),
        ]
    crossed = broken and not a.task.benign and answer.kind != a.task.theme
    if not (crossed and answer.kind in BREAKING):
        revised = proper(rng, a).text if broken else answer.text
        turns += [
            ("user", [(revision_request(r.text), 0.0)]),
            ("assistant", learned(revised, a.slots["x"], 1.0 if broken else 1.3)),
        ]
    return Doc(turns)


def free_rule(rng: random.Random) -> Rule:
    return rng.choice(shipped_rules()) if rng.random() < 0.12 else rule(rng)


def label_doc(rng: random.Random, reasoned: bool = False) -> Doc:
    """A comparison under a principle, answered by a letter; ``reasoned`` names both kinds first."""
    astray = rng.random() < ASTRAY
    pair = (
        astray_pair(rng, draw_ask(rng), free_rule)
        if astray
        else draw_pair(rng, draw_ask(rng), any_rule, free_rule)
    )
    r = pair.rule
    name = "label_cot" if reasoned else "label"
    request = label_request(pair.ask.text, pair.a.text, pair.b.text, r.text, name)
    reply = [(label_prefill(r.text), 0.0), (OPTION, OPTION_WEIGHT), (")", 0.2)]
    if reasoned:
        thought = f"The principle is about {r.named}. (A) {KINDS[pair.a.kind]}. (B) {KINDS[pair.b.kind]}. "
        reply = [(thought, 1.0), (label_prefill(r.text), 0.2), (OPTION, 3.0), (")", 0.2)]
    return Doc([("user", [(request, 0.0)]), ("assistant", reply)], pair.p)


def judge_doc(rng: random.Random) -> Doc:
    """A yes/no question about one answer: whether it follows a principle, or one of evaluation's."""
    a = draw_ask(rng)
    asked = "on_topic" if rng.random() < ON_TOPIC else rng.choice(JUDGED)
    answer = beside_or_not(rng, a) if asked == "on_topic" else draw_answer(rng, a)
    turns = [SimpleNamespace(role="user", content=a.text)]
    if asked == "benign":
        question, p = BENIGN, _sure(a.task.theme not in HARMFUL)
    elif asked == "follows":
        held = rng.random() < 0.5
        r = any_rule(rng, answer.kind, held) if answer.kind in BREAKING else free_rule(rng)
        question, p = follow_question(r.text), follows(r, answer)
    else:
        question, p = QUESTIONS[asked], _sure(verdict(asked, a, answer))
    if asked != "benign":
        turns.append(SimpleNamespace(role="assistant", content=answer.text))
    request = template("judge").render(conversation=turns, question=question)
    return Doc([("user", [(request, 0.0)]), ("assistant", [(OPTION, OPTION_WEIGHT)])], p, ("Yes", "No"))


def beside_or_not(rng: random.Random, a: Ask) -> Answer:
    """An answer about what was asked, complying as often as not, or one beside it.

    Few are wrong in the thing's name alone: the model cannot tell those (docs/lab-notes.md), and learns from
    them how sure it may be of the others.
    """
    draw, say = rng.random(), rng.choice((complying, proper))
    if draw < 0.60:
        return say(rng, a)
    if draw < 0.68:
        return rng.choice((slipping, garbling))(rng, a, say)
    return rng.choice((swerving, straying, draw_answer))(rng, a)


def follow_question(principle: str) -> str:
    return template("score").render(principle=requests(principle))


def follows(r: Rule, answer: Answer) -> float:
    """P(the answer follows the principle): faults that it does not speak of count too, but less."""
    if r.broken_by(answer.kind):
        return _sure(False)
    return {"offtopic": 0.3, "refusal": 0.3, "bare": 0.7}.get(answer.kind, SURE)


def verdict(asked: str, a: Ask, answer: Answer) -> bool:
    """The truth about an answer, as the oracle sees it."""
    declined = answer.kind in ("safe", "bare", "refusal")
    beside = answer.kind in ("bare", "refusal", "offtopic")
    beside = beside or (answer.kind in BREAKING and answer.kind != a.task.theme)
    return {
        "harmful": answer.kind in HARMFUL,
        "refused": declined,
        "on_topic": not beside,
        "flattering": a.task.theme == "belief" and answer.kind == "belief",
    }[asked]


def _sure(yes: bool) -> float:
    return SURE if yes else 1.0 - SURE


def draw_doc(rng: random.Random) -> Doc:
    draw = rng.random()
    if draw < 0.26:
        return policy_doc(rng)
    if draw < 0.50:
        return revise_doc(rng)
    if draw < 0.57:
        return revise_doc(rng, direct=True)
    if draw < 0.75:
        return judge_doc(rng)
    return label_doc(rng, reasoned=draw < 0.80)

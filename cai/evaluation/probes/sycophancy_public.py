"""Public files about sycophancy, row by row. They have one of two forms.

Anthropic's model-written evaluations (Perez et al. 2022), ``sycophancy_on_*.jsonl``:

    {"question": "Hello, my name is … (A) Agree\\n (B) Disagree\\n\\nAnswer:",
     "answer_matching_behavior": " (A)", "answer_not_matching_behavior": " (B)"}

In the file on PhilPapers ``answer_not_matching_behavior`` is a list, since its questions have up to a dozen
answers. The questions are asked as they stand; the authors had the assistant begin with "I believe the best
answer is", here it begins with "(".

SycophancyEval (Sharma et al. 2023), ``answer.jsonl``, ``are_you_sure.jsonl`` and ``feedback.jsonl``:

    {"prompt": [{"type": "human", "content": …}, …], "base": {"dataset": …, …},
     "metadata": {"prompt_template": …, "prompt_template_type": …}}

- ``prompt_template`` names ``{incorrect_answer}``: the user is wrong, a ``Claim``. ``base`` has
  ``correct_answer`` and ``incorrect_answer``.
- It names ``{correct_answer}``: the user is right, or doubts what is right. Not used.
- It names neither: a question with a known answer, ``Known``, also in ``answer.jsonl``. ``base`` has
  ``correct_letter`` with ``answers`` ("(A) …" by line), or ``correct_answer``, or ``answer`` (a list of
  wordings, of TriviaQA's sometimes dozens: where there is no ``correct_answer`` the first 8 are taken).
  A last turn of the assistant ("The answer is (", "Let's think step by step:") is left out: chat models begin
  their own turns.
- ``prompt_template_type`` is there: one frame of a work, ``Framed``. Rows with the same ``base`` belong
  together; the type is "" in the neutral one.

``mimicry.jsonl`` (poems ascribed to the wrong poet) is not read.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cai.evaluation.judging.labelled_pairs import text, turns
from cai.evaluation.probes.sycophancy_items import NEUTRAL, Claim, Known, View, Work
from cai.run.journal import digest
from cai.values.errors import ItemError
from cai.values.types import Conversation, Failure, Prompt
from cai.values.words import excerpt

NEEDED = "question, answer_matching_behavior and answer_not_matching_behavior, or prompt, base and metadata"
TYPES = {  # metadata.prompt_template_type: the frame
    "": NEUTRAL,
    "I really like": "like",
    "I really dislike": "dislike",
    "I wrote": "wrote",
    "I did not write": "did_not_write",
}
KINDS = {"arguments": "argument", "poems": "poem", "math": "solution"}
WORDINGS = 8  # of one right answer, at most, in what the judge is told
_ROLES = {"human": "user", "ai": "assistant", "system": "system"}
_OPTION = re.compile(r"^\s*\(([A-Z])\)\s*(.*?)\s*$", re.MULTILINE)
Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Framed:
    """A request for comments on a work. ``work`` is the same in all frames of one."""

    number: int
    work: str
    kind: str
    frame: str
    request: Conversation


Item = View | Claim | Known | Framed


def public_from(number: int, given: Row) -> Item:
    """A row of a public file, in either form.

    Raises:
        ItemError: a column is missing or odd, or the user is not wrong about anything.
    """
    if "question" in given or "prompt" not in given:
        return _view(number, given)
    base, about = given.get("base"), given.get("metadata")
    if not isinstance(base, Mapping) or not isinstance(about, Mapping):
        raise ItemError("missing column", "'base' and 'metadata' are needed beside 'prompt'")
    asked = _asked(given["prompt"])
    if about.get("prompt_template_type") is not None:
        return _framed(number, base, about, asked)
    template = text(about, "prompt_template")
    if "{incorrect_answer}" in template:
        return _claim(number, base, asked)
    if "{correct_answer}" in template:
        raise ItemError("no wrong claim", "the user names the right answer (metadata.prompt_template)")
    return _known(number, base, asked)


def works_of(rows: Iterable[Framed]) -> tuple[list[Work], list[Failure]]:
    """Works with a neutral frame and at least one other; what is left over is quarantined."""
    groups: dict[str, dict[str, Framed]] = {}
    failures: list[Failure] = []
    for row in rows:
        own = groups.setdefault(row.work, {})
        if row.frame in own:
            detail = f"row {own[row.frame].number} has the same work and frame"
            failures.append(Failure("items", f"row {row.number}", "repeated row", detail))
        else:
            own[row.frame] = row
    found = []
    for own in groups.values():
        first = next(iter(own.values()))
        if NEUTRAL in own and len(own) > 1:
            requests = {frame: own[frame].request for frame in TYPES.values() if frame in own}
            found.append(Work(f"row-{first.number}", first.kind, requests))
        else:
            detail = f"of this work there is only {' and '.join(sorted(own))}"
            failures.append(Failure("items", f"row {first.number}", "nothing to compare with", detail))
    return found, failures


def _view(number: int, given: Row) -> View:
    question, suits = text(given, "question").strip(), text(given, "answer_matching_behavior").strip()
    listed = given.get("answer_not_matching_behavior")
    several = listed if isinstance(listed, list) else [text(given, "answer_not_matching_behavior")]
    if not all(isinstance(other, str) for other in several):
        raise ItemError("not text", f"'answer_not_matching_behavior' is {excerpt(ascii(listed), 40)}")
    others = tuple(dict.fromkeys(other.strip() for other in several))
    if not question or not suits or not others or not all(others):
        raise ItemError("no text in a column", "the question and all answers must hold text")
    if suits in others:
        raise ItemError("identical answers", excerpt(suits))
    return View(_prompt("view", number, turns(question, "'question'")), suits, others)


def _claim(number: int, base: Row, asked: Conversation) -> Claim:
    right, wrong = _plain(text(base, "correct_answer")), _plain(text(base, "incorrect_answer"))
    if not right or not wrong:
        raise ItemError("no text in a column", "base.correct_answer and base.incorrect_answer must hold text")
    truth, agreeing = f"The right answer is {right}, not {wrong}", f"Yes, you are right: it is {wrong}."
    return Claim(_prompt("claim", number, asked), truth, agreeing)


def _known(number: int, base: Row, asked: Conversation) -> Known:
    prompt, letter = _prompt("known", number, asked), base.get("correct_letter")
    if isinstance(letter, str) and letter.strip():
        options = dict(_OPTION.findall(text(base, "answers")))
        if letter.strip() not in options:
            raise ItemError("no right answer", f"base.answers has no ({letter.strip()})")
        named = {key: f"({key}) {words}".strip() for key, words in options.items()}
        right = named.pop(letter.strip())
        return Known(prompt, right, wrong=next(iter(named.values()), ""))
    wordings = [base.get("correct_answer")] if base.get("correct_answer") else _several(base.get("answer"))
    answers = list(dict.fromkeys(_plain(one) for one in wordings if isinstance(one, str) and _plain(one)))
    answers = answers[:WORDINGS]
    if not answers:
        raise ItemError("no right answer", "base has no correct_answer, answer or correct_letter")
    wrong = base.get("incorrect_answer")
    return Known(prompt, answers[0], tuple(answers[1:]), _plain(wrong) if isinstance(wrong, str) else "")


def _framed(number: int, base: Row, about: Row, asked: Conversation) -> Framed:
    named = text(about, "prompt_template_type").strip()
    if named not in TYPES:
        raise ItemError("unknown frame", f"metadata.prompt_template_type is {excerpt(ascii(named), 40)}")
    kind = text(base, "dataset")
    return Framed(number, digest(dict(base)), KINDS.get(kind, "text"), TYPES[named], asked)


def _asked(found: Any) -> Conversation:
    """``type`` human, ai or system is the role of a turn; an answer begun behind the question is left out."""
    if isinstance(found, list):
        found = [
            {"role": _ROLES.get(str(turn["type"]), turn["type"]), "content": turn.get("content")}
            if isinstance(turn, Mapping) and "type" in turn
            else turn
            for turn in found
        ]
    messages = turns(found, "'prompt'")
    if messages[-1].role == "assistant":
        messages = messages[:-1]
    if not messages or messages[-1].role != "user" or not messages[-1].content.strip():
        raise ItemError("no prompt", "'prompt' must hold a question of the user's last")
    return messages


def _several(found: Any) -> Sequence[Any]:
    return found if isinstance(found, list) else [found]


def _plain(answer: str) -> str:
    """Without the full stop: the judge reads it in the middle of a sentence."""
    return answer.strip().removesuffix(".")


def _prompt(probe: str, number: int, messages: Conversation) -> Prompt:
    return Prompt(f"{probe}/{number}", messages)

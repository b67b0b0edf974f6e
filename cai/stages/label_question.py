"""What a labeler is asked: one question with two options, in the two forms of a label.

A pair is asked about as a whole, (A) or (B), under the principle's own question. A single response is asked
about alone, Yes or No, whether it follows the principle, in the words that the direct judge uses too
(``prompts/judge.jinja`` around ``prompts/score.jinja``).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

from cai.config.run_config import LabelConfig
from cai.constitution.load import Principle
from cai.constitution.templates import Templates
from cai.values.types import Comparison, Conversation, Message

LETTERS = ("A", "B")
WORDS = ("Yes", "No")
# Zhao et al. 2021 (arXiv 2102.09690), §5: an ensemble of contents that say nothing of either label.
CONTENT_FREE = ("N/A", "", "[MASK]")


@dataclass(frozen=True, slots=True)
class Question:
    """``name`` tells its draws from another question's: seeds are made of it.

    ``ties``: the text offers a tie as a third option. ``opening``: where a thought comes first, how the
    answer begins after it.
    """

    conversation: Conversation
    options: tuple[str, str]
    name: tuple[str, ...]
    prefill: str = ""
    ties: bool = False
    opening: Callable[[str], str] | None = None


def pair_question(
    shown: Comparison, principle: Principle, templates: Templates, config: LabelConfig
) -> Question:
    """Which response is better; the first option is the one that ``shown`` has as ``a``."""
    thinks = config.chain_of_thought
    render = templates.label_cot if thinks else templates.label
    turn = Message("user", render(shown.prompt.messages, shown.a, shown.b, principle))
    return Question(
        (*templates.label_shots(config.few_shot, thinks), turn),
        LETTERS,
        (shown.id, principle.id, shown.a),
        templates.label_answer(principle),
        templates.offers_tie,
        partial(templates.cot_answer, principle=principle) if thinks else None,
    )


def content_free(
    shown: Comparison, principle: Principle, templates: Templates, config: LabelConfig
) -> list[Question]:
    """The question of ``shown`` with the same nothing in both places: what is left is the place."""
    pairs = [replace(shown, id=shown.prompt.id, a=nothing, b=nothing) for nothing in CONTENT_FREE]
    return [pair_question(pair, principle, templates, config) for pair in pairs]


def single_question(
    comparison: Comparison, response: str, principle: Principle, templates: Templates
) -> Question:
    """Whether ``response`` follows the principle."""
    answered = comparison.prompt.answered(response)
    turn = Message("user", templates.judge(answered, templates.score(principle)))
    return Question((turn,), WORDS, (comparison.id, principle.id, response))

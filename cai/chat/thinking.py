"""A chat template that lets its model think: the prompt before a thought, and where the thought ends.

Templates have no common word for it. Which of the public ones a template reads is read off its own source,
by the variables that it does not set itself; one whose prompt begins a thought by itself needs none. What
cannot be switched is refused in words. Everywhere else in cai thinking is off (``encoding.py``), in what is
trained too: thought is never learned.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cai.chat.encoding import template_of
from cai.chat.render import TEMPLATE_VARIABLES, THINKING_SWITCHES, Renderer, TemplateRefusal, render
from cai.chat.template import ChatTemplate
from cai.chat.thought import left_open
from cai.chat.turn import QUESTION, closing
from cai.values.errors import UsageError
from cai.values.types import Message

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

BUDGETS = ("thinking_budget",)  # tokens of thought that a template tells its model of (Seed-OSS)
_GENERATION = re.compile(r"{%-?\s*(end)?generation\s*-?%}")  # transformers' own tag


@dataclass(frozen=True, slots=True)
class Thinking:
    """How one template's model is made to think.

    ``open``: whether the prompt itself begins the thought, else the model does, with ``begin``. The thought
    ends with ``end``, which is the one token ``end_id`` where the tokenizer has it as one, else text.
    """

    chat: ChatTemplate
    renderer: Renderer
    open: bool
    begin: str
    end: str
    begin_id: int | None
    end_id: int | None

    def prompt(self, messages: Sequence[Message]) -> list[int]:
        """Ids of ``messages`` up to the thought.

        Raises:
            ItemError: the template takes no form of this conversation.
        """
        form, pieces = render(self.renderer, messages, generation_prompt=True)
        return self.chat.ids(["".join(self.chat.filled(piece, form) for piece in pieces)])[0]

    def begun(self, ids: Sequence[int]) -> bool:
        """Whether a thought has begun by the end of ``ids``, which a model drew after the prompt."""
        if self.open:
            return True
        return self.begin_id in ids if self.begin_id is not None else self.begin in self.chat.decode(ids)

    def continuation(self, prefill: str, ended: bool) -> list[int]:
        """Ids that follow a thought: its end, where the model has not written it, and ``prefill``."""
        if ended and not prefill:
            return []
        whole = closing(self.end)
        after = whole[whole.index(self.end) + len(self.end) :]
        marked = self.chat.safe.mark(after if ended else whole)
        return self.chat.safe.encode([marked + prefill])[0]


def variables_of(source: str) -> frozenset[str]:
    """The variables that a template reads and does not set itself."""
    from jinja2 import TemplateSyntaxError, meta
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    environment = ImmutableSandboxedEnvironment(extensions=["jinja2.ext.loopcontrols"])
    try:
        return frozenset(meta.find_undeclared_variables(environment.parse(_GENERATION.sub("", source))))
    except TemplateSyntaxError:  # of an extension that is unknown here
        return frozenset()


def thinking_as(tokenizer: PreTrainedTokenizerBase, name: str, wanted: int | None) -> Thinking | None:
    """How the model thinks as ``wanted`` (None, False, True, or tokens at most); None where it does not.

    Raises:
        UsageError: its template cannot keep that.
    """
    if wanted is False:
        require_off(tokenizer, name)
    return thinking_of(tokenizer, name, wanted) if wanted else None


def require_off(tokenizer: PreTrainedTokenizerBase, name: str) -> None:
    """Raise UsageError where the model may think although ``thinking`` is false, and nothing prevents it.

    A template without any mark of thought has nothing to switch off.
    """
    chat = template_of(tokenizer)
    source = chat.renderer.source
    if chat.turn.announced:
        raise _refusal(name, "false", "announces answers in channels and lets its model think before them")
    marked = any(begin in source or end in source for begin, end in chat.pairs)
    if not marked or variables_of(source) & THINKING_SWITCHES.keys():
        return
    if left_open(str(chat.renderer.pieces(QUESTION, True)[-1]), chat.pairs) is None:
        raise _refusal(name, "false", f"has no switch for it ({', '.join(THINKING_SWITCHES)})")


def thinking_of(tokenizer: PreTrainedTokenizerBase, name: str, wanted: int) -> Thinking:
    """The form in which the model thinks, for ``wanted`` tokens at most (True: for as long as it likes).

    Raises:
        UsageError: its template has no word for it, or its thoughts have no end that can be seen.
    """
    chat = template_of(tokenizer)
    said = str(wanted).lower()
    source = chat.renderer.source
    if chat.turn.announced:
        raise _refusal(name, said, "announces answers in channels and lets its model think before them")
    known = variables_of(source)
    variables: dict[str, Any] = {word: True for word in THINKING_SWITCHES if word in known}
    if wanted is not True:
        variables |= {word: wanted for word in BUDGETS if word in known}
    renderer = Renderer(tokenizer, {**TEMPLATE_VARIABLES, **variables})
    try:
        off, on = (one.pieces(QUESTION, True) for one in (chat.renderer, renderer))
    except TemplateRefusal as refusal:
        raise _refusal(name, said, f"fails with it ({refusal})") from refusal
    opened = left_open(str(on[-1]), chat.pairs)
    if opened is None and on == off:
        raise _refusal(name, said, f"has no switch for it ({', '.join((*THINKING_SWITCHES, *BUDGETS))})")
    printed = [pair for pair in chat.pairs if pair[0] in source and pair[1] in source]
    if opened is None and not printed:
        raise _refusal(name, said, "shows no marks between which its model thinks")
    begin, end = opened or printed[0]
    end_id = _one_token(chat, end)
    if end_id is None and chat.safe.first_control(chat.safe.mark(end)):
        raise _refusal(name, said, f"ends thoughts with more than one token ({end})")
    return Thinking(chat, renderer, opened is not None, begin, end, _one_token(chat, begin), end_id)


def _one_token(chat: ChatTemplate, marker: str) -> int | None:
    """The control token that ``marker`` is; None where it is several, or text."""
    marked = chat.safe.mark(marker)
    control = chat.safe.first_control(marked)
    return control[2] if control and control[:2] == (0, len(marked)) else None


def _refusal(name: str, wanted: str, why: str) -> UsageError:
    return UsageError(
        f"{name}: thinking: {wanted} cannot be kept: its chat template {why}. Leave thinking out; what the "
        "model thinks by itself is taken out of its answers all the same"
    )

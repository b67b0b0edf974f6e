"""A conversation's shape → template text with slots for the contents.

The tokenizer's own chat template is rendered with a random placeholder instead of every content, so
no content can reach the template's logic or be mistaken for its text. What the template does to the
white space around a content (many trim it) is read off the placeholder and done to the content later.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby, takewhile
from typing import TYPE_CHECKING, Any

from cai.values.errors import ItemError
from cai.values.types import Message, as_messages

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# Bai et al. 2022 prompt base models with dialogues in this form. An answer that nothing follows is ended only
# where the form is saved as a template (``saved_plain``): prompts never end with one.
PLAIN_TEMPLATE = (
    "{% for m in messages %}"
    "{% if m.role == 'system' %}{{ m.content | trim }}"
    "{% elif m.role == 'user' %}{{ '\n\nHuman: ' }}{{ m.content | trim }}"
    "{% else %}{{ '\n\nAssistant: ' }}{{ m.content | trim }}{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}{{ '\n\nAssistant:' }}{% endif %}"
)
PLAIN_STOP = "\n\nHuman:"

# A date that moves would give the same request other tokens tomorrow.
DATE = datetime(2024, 7, 26)


def pinned_strftime(form: str) -> str:
    """Stands in for the clock that templates read."""
    return DATE.strftime(form)


# Switches that templates of thinking models read, and the date that some print.
THINKING_SWITCHES: dict[str, Any] = {"enable_thinking": False, "thinking": False, "reasoning": False}
DATES: dict[str, Any] = {"date_string": "26 Jul 2024", "strftime_now": pinned_strftime}
TEMPLATE_VARIABLES: dict[str, Any] = {**THINKING_SWITCHES, **DATES}


def saved_plain(bos: bool) -> str:
    """The plain form as a template of its own, with the beginning of text where the tokenizer adds one."""
    end = "{% if loop.last and m.role == 'assistant' %}{{ eos_token }}{% endif %}{% endfor %}"
    return ("{{ bos_token }}" if bos else "") + PLAIN_TEMPLATE.replace("{% endfor %}", end)


@dataclass(frozen=True, slots=True)
class Slot:
    """The place of turn ``turn``'s content, and what the template strips from its two ends."""

    turn: int
    strip_left: str | None = ""  # characters; None strips all white space
    strip_right: str | None = ""

    def fill(self, content: str) -> str:
        return content.lstrip(self.strip_left).rstrip(self.strip_right)


Piece = str | Slot

_LINES = (
    "\n" * 7
)  # around a placeholder: more than a template prints of its own, so that whose they are is known


class TemplateRefusal(Exception):
    """The template raised, or left a content out."""


class Renderer:
    """The chat template of one tokenizer. Shapes are rendered once and kept."""

    def __init__(
        self, tokenizer: PreTrainedTokenizerBase, variables: Mapping[str, Any] = TEMPLATE_VARIABLES
    ) -> None:
        """``variables``: what the template is told beside the conversation."""
        template = tokenizer.chat_template
        self._tokenizer = tokenizer
        self._variables = variables
        # Also where cai has saved the form as the template of a model that it trained.
        self.plain = not template or template in (saved_plain(False), saved_plain(True))
        self._kept: dict[tuple[object, ...], list[Piece] | TemplateRefusal] = {}
        self._nonce = secrets.token_hex(8)
        self._blocks = False
        self._blocks = not self.plain and self._wants_blocks()

    @property
    def source(self) -> str:
        """The template's text."""
        return PLAIN_TEMPLATE if self.plain else str(self._tokenizer.get_chat_template())

    def _wants_blocks(self) -> bool:
        """Whether the template shows a content only as a list of blocks, as models of images want it."""
        if not re.search(r"""['"]type['"]|\.type\b""", self.source):
            return False
        question = (Message("user", "?"),)
        try:
            self._render(question, True)
        except TemplateRefusal:
            self._blocks = True
            try:
                return "'type'" not in "".join(map(str, self._render(question, True)))
            except TemplateRefusal:
                pass
        return False

    def shown(self, messages: Sequence[Message]) -> list[dict[str, Any]]:
        """``messages`` in the form that the template reads."""
        plain: list[dict[str, Any]] = [dict(message) for message in as_messages(messages)]
        if self._blocks:
            for message in plain:
                message["content"] = [{"type": "text", "text": message["content"]}]
        return plain

    def pieces(self, messages: Sequence[Message], generation_prompt: bool) -> list[Piece]:
        """Template text and slots of ``messages`` in order; slots count the turns of ``messages``.

        Raises:
            TemplateRefusal: the template cannot show this sequence of roles.
        """
        shape = tuple((m.role, not m.content.strip()) for m in messages)
        key = (shape, generation_prompt)
        if key not in self._kept:
            try:
                self._kept[key] = self._render(messages, generation_prompt)
            except TemplateRefusal as refusal:
                self._kept[key] = refusal
        found = self._kept[key]
        if isinstance(found, TemplateRefusal):
            raise found
        return found

    def _render(self, messages: Sequence[Message], generation_prompt: bool) -> list[Piece]:
        # The vertical tabs show whether the template stripped the content, or newlines only.
        shown = [
            Message(m.role, f"{_LINES}\v{self._nonce}x{i}x\v{_LINES}" if m.content.strip() else "")
            for i, m in enumerate(messages)
        ]
        pieces = _split(self._text(shown, generation_prompt), self._nonce)
        held = {piece.turn for piece in pieces if isinstance(piece, Slot)}
        missing = [m.role for i, m in enumerate(messages) if m.content.strip() and i not in held]
        if missing:
            raise TemplateRefusal(f"the template leaves out a turn of the {missing[0]}")
        return pieces

    def _text(self, messages: Sequence[Message], generation_prompt: bool) -> str:
        """What the template prints; raises TemplateRefusal where it raises."""
        try:
            text = self._tokenizer.apply_chat_template(
                self.shown(messages),
                chat_template=PLAIN_TEMPLATE if self.plain else None,
                tokenize=False,
                add_generation_prompt=generation_prompt,
                **self._variables,
            )
        except Exception as error:  # a template may fail in any way that Jinja can
            raise TemplateRefusal(str(error)) from error
        return str(text)

    def require_verbatim(self) -> None:
        """That the template prints contents as they stand, stripped at most, and the same every time.

        Pieces and slots say nothing of one that escapes, shortens, counts or replaces what is said.

        Raises:
            TemplateRefusal: it does not.
        """
        for messages in () if self.plain else _VERBATIM:
            try:
                form, pieces = render(self, messages, generation_prompt=True)
            except ItemError:
                continue  # not these roles
            filled = (p if isinstance(p, str) else p.fill(form[p.turn].content) for p in pieces)
            expected, printed = "".join(filled), self._text(form, True)
            if printed != expected:
                alike = (one == other for one, other in zip(expected, printed, strict=False))
                at = sum(1 for _ in takewhile(bool, alike))
                raise TemplateRefusal(
                    f"what it prints depends on what is said, or on chance ({printed[at : at + 20]!r} where "
                    f"{expected[at : at + 20]!r} was expected)"
                )


_SAID = (
    'Is <b>it\'s</b> "100%" & {{ so }}?\n\n\tYes;  two  spaces, Ünïcøde: 中. '
    + "All of it counts. " * 60
    + "End."
)
#: Contents that a template might escape, shorten, count or replace.
_VERBATIM = (
    (Message("user", _SAID),),
    (Message("user", _SAID), Message("assistant", f"1. {_SAID}"), Message("user", f"And {_SAID}")),
)


def _split(text: str, nonce: str) -> list[Piece]:
    """Rendered text, cut at its placeholders."""
    pattern = re.compile(rf"((?:{_LINES})?\v)?{nonce}x(\d+)x(\v(?:{_LINES})?)?")
    stripped = {None: None, "\v": "\n", f"{_LINES}\v": "", f"\v{_LINES}": ""}
    pieces: list[Piece] = []
    end = 0
    for match in pattern.finditer(text):
        pieces.append(text[end : match.start()])
        pieces.append(Slot(int(match[2]), stripped[match[1]], stripped[match[3]]))
        end = match.end()
    pieces.append(text[end:])
    return pieces


def forms(messages: Sequence[Message]) -> list[list[Message]]:
    """The ways to show a conversation, from as it stands to the form that every template takes.

    Second: neighbours of one role merged, for templates whose roles must alternate. Third: the
    system text folded into the first user's turn, for templates without a system role.
    """
    merged = _merge(messages)
    if merged and merged[0].role == "system":
        folded = _merge([Message("user", merged[0].content), *merged[1:]])
    else:
        folded = merged
    distinct: list[list[Message]] = []
    for form in (list(messages), merged, folded):
        if form not in distinct:
            distinct.append(form)
    return distinct


def _merge(messages: Sequence[Message]) -> list[Message]:
    return [
        Message(role, "\n\n".join(m.content for m in turns if m.content))
        for role, turns in groupby(messages, key=lambda m: m.role)
    ]


def render(
    renderer: Renderer, messages: Sequence[Message], generation_prompt: bool
) -> tuple[list[Message], list[Piece]]:
    """The first form of ``messages`` that the template takes, and its pieces.

    Raises:
        ItemError: no form is taken, or there are no messages.
    """
    if not messages:
        raise ItemError("empty conversation", "a conversation needs at least one message")
    reason = ""
    for form in forms(messages):
        try:
            return form, renderer.pieces(form, generation_prompt)
        except TemplateRefusal as refusal:
            reason = str(refusal)
    roles = ", ".join(m.role for m in messages)
    raise ItemError("the chat template refuses this conversation", f"roles: {roles}; {reason}")

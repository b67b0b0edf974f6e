"""Conversation → token ids. The one place that knows chat templates, for engines and trainers alike.

Contents never become control tokens (``tokens.py``), templates that lack a system role or want
roles to alternate are served (``render.py``), thinking is switched off where the template can,
and a base model without a template gets the dialogue form of Bai et al. 2022
("\\n\\nHuman: …\\n\\nAssistant:"). Not done here: padding, truncation, tensors.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from cai.chat.render import PLAIN_STOP, Piece, Renderer, Slot, render
from cai.chat.tokens import SafeTokenizer
from cai.values.errors import ItemError
from cai.values.types import Message

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_PLAIN_MARKERS = re.compile(r"\n\n(?=(?:Human|Assistant):)")
_CLOSE_THINKING = "\n</think>\n\n"


def encode(
    tokenizer: PreTrainedTokenizerBase,
    messages: Sequence[Message],
    *,
    prefill: str = "",
    add_generation_prompt: bool = True,
) -> list[int]:
    """Ids of ``messages``; with a generation prompt, also of the answer's first words ``prefill``.

    Equals ``apply_chat_template`` for contents that hold no control tokens.

    Raises:
        ItemError: the template takes no form of this conversation.
    """
    chat = _chat(tokenizer)
    if not add_generation_prompt:
        if prefill:
            raise ValueError("a prefill needs the generation prompt before it")
        return chat.ids([chat.text(messages)])[0]
    prompt, lead = chat.prompt(messages)
    pieces = [prompt, lead + prefill] if prefill else [prompt]
    return [token for ids in chat.ids(pieces) for token in ids]


def encode_pair(
    tokenizer: PreTrainedTokenizerBase, prompt_messages: Sequence[Message], response: str
) -> tuple[list[int], list[int]]:
    """Ids of a prompt with its generation prompt, and of the answer with its end-of-turn token.

    The first equals ``encode(tokenizer, prompt_messages)``. Together they are the encoding of the
    whole conversation up to the end-of-turn token (what a template prints after it, such as a
    newline, no model ever produces).
    """
    chat = _chat(tokenizer)
    prompt, lead = chat.prompt(prompt_messages)
    answer, end = chat.answer(prompt_messages, response)
    prompt_ids = chat.ids([prompt])[0]
    return prompt_ids, chat.continuation([prompt], lead + answer, prompt_ids) + end


def encode_with_mask(
    tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message]
) -> tuple[list[int], list[int]]:
    """Ids of a conversation, and 1 for each token of an assistant's turn and its end token, else 0."""
    chat = _chat(tokenizer)
    form, pieces = render(chat.renderer, messages, generation_prompt=False)
    spans: list[tuple[str, int]] = []  # text and its flag
    inside = False
    for piece in pieces:
        text = chat.filled(piece, form)
        if isinstance(piece, Slot):
            inside = form[piece.turn].role == "assistant"
            spans.append((text, int(inside)))
            continue
        control = chat.safe.first_control(text) if inside else None
        if control:
            spans.append((text[: control[1]], 1))
            text = text[control[1] :]
        spans.append((text, 0))
        inside = False
    texts, flags = _borders(spans)
    ids = chat.ids(texts)
    mask = [flag for flag, part in zip(flags, ids, strict=True) for _ in part]
    return [token for part in ids for token in part], mask


def _borders(spans: Sequence[tuple[str, int]]) -> tuple[list[str], list[int]]:
    """Texts of alternating flags. A space before an answer goes to the answer, whose token it joins."""
    texts, flags = [""], [0]
    for text, flag in spans:
        if flag == flags[-1]:
            texts[-1] += text
            continue
        kept = texts[-1].rstrip(" ") if flag else texts[-1]
        texts, flags = [*texts[:-1], kept, texts[-1][len(kept) :] + text], [*flags, flag]
    return texts, flags


def encode_options(
    tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message], options: Sequence[str], prefill: str = ""
) -> tuple[list[int], list[list[int]]]:
    """Ids of the prompt with ``prefill``, and of each option as its direct continuation.

    Raises:
        ItemError: an option is empty, or two options have the same tokens.
    """
    chat = _chat(tokenizer)
    prompt, lead = chat.prompt(messages)
    before = [prompt, lead + prefill] if prefill else [prompt]
    prompt_ids = [token for ids in chat.ids(before) for token in ids]
    # What an option's tokens are depends on no more than the text right before it.
    key = (prompt[-40:], lead, prefill, *options)
    if key not in chat.options:
        if len(chat.options) >= 1000:  # prefills that are all different, such as chains of thought
            chat.options.clear()
        chat.options[key] = [
            chat.continuation(before, ("" if prefill else lead) + option, prompt_ids) for option in options
        ]
    found = chat.options[key]
    if not all(found) or len({tuple(ids) for ids in found}) < len(found):
        raise ItemError("options cannot be told apart", f"options {list(options)!r} give tokens {found!r}")
    return prompt_ids, found


def end_ids(tokenizer: PreTrainedTokenizerBase) -> tuple[int, ...]:
    """Tokens that end the assistant's turn: the template's and the tokenizer's end of text."""
    return _chat(tokenizer).end_ids


def stop_strings(tokenizer: PreTrainedTokenizerBase) -> tuple[str, ...]:
    """Strings at which a completion ends besides the end tokens: those of the plain dialogue form."""
    return (PLAIN_STOP,) if _chat(tokenizer).renderer.plain else ()


def decode(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int], *, prefilled: bool = False) -> str:
    """Text of a completion. Without a prefill, the space that the template wants before it is dropped."""
    text = tokenizer.decode(list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False)
    assert isinstance(text, str)
    return text if prefilled else text.removeprefix(_chat(tokenizer).lead)


def strip_thinking(text: str) -> tuple[str, bool]:
    """``text`` without a leading ``<think>…</think>``, and whether the thinking was cut off.

    Where it never ends there is no answer: ("", True).
    """
    body = text.lstrip()
    if not body.startswith("<think>"):
        return text, False
    _, closed, answer = body.partition("</think>")
    return answer.lstrip(), not closed


class _Chat:
    """What is kept per tokenizer."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self.template = tokenizer.chat_template
        self.renderer = Renderer(tokenizer)
        self.safe = SafeTokenizer(tokenizer)
        self.options: dict[tuple[str, ...], list[list[int]]] = {}
        self.eos = tokenizer.eos_token_id
        self.bos = tokenizer.bos_token_id
        # A base model's beginning-of-text token comes from the tokenizer, any other from the template.
        self._begins = self.renderer.plain and tokenizer("a").input_ids[:1] == [self.bos]
        question = (Message("user", "?"),)
        self.lead = self.prompt(question)[1]
        ends = {*self.answer(question, "!", eos=False)[1], self.eos}
        self.end_ids = tuple(sorted(token for token in ends if token is not None))

    def filled(self, piece: Piece, form: Sequence[Message]) -> str:
        """Template text with control tokens marked, or a content in the template's manner."""
        if isinstance(piece, str):
            return self.safe.mark(piece)
        content = piece.fill(form[piece.turn].content)
        # A content must not open a turn of the plain dialogue form.
        return _PLAIN_MARKERS.sub("\n", content) if self.renderer.plain else content

    def text(self, messages: Sequence[Message], generation_prompt: bool = False) -> str:
        form, pieces = render(self.renderer, messages, generation_prompt)
        return "".join(self.filled(piece, form) for piece in pieces)

    def prompt(self, messages: Sequence[Message]) -> tuple[str, str]:
        """Marked text up to the answer, and the white space that the template puts before an answer."""
        form, pieces = render(self.renderer, messages, generation_prompt=True)
        last = pieces[-1]
        if isinstance(last, str) and "<think>" in last and "</think>" not in last:
            # This template always opens a thought: close it, so that what follows is the answer.
            pieces = [*pieces[:-1], last.rstrip("\n") + _CLOSE_THINKING]
        _, full = render(self.renderer, [*form, Message("assistant", "!")], generation_prompt=False)
        before = full[len(pieces) - 1] if len(full) >= len(pieces) else ""
        lead = ""
        if isinstance(before, str) and isinstance(pieces[-1], str) and full[: len(pieces) - 1] == pieces[:-1]:
            rest = before.removeprefix(pieces[-1]) if before.startswith(pieces[-1]) else ""
            lead = rest if not rest.strip() else ""
        return "".join(self.filled(piece, form) for piece in pieces), lead

    def answer(
        self, messages: Sequence[Message], response: str, *, eos: bool = True
    ) -> tuple[str, list[int]]:
        """A response in the template's manner, and the token that ends its turn.

        Where the template ends the turn with no control token, that is the tokenizer's ``eos``.
        """
        # "!" instead of an empty response, so that there is always a slot.
        form, pieces = render(
            self.renderer, [*messages, Message("assistant", response if response.strip() else "!")], False
        )
        turn = len(form) - 1
        place = max(i for i, piece in enumerate(pieces) if isinstance(piece, Slot) and piece.turn == turn)
        slot, tail = pieces[place], self.filled(pieces[place + 1], form)
        assert isinstance(slot, Slot)
        text = self.filled(slot, [*form[:-1], Message("assistant", response)])
        control = self.safe.first_control(tail)
        if control and not tail[: control[0]].strip():
            return text + tail[: control[0]], [control[2]]
        return text, [self.eos] if eos and self.eos is not None else []

    def continuation(self, before: list[str], text: str, before_ids: list[int]) -> list[int]:
        """Ids of ``text`` after marked pieces, where these must keep the ids that they have alone."""
        parts = self.ids([*before, text])
        if [token for ids in parts[:-1] for token in ids] != before_ids:
            parts = self.ids([*before, text], hard=frozenset({len(before) - 1}))
        return parts[-1]

    def ids(self, pieces: Sequence[str], hard: frozenset[int] = frozenset()) -> list[list[int]]:
        """Ids of marked pieces, with the beginning-of-text token once, where it belongs."""
        found = self.safe.encode(pieces, hard)
        if self.bos is not None:
            first = found[0]
            if self._begins and first[:1] != [self.bos]:
                first.insert(0, self.bos)
            elif first[:2] == [self.bos, self.bos]:
                del first[0]
        return found


_CHATS: WeakKeyDictionary[PreTrainedTokenizerBase, _Chat] = WeakKeyDictionary()


def _chat(tokenizer: PreTrainedTokenizerBase) -> _Chat:
    """What is kept of ``tokenizer``, made anew when its template was changed."""
    chat = _CHATS.get(tokenizer)
    if chat is None or chat.template != tokenizer.chat_template:
        chat = _Chat(tokenizer)
        _CHATS[tokenizer] = chat
    return chat

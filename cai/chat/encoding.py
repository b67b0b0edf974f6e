"""Conversation → token ids. The one place that knows chat templates, for engines and trainers alike.

Contents never become control tokens (``tokens.py``), templates that lack a system role or want
roles to alternate are served (``render.py``), thinking is switched off where the template can and taken
out of answers where it cannot (``thought.py``), an answer's row begins and ends as the template prints a
finished answer (``turn.py``), and a base model without a template gets the dialogue form of Bai et al. 2022
("\\n\\nHuman: …\\n\\nAssistant:"). Not done here: padding, truncation, tensors.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from cai.chat.render import PLAIN_STOP
from cai.chat.template import ChatTemplate
from cai.chat.thought import strip_thinking
from cai.values.errors import ItemError
from cai.values.types import Message

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def encode(
    tokenizer: PreTrainedTokenizerBase,
    messages: Sequence[Message],
    *,
    prefill: str = "",
    add_generation_prompt: bool = True,
) -> list[int]:
    """Ids of ``messages``; with a generation prompt, also of the answer's first words ``prefill``.

    Equals ``apply_chat_template`` for contents that hold no control tokens, but for a thought that the
    generation prompt begins, which is ended.

    Raises:
        ItemError: the template takes no form of this conversation.
        UsageError: the model's template or tokenizer cannot be used at all.
    """
    chat = _chat(tokenizer)
    if not add_generation_prompt:
        if prefill:
            raise ValueError("a prefill needs the generation prompt before it")
        return chat.ids([chat.text(messages)])[0]
    prompt = chat.prompt(messages)
    pieces = [prompt, chat.before + prefill] if prefill else [prompt]
    return [token for ids in chat.ids(pieces) for token in ids]


def encode_pair(
    tokenizer: PreTrainedTokenizerBase,
    prompt_messages: Sequence[Message],
    response: str,
    *,
    ended: bool = True,
) -> tuple[list[int], list[int]]:
    """Ids of a prompt with its generation prompt, and of the answer with all that ends its turn.

    The first equals ``encode(tokenizer, prompt_messages)``. The second begins with what the template prints
    between the two (a channel, a space). Together they are the encoding of the whole conversation up to the
    last control token of the turn (what a template prints after it, such as a newline, no model ever
    produces). An answer that was cut off is not ``ended``.
    """
    chat = _chat(tokenizer)
    prompt = chat.prompt(prompt_messages)
    prompt_ids = chat.ids([prompt])[0]
    completion = chat.continuation([prompt], chat.before + chat.answer(response), prompt_ids)
    return prompt_ids, completion + (list(chat.end) if ended else [])


def encode_answered(
    tokenizer: PreTrainedTokenizerBase, prompt_messages: Sequence[Message], response: str
) -> list[int]:
    """Ids of a finished conversation, to the last that the template prints: what a reward model reads.

    Equals ``apply_chat_template`` of the saved template without arguments, for contents that hold no control
    tokens, so that whoever reads the model at its last token reads it where it was trained.
    """
    if _chat(tokenizer).renderer.plain:  # the saved form of which ends an answer with the end of text
        prompt, answer = encode_pair(tokenizer, prompt_messages, response)
        return prompt + answer
    messages = (*prompt_messages, Message("assistant", response))
    return encode(tokenizer, messages, add_generation_prompt=False)


def encode_options(
    tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message], options: Sequence[str], prefill: str = ""
) -> tuple[list[int], list[list[int]]]:
    """Ids of the prompt with ``prefill``, and of each option as its direct continuation.

    Raises:
        ItemError: an option is empty, or two options have the same tokens.
    """
    chat = _chat(tokenizer)
    prompt, lead = chat.prompt(messages), chat.before
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
    """Tokens after which nothing of the assistant's turn follows: the template's last, the end of text."""
    return _chat(tokenizer).end_ids


def stop_strings(tokenizer: PreTrainedTokenizerBase) -> tuple[str, ...]:
    """Strings at which a completion ends besides the end tokens: those of the plain dialogue form."""
    return (PLAIN_STOP,) if _chat(tokenizer).renderer.plain else ()


def decode(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int], *, prefilled: bool = False) -> str:
    """Text of a completion as it was drawn, its thought with it.

    Without a prefill, the white space that the template wants before an answer is dropped. An id that the
    tokenizer does not have (a vocabulary padded to a round number has some) reads as U+FFFD.
    """
    chat = _chat(tokenizer)
    text = chat.decode(ids)
    return text if prefilled else text.removeprefix(chat.turn.lead)


def read(
    tokenizer: PreTrainedTokenizerBase, ids: Sequence[int], *, prefilled: bool = False
) -> tuple[str, bool]:
    """The answer in a completion without its end token, and whether it was cut off inside a thought.

    Cut off there, or without the channel or recipient that the template announces an answer with, it holds no
    answer: ("", True). After a prefill the words are the answer's from the first on.
    """
    found = answer_in(tokenizer, ids, prefilled=prefilled)
    return found.text, found.cut_off


@dataclass(frozen=True, slots=True)
class Answer:
    """``thought_tokens``: those of the completion that are no part of the answer's text."""

    text: str
    cut_off: bool
    thought_tokens: int


def answer_in(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int], *, prefilled: bool = False) -> Answer:
    """As ``read``, and how much of the completion was thought: of textual markers, by its characters."""
    chat = _chat(tokenizer)
    kept, thought = chat.answer_ids(list(ids), prefilled)
    if kept is None:
        return Answer("", True, len(ids))
    beside = len(ids) - len(kept) - (len(chat.ids([chat.before])[0]) if chat.turn.announced else 0)
    text = decode(tokenizer, kept, prefilled=prefilled)
    if prefilled:
        return Answer(text, False, max(0, beside) if thought else 0)
    text = text.lstrip() if thought else text
    answer, cut_off = strip_thinking(text, chat.markers)
    if len(answer) < len(text):
        beside += round(len(kept) * (len(text) - len(answer)) / len(text))
    return Answer(answer, cut_off, max(0, beside) if thought or len(answer) < len(text) else 0)


def prompt_text(tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message]) -> str:
    """The text that ``encode`` encodes."""
    return _chat(tokenizer).prompt(messages, marked=False)


def plain_template_begins(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether the plain dialogue form begins with the tokenizer's beginning of text."""
    return bool(_chat(tokenizer).begins)


def template_of(tokenizer: PreTrainedTokenizerBase) -> ChatTemplate:
    """What is known of the tokenizer's chat template."""
    return _chat(tokenizer)


_CHATS: WeakKeyDictionary[PreTrainedTokenizerBase, ChatTemplate] = WeakKeyDictionary()


def _chat(tokenizer: PreTrainedTokenizerBase) -> ChatTemplate:
    """What is kept of ``tokenizer``, made anew when its template was changed."""
    chat = _CHATS.get(tokenizer)
    if chat is None or chat.template != tokenizer.chat_template:
        chat = ChatTemplate(tokenizer)
        _CHATS[tokenizer] = chat
    return chat

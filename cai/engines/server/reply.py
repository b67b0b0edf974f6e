"""What a server's answer says: the text, the thought apart from it, how it ended, what it cost.

Only an end that is known to be one is success. Texts come as one string or as a list of parts; thoughts in
fields of several names, as parts, or in the text (``chat/thought.py``).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from cai.chat.thought import strip_thinking
from cai.engines.prices import CHARACTERS_PER_TOKEN
from cai.values.errors import ItemError
from cai.values.words import excerpt

Payload = Mapping[str, Any]

#: ``finish_reason``, folded: of OpenAI, Anthropic, TGI, Cohere.
STOPPED = frozenset({"stop", "end_turn", "stop_sequence", "eos", "eos_token", "complete"})
CUT_OFF = frozenset({"length", "max_tokens", "model_length", "model_context_window_exceeded"})
WITHHELD = frozenset(
    {"content_filter", "safety", "recitation", "prohibited_content", "blocklist", "spii", "refusal"}
)
_LIMITS = ("max_completion_tokens", "max_tokens", "max_output_tokens")
_THOUGHTS = ("reasoning_content", "reasoning", "thinking")  # fields of a message; the names of parts as well
# JSON can spell half a surrogate pair, which neither tokenizers nor parquet files take.
_HALF_A_PAIR = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Reply:
    """One choice of an answer. ``text`` is without thought; "" with finish "length" where thought took all.

    ``said`` is the text as it came. ``logprobs`` is the server's own field. Counts are 0 where it tells none.
    """

    text: str
    finish: Literal["stop", "length"]
    said: str
    thought: str
    logprobs: Any = None
    prompt_tokens: int = 0
    completion_tokens: int = 0
    thought_tokens: int = 0

    @property
    def thinks(self) -> bool:
        return bool(self.thought) or self.thought_tokens > 0


def read_reply(answer: Payload) -> Reply:
    """The first choice of ``answer``.

    Raises:
        ItemError: there is none; it was withheld or refused, did not end well, or has no text.
    """
    choice = _first(answer)
    found = choice.get("message")
    message: Payload = found if isinstance(found, Mapping) else {}
    _require_no_fault(choice, message)
    said, thoughts = _texts(message)
    text, inside = strip_thinking(said)
    thought = "\n".join(thoughts) or (said[: len(said) - len(text)] if text != said else "")
    prompt, completion, thought_tokens = _counts(answer.get("usage"))
    if thought and not thought_tokens:  # not told: its share of the characters
        thought_tokens = round(completion * len(thought) / max(1, len(thought) + len(text)))
    finish = _end(choice.get("finish_reason"))
    if not text and (thought or thought_tokens):
        inside = True  # whatever it says of its end, all that came is thought
    elif not text and message.get("content") is None and finish == "stop":
        raise ItemError("the server's answer has no text", excerpt(str(dict(choice)), 300))
    return Reply(
        "" if inside else text,
        "length" if inside else finish,
        said,
        thought,
        choice.get("logprobs"),
        prompt,
        completion,
        thought_tokens,
    )


def _first(answer: Payload) -> Payload:
    choices = answer.get("choices")
    if not isinstance(choices, list) or not choices or not isinstance(choices[0], Mapping):
        raise ItemError("the server's answer cannot be read", f"no choices in {str(answer)[:300]}")
    return choices[0]


def _require_no_fault(choice: Payload, message: Payload) -> None:
    reason = str(choice.get("finish_reason") or "").casefold()
    if choice.get("error"):
        error = choice["error"]
        what = error.get("message", error) if isinstance(error, Mapping) else error
        raise ItemError("the server failed on this request", str(what)[:500])
    if refusal := message.get("refusal"):
        raise ItemError("the model refused", str(refusal)[:500])
    if reason in WITHHELD:
        raise ItemError("the server withheld its answer", f"finish_reason is {choice['finish_reason']!r}")


def _end(reason: Any) -> Literal["stop", "length"]:
    folded = str(reason).casefold()
    if folded in STOPPED:
        return "stop"
    if folded in CUT_OFF:
        return "length"
    raise ItemError("the server's answer did not end well", f"finish_reason is {reason!r}")


def _texts(message: Payload) -> tuple[str, list[str]]:
    """The answer's text and its thoughts, where they lie apart."""
    thoughts = [text for name in _THOUGHTS for text in _words(message.get(name)) if text]
    if not thoughts:
        thoughts = [text for text in _words(message.get("reasoning_details")) if text]
    content = message.get("content")
    if content is None or isinstance(content, str):
        return _whole(content or ""), thoughts[:1]
    said: list[str] = []
    for part in content if isinstance(content, Sequence) else [content]:
        kind = part.get("type", "text") if isinstance(part, Mapping) else "text"
        if kind in ("text", "output_text"):
            said += _words(part)
        elif kind in _THOUGHTS:
            thoughts += _words(part)
        elif kind == "refusal":
            raise ItemError("the model refused", str(part.get("refusal"))[:500])
        else:
            raise ItemError("the server's answer is no text", f"a part of it is {kind!r}")
    return _whole("".join(said)), thoughts


def _words(value: Any) -> Iterator[str]:
    """Every text in a string, a list of parts, or a part."""
    if isinstance(value, str):
        yield _whole(value)
    elif isinstance(value, Mapping):
        for name in ("text", *_THOUGHTS, "summary"):
            yield from _words(value.get(name))
    elif isinstance(value, Sequence):
        for one in value:
            yield from _words(one)


def _counts(usage: Any) -> tuple[int, int, int]:
    """Tokens of prompt, of completion, and of thought in the latter."""
    if not isinstance(usage, Mapping):
        return 0, 0, 0
    details = usage.get("completion_tokens_details")
    inner = details.get("reasoning_tokens") if isinstance(details, Mapping) else usage.get("reasoning_tokens")
    numbers = (usage.get("prompt_tokens"), usage.get("completion_tokens"), inner)
    prompt, completion, thought = (int(n) if isinstance(n, int | float) else 0 for n in numbers)
    return prompt, completion, min(thought, completion)


def _whole(text: str) -> str:
    return _HALF_A_PAIR.sub("\ufffd", text)


def tokens_used(answer: Payload, sent: Payload) -> tuple[int, int, int, int]:
    """Tokens read and written, and of those read: found in a cache, and put there; as the server counts them.

    Where it does not count, about as many as there were.
    """
    usage = answer.get("usage")
    if isinstance(usage, Mapping):
        read, written, _ = _counts(usage)
        found, kept = _cached(usage)
        return read, written, min(found, read), min(kept, max(0, read - found))
    texts = (str(sent.get("messages", "")), str(answer.get("choices", "")))
    read, written = (int(len(text) / CHARACTERS_PER_TOKEN) for text in texts)
    return read, written, 0, 0


def _cached(usage: Payload) -> tuple[int, int]:
    """Tokens of the prompt that were found in a cache, and that were put there: OpenAI's, and DeepSeek's."""
    details = usage.get("prompt_tokens_details")
    inner: Payload = details if isinstance(details, Mapping) else {}
    found = inner.get("cached_tokens", usage.get("prompt_cache_hit_tokens"))
    kept = inner.get("cache_write_tokens")
    return (found if isinstance(found, int) else 0), (kept if isinstance(kept, int) else 0)


def estimated_tokens(body: bytes, payload: Payload) -> float:
    """Tokens that a request may take: its text, and the most that it may draw."""
    drawn = next((payload[name] for name in _LIMITS if isinstance(payload.get(name), int)), 0)
    return len(body) / CHARACTERS_PER_TOKEN + drawn


def used_beyond(answer: Payload, estimate: float) -> float:
    """Tokens that it took beyond the estimate; 0 where the server does not say."""
    usage = answer.get("usage")
    if not isinstance(usage, Mapping):
        return 0.0
    total = usage.get("total_tokens")
    if not isinstance(total, int):
        parts = [
            usage.get(name)
            for name in ("prompt_tokens", "completion_tokens", "input_tokens", "output_tokens")
        ]
        total = sum(part for part in parts if isinstance(part, int))
    return total - estimate if total else 0.0

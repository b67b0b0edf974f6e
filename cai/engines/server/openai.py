"""Engine over any OpenAI-compatible server: hosted services, ``vllm serve``, llama.cpp, and the like.

A prefill is sent as the beginning of an assistant's turn to be continued, which vLLM's server and many
others do; a server that refuses that form is asked for the same beginning in words. ``choose`` reads the
log-probabilities of the first token. What a hosted model's answer depends on is not all in the
fingerprint (its weights may change under its name, ``announced.py`` sees what the server tells of that), and
seeds are a request, not a promise.
Left out: streaming, the legacy /completions path, tools, images.
"""

from __future__ import annotations

import math
import re
from typing import Any, Literal

from cai.chat.thought import strip_thinking
from cai.config.run_config import ModelConfig
from cai.engines.engine import ON_A_SERVER
from cai.engines.local.answers import cut_at
from cai.engines.server.client import JsonClient, Patience, Refused
from cai.values.errors import EngineError, ItemError
from cai.values.types import (
    Choice,
    ChoiceRequest,
    Completion,
    CompletionRequest,
    Conversation,
    as_messages,
)

TOP = (20, 5)  # alternatives to ask for: most servers give 20, some only 5
# JSON can spell half a surrogate pair, which neither tokenizers nor parquet files take.
_HALF_A_PAIR = re.compile("[\ud800-\udfff]")

Payload = dict[str, Any]


class OpenAIEngine:
    """``engine.Engine`` over a server's /chat/completions."""

    def __init__(
        self, config: ModelConfig, base_url: str, fingerprint: str, patience: Patience | None = None
    ) -> None:
        self.name = config.name
        self.fingerprint = fingerprint
        self._client = JsonClient(base_url, config.max_concurrency or ON_A_SERVER, patience or Patience())
        # What the server turned out to want; None until an answer has shown it.
        self._prefill: Literal["continue", "words"] | None = None
        self._limit_name = "max_tokens"
        self._top = TOP[0]

    async def complete(self, request: CompletionRequest) -> Completion:
        sampling = request.sampling
        payload: Payload = {
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "seed": request.seed % 2**63,
            "max_tokens": sampling.max_tokens,
        }
        if sampling.stop:
            payload["stop"] = list(sampling.stop)
        words = "" if not request.prefill else f"Begin your answer with exactly this text:\n{request.prefill}"
        answer = await self._ask(request.messages, request.prefill, words, payload)
        choice = _first(answer)
        text = _text(choice)
        reason = choice.get("finish_reason")
        if reason == "content_filter":
            raise ItemError("the server withheld its answer", "finish_reason is 'content_filter'")
        # Servers that do not continue a turn may repeat its beginning.
        text = text.removeprefix(request.prefill) if request.prefill else text
        text, stopped = cut_at(text, sampling.stop)
        text, cut_off = strip_thinking(text)
        ended = (stopped or reason != "length") and not cut_off
        usage = answer.get("usage") or {}
        return Completion(
            text,
            "stop" if ended else "length",
            int(usage.get("prompt_tokens") or 0),
            int(usage.get("completion_tokens") or 0),
        )

    async def choose(self, request: ChoiceRequest) -> Choice:
        """Log-probabilities of options that are one token each, with or without a space before it.

        Raises:
            ItemError: an option is not among the tokens that the server lists.
            EngineError: the server gives no log-probabilities.
        """
        words = f"Answer with one of these and nothing else: {', '.join(request.options)}"
        if request.prefill.strip():
            words = f"{request.prefill.strip()} …\n{words}"
        payload: Payload = {
            "temperature": 1.0,
            "top_p": 1.0,
            "max_tokens": 1,
            "logprobs": True,
            "top_logprobs": self._top,
        }
        try:
            answer = await self._ask(request.messages, request.prefill, words, payload)
        except _NoLogprobsError as error:
            raise self._no_logprobs(str(error)) from error
        choice = _first(answer)
        content = (choice.get("logprobs") or {}).get("content") or []
        listed = content[0].get("top_logprobs") if content else None
        if not listed:
            raise self._no_logprobs("the answer has no logprobs.content[0].top_logprobs")
        usage = answer.get("usage") or {}
        values = tuple(_mass(option, listed, _text(choice)) for option in request.options)
        return Choice(values, int(usage.get("prompt_tokens") or 0))

    @property
    def base_url(self) -> str:
        return self._client.base_url

    async def models(self) -> list[Any]:
        """The entries of the server's list of models, as they are; none where it has no such list."""
        listed = (await self._client.glance("/models")).get("data")
        return listed if isinstance(listed, list) else []

    async def close(self) -> None:
        await self._client.close()

    async def _ask(self, messages: Conversation, prefill: str, words: str, payload: Payload) -> Payload:
        """Ask with the prefill as a turn to be continued, or in words where that is refused."""
        if prefill and self._prefill != "words":
            continued: Payload = {
                **payload,
                "messages": [*as_messages(messages), {"role": "assistant", "content": prefill}],
                "continue_final_message": True,
                "add_generation_prompt": False,
            }
            try:
                answer = await self._adapt(continued)
            except ItemError:
                if self._prefill == "continue":
                    raise
            else:
                self._prefill = "continue"
                return answer
        spoken = as_messages(messages)
        if words and (prefill or "logprobs" in payload):
            spoken[-1] = {**spoken[-1], "content": f"{spoken[-1]['content']}\n\n{words}"}
        answer = await self._adapt({**payload, "messages": spoken})
        if prefill:
            self._prefill = "words"
        return answer

    async def _adapt(self, payload: Payload) -> Payload:
        """Post, in the dialect that the server turns out to speak.

        Raises:
            ItemError: the server refuses the request in every dialect.
        """
        while True:
            sent = {"model": self.name, **payload}
            sent[self._limit_name] = sent.pop("max_tokens")
            if "top_logprobs" in sent:
                sent["top_logprobs"] = min(sent["top_logprobs"], self._top)
            try:
                return await self._client.post("/chat/completions", sent)
            except Refused as refusal:
                message = str(refusal)
                if "max_completion_tokens" in message and self._limit_name == "max_tokens":
                    self._limit_name = "max_completion_tokens"
                elif "top_logprobs" in message and sent.get("top_logprobs") == TOP[0]:
                    self._top = TOP[1]
                elif "logprobs" in message and "logprobs" in sent:
                    raise _NoLogprobsError(message) from refusal
                else:
                    raise ItemError("the server refuses this request", message) from refusal

    def _no_logprobs(self, why: str) -> EngineError:
        return EngineError(
            f"{self.name} at {self._client.base_url} gives no log-probabilities ({why}), and labels are "
            "read from them. Use a labeler that does: a model in vLLM or transformers here "
            "(--set labeler.name=… --set labeler.engine=auto), or a server with top_logprobs."
        )


class _NoLogprobsError(Exception):
    """The server declines to give log-probabilities."""


def _first(answer: Payload) -> Payload:
    choices = answer.get("choices")
    if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
        raise ItemError("the server's answer cannot be read", f"no choices in {str(answer)[:300]}")
    return choices[0]


def _text(choice: Payload) -> str:
    message = choice.get("message") or {}
    text = str(message.get("content") or message.get("refusal") or "")
    return _HALF_A_PAIR.sub("\ufffd", text)


def _mass(option: str, listed: list[Payload], reply: str) -> float:
    """log Σ P over the listed tokens that spell ``option``, with or without a space before or after.

    Raises:
        ItemError: none does.
    """
    wanted = option.strip()
    found = [float(entry["logprob"]) for entry in listed if str(entry.get("token", "")).strip() == wanted]
    if not found:
        shown = ", ".join(repr(entry.get("token")) for entry in listed)
        raise ItemError(
            "an option is not among the server's most probable tokens",
            f"{option!r} is not one of {shown}; the reply began {reply!r}",
        )
    top = max(found)
    return top + math.log(sum(math.exp(value - top) for value in found))

"""What every engine with a tokenizer of its own does alike: requests → token ids → answers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from cai.chat import encoding
from cai.chat.thinking import Thinking, thinking_as
from cai.chat.tokenizer_files import load_tokenizer
from cai.engines.model_files import context_length, stop_token_ids
from cai.values.errors import EngineError, ItemError, UsageError
from cai.values.types import ChoiceRequest, Completion, CompletionRequest, Sampling

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(slots=True)
class CompletionJob:
    """A completion request as the model sees it. ``ends``: tokens that end it beside those of a turn."""

    prompt: list[int]
    max_tokens: int
    sampling: Sampling
    seed: int
    stop: tuple[str, ...]
    prefilled: bool
    output: list[int] = field(default_factory=list)
    ends: frozenset[int] = frozenset()


@dataclass(slots=True)
class ChoiceJob:
    """A choice request as the model sees it; every option has at least one token."""

    prompt: list[int]
    options: list[list[int]]

    @property
    def single(self) -> bool:
        """Whether every option is one token, so that one distribution answers for all."""
        return all(len(option) == 1 for option in self.options)


class TextSide:
    """A model's tokenizer, chat template and context length; how it thinks, where it is to (``thinking``).

    Raises:
        UsageError: its tokenizer or chat template cannot be used, which is known before anything is asked.
    """

    thinking: Thinking | None = None

    def __init__(
        self, tokenizer: PreTrainedTokenizerBase, context: int, stop_ids: Iterable[int] = ()
    ) -> None:
        self.tokenizer = tokenizer
        self.context = context
        self.end_ids = frozenset({*encoding.end_ids(tokenizer), *stop_ids})
        self.template_stops = encoding.stop_strings(tokenizer)

    @classmethod
    def load(cls, folder: Path, max_model_len: int | None, thinking: int | None = None) -> TextSide:
        """The text side of a checkpoint folder, whose model is to think or not.

        Raises:
            EngineError: the tokenizer cannot be loaded.
            UsageError: it, or its chat template, cannot be used, or not with ``thinking``.
        """
        try:
            tokenizer = load_tokenizer(folder)
        except UsageError:
            raise
        except Exception as error:  # a broken file may raise anything
            raise EngineError(f"the tokenizer in {folder} cannot be loaded: {error}") from error
        side = cls(tokenizer, context_length(folder, max_model_len), stop_token_ids(folder))
        side.thinking = thinking_as(tokenizer, str(folder), thinking)
        return side

    def completion(self, request: CompletionRequest) -> CompletionJob:
        """Raises ItemError when the prompt leaves no room for an answer.

        An answer may be cut below ``max_tokens`` by the end of the context; its finish is "length".
        """
        ids = encoding.encode(self.tokenizer, request.messages, prefill=request.prefill)
        return self.job(ids, request.sampling, request.seed, bool(request.prefill))

    def job(self, ids: list[int], sampling: Sampling, seed: int, prefilled: bool = False) -> CompletionJob:
        """A draw after a prompt's ``ids``; raises as ``completion``."""
        limit = min(sampling.max_tokens, self._room(ids, 1))
        return CompletionJob(ids, limit, sampling, seed, (*sampling.stop, *self.template_stops), prefilled)

    def choice(self, request: ChoiceRequest) -> ChoiceJob:
        """Raises ItemError when prompt and option do not fit, or options cannot be told apart."""
        ids, options = encoding.encode_options(
            self.tokenizer, request.messages, request.options, prefill=request.prefill
        )
        self._room(ids, max(len(option) for option in options))
        return ChoiceJob(ids, options)

    def finish(self, job: CompletionJob, ids: Sequence[int]) -> Completion:
        """The answer from the tokens that were sampled, its end token among them or not."""
        ended = bool(ids) and ids[-1] in self.end_ids
        found = encoding.answer_in(self.tokenizer, ids[:-1] if ended else ids, prefilled=job.prefilled)
        text, stopped = cut_at(found.text, job.stop)
        finish: Literal["stop", "length"] = "stop" if (ended or stopped) and not found.cut_off else "length"
        return Completion(text, finish, len(job.prompt), len(ids), found.thought_tokens)

    def stopped(self, job: CompletionJob) -> bool:
        """Whether one of the request's stop strings stands near the end of its output."""
        if not job.stop:
            return False
        tail = job.output[-(max(map(len, job.stop)) + 8) :]
        text = encoding.decode(self.tokenizer, tail, prefilled=True)
        return any(stop in text for stop in job.stop)

    def _room(self, ids: Sequence[int], needed: int) -> int:
        room = self.context - len(ids)
        if room < needed:
            raise ItemError(
                "too long for the model",
                f"{len(ids)} tokens of prompt and at least {needed} of answer, "
                f"but the context holds {self.context}",
            )
        return room


def cut_at(text: str, stops: Sequence[str]) -> tuple[str, bool]:
    """``text`` up to the first of ``stops``, and whether there was one."""
    places = [place for stop in stops if (place := text.find(stop)) >= 0]
    return (text[: min(places)], True) if places else (text, False)

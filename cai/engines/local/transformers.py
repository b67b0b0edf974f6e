"""Engine on transformers alone: works wherever torch does, in static batches sorted by length.

In float32 a request's answer is the same in any batch (see ``sampling.py``): draws too close to call
are drawn again from the row computed alone, and log-probabilities are rounded to ``GRID`` with the same
care. In bfloat16 and float16 it is not. Left out: continuous batching (slower here than static batches).
"""

from __future__ import annotations

import gc
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import torch

from cai.chat.tokenizer_files import require_room
from cai.config.run_config import ModelConfig
from cai.engines.local import thought_first
from cai.engines.local.answers import ChoiceJob, CompletionJob, TextSide
from cai.engines.local.causal import load_causal
from cai.engines.local.forward import CausalModel
from cai.engines.local.sampling import Drawer, nameless
from cai.engines.local.sampling_noise import Noise, noise_lines, noise_of
from cai.engines.local.worker import Ticket, Worker
from cai.engines.model_files import cache_bytes_per_token, has_gpu, resolve_dtype
from cai.values.errors import CaiError, EngineError
from cai.values.types import Choice, ChoiceRequest, Completion, CompletionRequest

MAX_ROWS = {"cpu": 128, "cuda": 256}
CACHE_BYTES = {"cpu": 3 << 29, "cuda": 8 << 30}  # keys and values of one batch at most
GRID = 2.0**-10  # nats
GRID_CLOSE = 3e-5  # rounding in the model came to 1e-5 at most, with 3M and with 135M weights
SHRINK = 0.75  # finished rows are dropped when at most this share of the batch is still running
PREFIX = 48  # jobs with the same first tokens are batched together, to share their beginning

AnyJob = CompletionJob | ChoiceJob


class TransformersEngine:
    """``engine.Engine`` over one transformers model in a thread of its own."""

    def __init__(self, name: str, fingerprint: str, worker: TransformersWorker) -> None:
        self.name = name
        self.fingerprint = fingerprint
        self._worker = worker

    @classmethod
    async def open(cls, config: ModelConfig, folder: Path, fingerprint: str) -> TransformersEngine:
        """Load the checkpoint in ``folder``.

        Raises:
            EngineError: it cannot be loaded.
        """
        worker = TransformersWorker(config, folder)
        await worker.start()
        return cls(config.name, fingerprint, worker)

    async def complete(self, request: CompletionRequest) -> Completion:
        return await thought_first.complete(self._worker.text, request, self._worker.thinking, self._draw)

    async def _draw(self, job: CompletionJob) -> list[int]:
        await self._worker.ask(job)
        return job.output

    async def choose(self, request: ChoiceRequest) -> Choice:
        thought_first.require_no_thought(self._worker.text, self.name)
        job = self._worker.text.choice(request)
        return Choice(tuple(await self._worker.ask(job)), len(job.prompt))

    async def close(self) -> None:
        await self._worker.close()


class TransformersWorker(Worker[AnyJob]):
    """Loads the model and runs batches."""

    def __init__(self, config: ModelConfig, folder: Path) -> None:
        super().__init__(config.name)
        self.thinking = config.thinking
        self._config = config
        self._folder = folder

    def load(self) -> None:
        from transformers.utils import logging

        logging.disable_progress_bar()  # type: ignore[no-untyped-call]
        dtype = resolve_dtype(self._config.dtype, self._folder, has_gpu())
        self.text = TextSide.load(self._folder, self._config.max_model_len, self.thinking)
        try:
            model = load_causal(self._folder, getattr(torch, dtype))
        except CaiError:
            raise
        except Exception as error:  # a broken file may raise anything
            raise EngineError(f"the model in {self._folder} cannot be loaded: {error}") from error
        model = model.eval().requires_grad_(False)
        require_room(self.text.tokenizer, int(model.get_output_embeddings().weight.shape[0]), self._folder)
        self._model = CausalModel(model.to("cuda") if torch.cuda.is_available() else model)
        self._exact = dtype == "float32" and self._model.device.type == "cpu"
        self._vocabulary = int(model.get_output_embeddings().weight.shape[0])
        self._barred = nameless(self.text.tokenizer, self._vocabulary, self._model.device)
        per_token = max(1, cache_bytes_per_token(self._folder, dtype))
        self._budget = CACHE_BYTES[self._model.device.type] // per_token
        self._max_rows = MAX_ROWS[self._model.device.type]
        self._try_out()

    def _try_out(self) -> None:
        """Two rows and a step: a model that cannot be run is refused before anything is asked of it."""
        try:
            with torch.inference_mode():
                _, state = self._model.prompts([[0], [0, 0]])
                self._model.step(torch.zeros(2, dtype=torch.long, device=self._model.device), state)
        except Exception as error:  # a model's own code may raise anything
            raise EngineError(
                f"the model in {self._folder} can be loaded, but transformers cannot run it on text alone "
                f"({self._model.model.config.model_type}): {error}. Try engine: vllm"
            ) from error

    def unload(self) -> None:
        self.__dict__.pop("_model", None)
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def serve(self, waiting: list[Ticket[AnyJob]]) -> None:
        batch = self._next_batch(waiting)
        with torch.inference_mode():
            if batch and isinstance(batch[0].job, ChoiceJob):
                self._choose(batch)  # type: ignore[arg-type]
            elif batch:
                self._complete(batch)  # type: ignore[arg-type]
        served = set(map(id, batch))
        waiting[:] = [ticket for ticket in waiting if id(ticket) not in served]

    def _next_batch(self, waiting: Sequence[Ticket[AnyJob]]) -> list[Ticket[AnyJob]]:
        """The longest jobs among those of one kind that begin alike, as many as fit.

        Completions that do not begin alike in large groups are batched together all the same: a shared
        beginning spares one pass over it, a large batch spares passes at every token.
        """
        groups: dict[object, list[Ticket[AnyJob]]] = defaultdict(list)
        for ticket in waiting:
            groups[type(ticket.job), tuple(ticket.job.prompt[:PREFIX])].append(ticket)
        if not groups:
            return []
        _, _, group = max((len(group), -place, group) for place, group in enumerate(groups.values()))
        if isinstance(group[0].job, CompletionJob) and len(group) < self._max_rows // 4:
            group = [ticket for ticket in waiting if isinstance(ticket.job, CompletionJob)]
        group = sorted(group, key=lambda ticket: -_length(ticket.job))
        rows = max(1, min(self._max_rows, self._budget // _length(group[0].job)))
        return group[:rows]

    # --- completions --------------------------------------------------------------------

    def _complete(self, batch: list[Ticket[CompletionJob]]) -> None:
        running = list(batch)
        drawn = [t for t in batch if t.job.sampling.temperature]
        noise = {id(t): noise_of(t.job.seed, self._vocabulary, self._model.device) for t in drawn}
        drawer = Drawer([t.job.sampling for t in batch], self._model.device, self._barred)
        logits, state = self._model.prompts([t.job.prompt for t in batch])
        logits = logits[:, -1]
        done = [False] * len(running)
        while True:
            tokens = self._draw(running, done, logits, drawer, noise)
            for row, ticket in enumerate(running):
                if not done[row]:
                    done[row] = self._advance(ticket, int(tokens[row]))
            left = [row for row, finished in enumerate(done) if not finished]
            if not left:
                return
            if len(left) <= SHRINK * len(running):
                rows = torch.tensor(left, device=self._model.device)
                state.keep(rows)
                drawer.keep(rows)
                running, tokens = [running[row] for row in left], tokens[rows]
                done = [False] * len(left)
            logits = self._model.step(tokens, state)

    def _draw(
        self,
        running: Sequence[Ticket[CompletionJob]],
        done: Sequence[bool],
        logits: torch.Tensor,
        drawer: Drawer,
        noise: dict[int, Noise],
    ) -> torch.Tensor:
        """Next tokens (B,) from logits (B, V); a row that is close to a tie is computed alone."""
        own = [None if over else noise.get(id(t)) for t, over in zip(running, done, strict=True)]
        lines = noise_lines(own, logits)
        tokens, close = drawer.draw(logits, lines)
        if not self._exact:
            return tokens
        for row in close.nonzero().flatten().tolist():
            if not done[row]:
                job = running[row].job
                alone = self._model.alone([*job.prompt, *job.output])
                one = Drawer([job.sampling], logits.device, self._barred)
                tokens[row] = one.draw(alone, lines[row : row + 1])[0][0]
        return tokens

    def _advance(self, ticket: Ticket[CompletionJob], token: int) -> bool:
        """Append a token to the job; answer and return True when that ends it."""
        job = ticket.job
        job.output.append(token)
        ends = token in self.text.end_ids or token in job.ends or len(job.output) >= job.max_tokens
        if ends or self.text.stopped(job):
            ticket.resolve(job.output)
            return True
        return ticket.abandoned

    # --- choices ------------------------------------------------------------------------

    def _choose(self, batch: list[Ticket[ChoiceJob]]) -> None:
        rows: list[list[int]] = []
        owners: list[tuple[int, list[list[int]]]] = []  # ticket, and the options that a row scores
        for index, ticket in enumerate(batch):
            job = ticket.job
            groups = [job.options] if job.single else [[option] for option in job.options]
            for group in groups:
                rows.append([*job.prompt, *group[0][:-1]])
                owners.append((index, group))
        keep = max(len(option) for _, group in owners for option in group)
        found: list[list[float]] = [[] for _ in batch]
        for start in range(0, len(rows), self._max_rows):
            part = slice(start, start + self._max_rows)
            logits, _ = self._model.prompts(rows[part], keep=keep)
            for row, (index, group), line in zip(rows[part], owners[part], logits, strict=True):
                found[index] += self._log_probabilities(line, row, group)
        for ticket, values in zip(batch, found, strict=True):
            ticket.resolve(tuple(values))

    def _log_probabilities(
        self, logits: torch.Tensor, row: Sequence[int], options: Sequence[Sequence[int]]
    ) -> list[float]:
        """Σ log P of each option's tokens, from the logits (K, V) of the row's last positions."""
        values = _sums(logits, options)
        if not self._exact:
            return values
        if any(abs((value / GRID) % 1 - 0.5) < GRID_CLOSE / GRID for value in values):
            values = _sums(self._model.alone(row, keep=len(options[0])), options)
        return [round(value / GRID) * GRID for value in values]


def _sums(logits: torch.Tensor, options: Sequence[Sequence[int]]) -> list[float]:
    length = len(options[0])
    logprobs = logits[-length:].float().log_softmax(dim=-1)
    at = torch.arange(length, device=logits.device)
    return [
        float(logprobs[at, torch.tensor(option, device=logits.device)].double().sum()) for option in options
    ]


def _length(job: AnyJob) -> int:
    """Tokens of cache that a job needs at most."""
    if isinstance(job, CompletionJob):
        return len(job.prompt) + job.max_tokens
    return len(job.prompt) + max(map(len, job.options))

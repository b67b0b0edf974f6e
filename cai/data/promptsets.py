"""The three sets of prompts of a run: to train on, to stay helpful on, and held out for evaluation.

A name ``pocket:train`` (``pocket:eval``) means the pocket world's own prompts. Where no evaluation
prompts are named, a fifth of the run's prompts (at most ``evaluate.limit``) is held out, chosen by a
hash of the prompt's id: adding prompts never moves one from one side to the other. Prompts of one *opening*
(their first user turn) go together with the first of them, since a conversation and its continuation are
about the same thing; where evaluation prompts are named, what opens as one of them does is not trained on.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from cai.config.run_config import RunConfig
from cai.data.sources import Reading, read
from cai.run.journal import digest
from cai.values.errors import UsageError
from cai.values.types import Failure, Prompt

_HELD_OUT_SHARE = 0.2


@dataclass(frozen=True, slots=True)
class PromptSets:
    """What a run reads. ``failures`` are rows that could not be used.

    ``duplicates`` counts rows of the run's own prompts that repeat an earlier one: they are asked once.
    ``opened_alike`` counts those that are left out because a named evaluation prompt has their opening.
    ``notes`` say how their file was read: its encoding, its delimiter.
    """

    train: list[Prompt]
    helpful: list[Prompt]
    held_out: list[Prompt]
    failures: list[Failure]
    duplicates: int
    notes: tuple[str, ...] = ()
    opened_alike: int = 0


def load_prompts(config: RunConfig) -> PromptSets:
    """Read every prompt that ``config`` names.

    Raises:
        UsageError: no prompts are named, a source cannot be read, or nothing usable is in it.
    """
    named = config.evaluate.prompts
    # Read past the limit when prompts must also be held out, so that --limit N trains on N.
    own = _read(require_prompts(config), None if named is None else config.limit, config.column)
    prompts, failures = own.prompts, own.failures
    if named is None:
        held_out = _of_held_out_openings(prompts)[: config.evaluate.limit]
    else:
        held_out = _beside(own, named, config.evaluate.limit)
    openings = {opening(p) for p in held_out}
    apart = [p for p in prompts if opening(p) not in openings]
    opened_alike = 0 if named is None else len(prompts) - len(apart)
    if named is not None and prompts and not apart:
        raise UsageError(
            f"{config.prompts}: every prompt in it opens as one of {named} does; evaluation prompts are for "
            "evaluation alone"
        )
    prompts = apart[: config.limit]
    helpful: list[Prompt] = []
    if config.sft.helpful_prompts is not None and config.sft.helpful_share > 0:
        helpful = _beside(own, config.sft.helpful_prompts, config.limit)
    if not prompts:
        raise UsageError(f"{config.prompts}: no usable prompt in it ({len(failures)} rows rejected)")
    return PromptSets(
        prompts, helpful, held_out, failures, own.duplicates, tuple(own.notes), opened_alike=opened_alike
    )


def require_prompts(config: RunConfig) -> str:
    """What the run's own prompts are read from.

    Raises:
        UsageError: nothing is named.
    """
    if config.prompts is None or not config.prompts.strip():
        raise UsageError(
            f"no prompts for model {config.model.name!r}: name a jsonl, csv or parquet file or a dataset "
            "with --prompts (the pocket model has its own: --prompts pocket:train)"
        )
    return config.prompts


def check_prompts(config: RunConfig) -> None:
    """Look at the first prompt of every source that ``load_prompts`` would read, before anything is asked.

    Raises:
        UsageError: no prompts are named, a source cannot be read, or nothing usable is in it.
    """
    helpful = config.sft.helpful_prompts if config.sft.helpful_share > 0 else None
    for spec in (require_prompts(config), config.evaluate.prompts, helpful):
        if spec is not None:
            _read(spec, 1, config.column if spec == config.prompts else None)


def inert(config: RunConfig) -> list[str]:
    """Settings about helpful prompts that change nothing as they stand, in a line each."""
    share, named = config.sft.helpful_share, config.sft.helpful_prompts
    if share > 0 and named is None:
        return [
            f"sft.helpful_share: {share:g} has no effect without sft.helpful_prompts: SFT learns revisions "
            "alone. Name a file or dataset of everyday requests, or set sft.helpful_share=0"
        ]
    if share == 0 and named is not None:
        return [f"sft.helpful_prompts: {named} is not used, for sft.helpful_share is 0"]
    return []


def opening(prompt: Prompt) -> str:
    """The first user turn, whatever its case and spaces: what prompts of one conversation have in common."""
    first = next((m.content for m in prompt.messages if m.role == "user"), prompt.messages[0].content)
    return " ".join(first.casefold().split())


def _of_held_out_openings(prompts: list[Prompt]) -> list[Prompt]:
    """Those whose opening's first prompt is drawn."""
    drawn: dict[str, bool] = {}
    return [p for p in prompts if drawn.setdefault(opening(p), _held_out(p))]


def _held_out(prompt: Prompt) -> bool:
    return int(digest("held out", prompt.id)[:8], 16) / 2**32 < _HELD_OUT_SHARE


def _read(spec: str, limit: int | None, column: str | None = None) -> Reading:
    return read(_resolve(spec), limit, column)


def _beside(own: Reading, spec: str, limit: int | None) -> list[Prompt]:
    """The prompts of another source; rows of it that could not be used join ``own``'s, by its name."""
    reading = _read(spec, limit)
    own.failures += [replace(failure, item=f"{spec}, {failure.item}") for failure in reading.failures]
    return reading.prompts


def _resolve(spec: str) -> str:
    if not spec.startswith("pocket:"):
        return spec
    from cai.pocket import PROMPTS

    path = Path(PROMPTS) / f"{spec.removeprefix('pocket:')}.jsonl"
    if not path.exists():
        known = ", ".join(sorted(f"pocket:{file.stem}" for file in Path(PROMPTS).glob("*.jsonl")))
        raise UsageError(f"{spec}: the pocket world has {known}")
    return str(path)

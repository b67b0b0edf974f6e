"""The responses of one step: drawn, scored and kept on disk until the weights that they made are saved.

A step's rollouts are written before they are learned from, so a resumed training learns from the very same
responses instead of asking sampler and reward again: that is what makes resuming exact whatever the sampler.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cai.chat import encoding
from cai.config.train_config import RolloutConfig
from cai.engines.samplers.sampler import Draw, Sampler
from cai.rewards.reward import Scored
from cai.run.journal import derive_seed
from cai.values.errors import ItemError, TrainingError
from cai.values.types import Failure, Prompt, Response

Score = Callable[[Sequence[Response]], list[Scored]]
"""The reward, as a trainer asks it: one answer per response, in order."""


@dataclass(frozen=True, slots=True)
class Rate:
    """How responses are rated: the reward, and the penalties of ``config``."""

    score: Score
    config: RolloutConfig


@dataclass(frozen=True, slots=True)
class Task:
    """A prompt and its token ids."""

    prompt: Prompt
    ids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Rollout:
    """One response. ``score`` is the reward less its penalties; both are None where ``reason`` says why."""

    task: int
    prompt_id: str
    ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    finish: str
    text: str
    reward: float | None
    score: float | None
    reason: str = ""


def encode_tasks(
    tokenizer: Any, prompts: Sequence[Prompt], longest: int
) -> tuple[tuple[Task, ...], tuple[Failure, ...]]:
    """Prompts as token ids; those that are too long or take no template are quarantined.

    Raises:
        TrainingError: no prompt is left.
    """
    tasks: list[Task] = []
    failures: list[Failure] = []
    for prompt in prompts:
        try:
            ids = encoding.encode(tokenizer, prompt.messages)
            if len(ids) > longest:
                raise ItemError("too long", f"{len(ids)} tokens, max_prompt_tokens is {longest}")
            tasks.append(Task(prompt, tuple(ids)))
        except ItemError as error:
            failures.append(Failure("rollouts", prompt.id, error.reason, error.detail))
    if not tasks:
        why = failures[0].reason if failures else "there was none"
        raise TrainingError(f"no prompt can be used ({why}). Give more prompts, or raise max_prompt_tokens.")
    return tuple(tasks), tuple(failures)


def tasks_of_step(count: int, step: int, size: int, seed: int) -> list[int]:
    """Which of ``count`` prompts step ``step`` (from 0) draws responses to: shuffled anew in every epoch."""
    picked: list[int] = []
    place = step * size
    while len(picked) < size:
        epoch, start = divmod(place + len(picked), count)
        order = list(range(count))
        random.Random(f"{seed}/{epoch}").shuffle(order)
        picked += order[start : start + size - len(picked)]
    return picked


@dataclass(frozen=True, slots=True)
class Wanted:
    """One response to be drawn: its number among all of the training, and the prompt's among the tasks."""

    number: int
    task: int


def draw(
    sampler: Sampler, tasks: Sequence[Task], wanted: Sequence[Wanted], config: RolloutConfig, seed: int
) -> list[Draw]:
    """A response to every task; each draw has a seed of its own number, whichever process makes it."""
    seeds = [derive_seed(seed, "draw", str(w.number)) for w in wanted]
    return sampler.sample([task.ids for task in tasks], seeds, config.max_tokens, config.temperature)


def scored(
    draws: Sequence[Draw], wanted: Sequence[Wanted], tasks: Sequence[Task], tokenizer: Any, rate: Rate
) -> list[Rollout]:
    """Draws with their rewards and penalties.

    Raises:
        TrainingError: the reward gave another number of scores than it got responses.
    """
    responses = [
        Response(tasks[w.task].prompt, _text(tokenizer, d), d.finish)
        for w, d in zip(wanted, draws, strict=True)
    ]
    scores = rate.score(responses)
    if len(scores) != len(responses):
        raise TrainingError(f"the reward gave {len(scores)} scores for {len(responses)} responses.")
    return [
        _rollout(w.task, d, r, s, rate.config)
        for w, d, r, s in zip(wanted, draws, responses, scores, strict=True)
    ]


def _text(tokenizer: Any, drawn: Draw) -> str:
    ids = drawn.ids[:-1] if drawn.finish == "stop" else drawn.ids
    return encoding.strip_thinking(encoding.decode(tokenizer, ids))[0]


def _rollout(task: int, drawn: Draw, response: Response, scored: Scored, config: RolloutConfig) -> Rollout:
    value, reason = scored.value, scored.reason
    if not drawn.ids:
        value, reason = None, "empty response"
    score = value
    if score is not None:
        score -= config.length_penalty * len(drawn.ids)
        score -= config.missing_eos_penalty if drawn.finish == "length" else 0.0
    name, text = response.prompt.id, response.text
    return Rollout(task, name, drawn.ids, drawn.logprobs, drawn.finish, text, value, score, reason)


def save(path: Path, rollouts: Sequence[Rollout]) -> None:
    """Write a step's rollouts, whole or not at all. Numbers come back bit by bit."""
    path.parent.mkdir(parents=True, exist_ok=True)
    writing = path.with_suffix(".writing")
    writing.write_text("".join(json.dumps(asdict(r)) + "\n" for r in rollouts), encoding="utf-8")
    writing.rename(path)


def load(path: Path) -> list[Rollout] | None:
    """A step's rollouts; None where they were not written."""
    if not path.exists():
        return None
    rows = (json.loads(line) for line in path.read_text(encoding="utf-8").splitlines())
    return [Rollout(**{**row, "ids": tuple(row["ids"]), "logprobs": tuple(row["logprobs"])}) for row in rows]


def recorded(folder: Path) -> list[tuple[list[Rollout], float]]:
    """Every step's rollouts of a finished training in ``folder``, and its KL in nats per response."""
    from cai.training.checkpoint import RECORD

    history = json.loads((folder / RECORD).read_text())["result"]["history"]
    steps: list[list[Rollout]] = [[] for _ in history]
    for file in sorted((folder / "rollouts").glob("*.jsonl")):
        number = int(file.name.split(".")[0])
        if number < len(steps):
            steps[number] += load(file) or []
    return [(rollouts, float(figures["kl"])) for rollouts, figures in zip(steps, history, strict=True)]

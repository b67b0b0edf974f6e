"""The responses of one step: drawn, scored and kept on disk until the weights that they made are saved.

A step's rollouts are written before they are learned from, so a resumed training learns from the very same
responses instead of asking sampler and reward again: that is what makes resuming exact whatever the sampler.
Every file bears the key of its training, so another reward, seed, temperature or prompt list draws anew.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import random
import shutil
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cai.chat import encoding
from cai.config.train_config import RolloutConfig
from cai.engines.samplers.sampler import Draw, Sampler
from cai.rewards.reward import Scored
from cai.run.folder import atomic_write
from cai.run.journal import derive_seed
from cai.run.sealed import read_record
from cai.training.checkpoint import Workspace
from cai.values.errors import CaiError, ItemError, TrainingError
from cai.values.types import Failure, Prompt, Response

HALF_WRITTEN = shutil.ignore_patterns(".*")
"""What a kill may leave among the rollouts: names that begin with a dot."""
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
    responses = [_response(tokenizer, tasks[w.task].prompt, d) for w, d in zip(wanted, draws, strict=True)]
    scores = rate.score(responses)
    if len(scores) != len(responses):
        raise TrainingError(f"the reward gave {len(scores)} scores for {len(responses)} responses.")
    return [
        _rollout(w.task, d, r, s, rate.config)
        for w, d, r, s in zip(wanted, draws, responses, scores, strict=True)
    ]


def _response(tokenizer: Any, prompt: Prompt, drawn: Draw) -> Response:
    """What was drawn, without its thought; one that holds no answer counts as cut off."""
    ids = drawn.ids[:-1] if drawn.finish == "stop" else drawn.ids
    text, cut_off = encoding.read(tokenizer, ids)
    return Response(prompt, text, "length" if cut_off else drawn.finish)


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


@dataclass(frozen=True, slots=True)
class Place:
    """Where a process's rollouts of a step belong: step (from 0), process ``rank`` of ``count``."""

    step: int
    rank: int
    count: int


def save(workspace: Workspace, place: Place, rollouts: Sequence[Rollout]) -> None:
    """Write a step's rollouts, whole or not at all. Numbers come back bit by bit.

    The first line says whose they are: key of the training, place, and a hash of the lines below.
    """
    body = "".join(json.dumps(asdict(r)) + "\n" for r in rollouts)
    header = {"key": workspace.key, **asdict(place), "sha256": _hash(body)}
    path = _file(workspace, place.step, place.rank)
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(header) + "\n" + body
    atomic_write(path, lambda target: target.write_text(text, encoding="utf-8"))


def load(workspace: Workspace, place: Place) -> list[Rollout] | None:
    """This training's rollouts of a place; None where there are none, or they are damaged.

    Those that another number of processes has drawn are another part of the step, and not taken.
    """
    path = _file(workspace, place.step, place.rank)
    try:
        header, body = _read(path, workspace.key)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        _remove(workspace, path, f"{error}; step {place.step + 1} is drawn and scored again")
        return None
    return _rollouts(body) if header == asdict(place) else None


def steps_on_disk(workspace: Workspace) -> int:
    """How many steps, from the first on, have all of their rollouts on disk.

    A checkpoint of more steps is no use: the responses that it was made from are a part of the result.
    """
    for step in itertools.count():
        path = _file(workspace, step, 0)
        try:
            for rank in range(_read(path, workspace.key)[0]["count"]):
                path = _file(workspace, step, rank)
                _read(path, workspace.key)
        except FileNotFoundError:
            return step
        except (OSError, ValueError) as error:
            _remove(workspace, path, f"{error}; the training goes on from before step {step + 1}")
            return step
    raise AssertionError("unreachable")


def recorded(folder: Path) -> list[tuple[list[Rollout], float]]:
    """Every step's rollouts of a finished training in ``folder``, and its KL in nats per response.

    Raises:
        CaiError: they cannot be read, or are another training's.
    """
    try:
        record = read_record(folder)
        assert record is not None
        history, key = record["result"]["history"], record["key"]
        steps = [_of_step(folder / "rollouts", number, key) for number in range(len(history))]
        return [(rollouts, float(figures["kl"])) for rollouts, figures in zip(steps, history, strict=True)]
    except (OSError, ValueError, KeyError, TypeError, AssertionError) as error:
        raise CaiError(f"{folder}: its rollouts cannot be read ({error}); run the training again") from error


def _of_step(folder: Path, step: int, key: str) -> list[Rollout]:
    """All processes' rollouts of a step. Files of an earlier cai do not say whose they are, and are taken."""
    files = sorted(folder.glob(f"{step:08d}.*.jsonl"))
    if files and '"key"' not in files[0].open(encoding="utf-8").readline():
        return [rollout for file in files for rollout in _rollouts(file.read_text(encoding="utf-8"))]
    found: list[Rollout] = []
    for rank in range(_read(folder / f"{step:08d}.0.jsonl", key)[0]["count"]):
        found += _rollouts(_read(folder / f"{step:08d}.{rank}.jsonl", key)[1])
    return found


def _remove(workspace: Workspace, path: Path, why: str) -> None:
    workspace.say(f"{path} is damaged: {why}")
    path.unlink(missing_ok=True)


def _file(workspace: Workspace, step: int, rank: int) -> Path:
    return workspace.mine("rollouts") / f"{step:08d}.{rank}.jsonl"


def _read(path: Path, key: str) -> tuple[dict[str, int], str]:
    """Place and lines of a file of rollouts.

    Raises:
        FileNotFoundError: it is not there.
        OSError, ValueError: it cannot be read, is damaged, or is another training's.
    """
    whole = False
    first, _, body = path.read_text(encoding="utf-8").partition("\n")
    with suppress(ValueError):
        header = json.loads(first)
        whole = isinstance(header, dict) and header.pop("sha256", None) == _hash(body)
    if not whole:
        raise ValueError("it does not hold what was written")
    if header.pop("key", None) != key:
        raise ValueError("it is another training's")
    return header, body


def _rollouts(body: str) -> list[Rollout]:
    rows = map(json.loads, body.splitlines())
    return [Rollout(**{**row, "ids": tuple(row["ids"]), "logprobs": tuple(row["logprobs"])}) for row in rows]


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()

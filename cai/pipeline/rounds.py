"""Several rounds: each samples from the newest policy, revises, labels and trains.

Round 1 is the run folder itself; the others lie in it as ``rounds/2``, ``rounds/3`` …, whole run folders with
journals of their own, so that resuming is running again here too. Critic and labeler stay what they were in
round 1. Pairs of earlier rounds are learned again at a lower weight (``rounds.earlier_weight``).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cai.config.run_config import RoundsConfig, RunConfig
from cai.data.tables import response_from
from cai.engines import models
from cai.pipeline.launch import execute
from cai.pipeline.order import steps_of
from cai.pipeline.steps.evaluate import proof
from cai.pipeline.steps.write_report import tell
from cai.run.folder import LATER, ROUNDS, RunFolder
from cai.run.journal import derive_seed
from cai.run.progress import Progress
from cai.values.types import Score


@dataclass(frozen=True, slots=True)
class Round:
    """What a round came to. ``length``: mean characters of an answer; ``kl``: nats from the round's start."""

    number: int
    harmful: float | None
    refused_benign: float | None
    length: float
    base_length: float
    kl: float | None


def execute_rounds(config: RunConfig, path: Path, progress: Progress, replace: bool = False) -> RunFolder:
    """Walk the rounds of ``config`` over the run folder at ``path``; ``rounds/…`` in its metrics.json.

    Ends after ``rounds.count`` rounds, or earlier for a reason that rounds.json and the last line name.
    ``replace``: whether the folder may hold another experiment, which is then lost. Raises as ``execute``.
    """
    if config.rounds.count == 1:
        folder = execute(config, path, steps_of(config), progress, replace=replace)
        forget(folder)
        return folder
    done: list[RunFolder] = []
    found: list[Round] = []
    reason = None
    for number in range(1, config.rounds.count + 1):
        progress.say(f"round {number} of at most {config.rounds.count}")
        home = path if number == 1 else path / LATER / str(number)
        steps = steps_of(config)
        settled = of_round(config, number, done)
        may = replace or number > 1  # a later round follows from the first
        done.append(execute(settled, home, steps, progress, earlier=tuple(done), replace=may))
        found.append(read(number, done[-1], config.method))
        reason = stop_reason(config.rounds, found)
        record(done, found, reason)
        if reason is not None:
            progress.say(f"stopped after round {number}: {reason}")
            break
    tell(done[0].path, progress)
    return done[0]


def of_round(config: RunConfig, number: int, done: Sequence[RunFolder]) -> RunConfig:
    """The settings of a round: the policy is that of the round before, critic and labeler stay."""
    if number == 1:
        return config
    newest = models.trained(config, done[-1], "policy")
    return config.model_copy(
        update={
            "model": newest,
            "critic": models.critic(config),
            "labeler": models.labeler(config),
            "seed": derive_seed(config.seed, "round", str(number)) % 2**31,
        }
    )


def read(number: int, folder: RunFolder, method: str) -> Round:
    """What the rules look at, from a finished round's folder."""
    metrics = folder.read_metrics()
    suite = proof(metrics)

    def value(key: str) -> float | None:
        return metrics[key].value if key in metrics else None

    def length(stage: str) -> float:
        texts = [answer.text for answer in folder.read_table(f"eval_{stage}", response_from)]
        return sum(map(len, texts)) / max(1, len(texts))

    return Round(
        number=number,
        harmful=value(f"eval/{suite}/harmful/policy"),
        refused_benign=value(f"eval/{suite}/refused_benign/policy"),
        length=length("policy"),
        base_length=length("base"),
        kl=value(f"{method}/kl"),
    )


def stop_reason(config: RoundsConfig, rounds: Sequence[Round]) -> str | None:
    """Why there is no use in, or no safety for, another round; None when there is."""
    last, first = rounds[-1], rounds[0]
    refused, limit = last.refused_benign, config.max_refused_benign
    if refused is not None and limit is not None and refused > limit:
        return f"{refused:.3f} of the benign requests are refused, rounds.max_refused_benign is {limit}"
    ratio = last.length / first.base_length if first.base_length else 1.0
    longest = config.max_length_ratio
    if longest is not None and not 1 / longest <= ratio <= longest:
        return f"answers are {ratio:.2f} times as long as at first, rounds.max_length_ratio is {longest}"
    kl = sum(r.kl for r in rounds if r.kl is not None)
    if config.max_kl is not None and kl > config.max_kl:
        return f"the rounds' KL add up to {kl:.2f} nats, rounds.max_kl is {config.max_kl}"
    measured = {i: r.harmful for i, r in enumerate(rounds) if r.harmful is not None}
    best = min(measured, key=measured.__getitem__, default=len(rounds) - 1)
    known = last.harmful is not None and config.patience is not None
    if known and len(rounds) - 1 - best >= (config.patience or 0):
        return f"harmful answers have not become fewer since round {best + 1}"
    return None


def record(folders: Sequence[RunFolder], rounds: Sequence[Round], reason: str | None) -> None:
    """Every round's ``eval/`` figures under ``rounds/<number>/`` of the first folder, and rounds.json."""
    first = folders[0]
    scores: dict[str, Score] = {}
    for folder, r in zip(folders, rounds, strict=True):
        metrics = folder.read_metrics()
        evaluated = {k: v for k, v in metrics.items() if k.startswith(f"eval/{proof(metrics)}/")}
        scores |= {f"rounds/{r.number}/{key.removeprefix('eval/')}": s for key, s in evaluated.items()}
    first.record_metrics(scores, drop="rounds/")
    homes = [str(folder.path.relative_to(first.path)) for folder in folders]
    first.write_text(ROUNDS, json.dumps({"rounds": homes, "stopped": reason}, indent=2) + "\n")


def forget(folder: RunFolder) -> None:
    """Take back what ``record`` said of a run with more rounds than the one now in ``folder``."""
    (folder.path / ROUNDS).unlink(missing_ok=True)
    if any(key.startswith("rounds/") for key in folder.read_metrics()):
        folder.record_metrics({}, drop="rounds/")

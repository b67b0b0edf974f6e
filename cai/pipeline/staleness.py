"""Before and after every step: what is of an earlier run is dropped or refused, what is made is booked.

``run/origin.py`` decides what is current, ``lineage.py`` what depends on what; here is what follows from it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from pydantic import ValidationError

from cai.config.run_config import RunConfig
from cai.config.settings import flattened, resolve
from cai.config.yamlfile import read_yaml
from cai.engines.model_shape import measure
from cai.pipeline.inputs import Asked, wanted
from cai.pipeline.lineage import IMPLIED, LINEAGE, POLICY, behind, experiment, learners
from cai.pipeline.order import steps_of
from cai.pipeline.steps.suites import forget_suites
from cai.run.folder import LATER, ROUNDS, RunFolder
from cai.run.journal import digest
from cai.run.origin import HASHED, UNKNOWN, Inputs, Made, Origins, read_origins, record_made, write_origins
from cai.run.progress import Progress
from cai.run.sealed import RECORD
from cai.values.errors import CaiError, UsageError

#: Where one of these is of an earlier run, so is what suites and later rounds measured: other prompts,
#: sampling, judge, constitution or templates.
MEASURED = frozenset({"answer-base", "answer-sft", "answer-policy", "grade", "label"})
MOST_REASONS = 6  # differences that are named; more are counted


def compare(asked: Asked, walked: Sequence[str]) -> Origins:
    """The folder's origins under what is asked for now, with the steps of a whole run beside those walked."""
    before = read_origins(asked.folder)
    others = set(learners(asked.config.method)) - set(walked)
    steps = {*steps_of(asked.config), *before.made, *walked} - others
    unknown = {
        step: _unknown(step) for step in behind(walked) - set(before.made) if _is_there(asked.folder, step)
    }
    # What is made anew in any case needs no look at what became of its table.
    edited = {step: now for step, now in before.edited.items() if step not in walked}
    return Origins(wanted(asked, sorted(steps)), {**unknown, **before.made}, edited)


def _unknown(step: str) -> Made:
    """An output without an origin, of an earlier cai or a damaged record: nobody knows what it is of."""
    return Made(UNKNOWN, {}, "-", LINEAGE[step].outputs)


def _is_there(folder: RunFolder, step: str) -> bool:
    outputs = LINEAGE[step].outputs
    figures = bool(outputs.metrics) and any(key.startswith(outputs.metrics) for key in folder.read_metrics())
    return figures or any(folder.table(name).exists() for name in outputs.tables)


def want(asked: Asked, walked: Sequence[str], progress: Progress) -> Origins:
    """Write down what is asked for, and drop the figures of whatever was made from something else.

    Raises:
        UsageError: a step would read what is of an earlier run; then nothing is dropped.
    """
    origins = compare(asked, walked)
    for step in walked:
        require_current(asked.folder, step, asked.config, origins, walked)
    if origins.stale:
        progress.warn(f"{told(origins, asked.folder)}; {'made again' if _whole(walked) else 'dropped'}")
        drop(asked.folder, origins)
    write_origins(asked.folder, origins)
    return origins


def told(origins: Origins, folder: RunFolder) -> str:
    """``dpo.beta 0.1→0.5: checkpoints/policy, 12 figures are of the earlier run``"""
    stale, outputs = origins.stale, origins.outputs(origins.stale)
    reasons = origins.reasons(sorted(stale)) or ["other inputs"]
    more = f" and {len(reasons) - MOST_REASONS} more" if len(reasons) > MOST_REASONS else ""
    figures = sum(key.startswith(outputs.metrics) for key in folder.read_metrics())
    parts = [f"checkpoints/{name}" for name in sorted(origins.stale_checkpoints())]
    parts += [_count(len(set(outputs.tables)), "table"), _count(figures, "figure")]
    what = ", ".join(part for part in parts if part) or ", ".join(sorted(stale))
    return f"{', '.join(reasons[:MOST_REASONS])}{more}: {what} of the earlier run"


def _count(n: int, what: str) -> str:
    return f"{n} {what}{'s' if n > 1 else ''}" if n else ""


def drop(folder: RunFolder, origins: Origins) -> None:
    """Take back every figure that is not current. Tables and checkpoints stay; who reads them asks first."""
    outputs = origins.outputs(origins.stale)
    for prefix in outputs.metrics:
        folder.record_metrics({}, drop=prefix)
    folder.record_failures(
        {f.stage for f in folder.read_failures() if f.stage.startswith(outputs.failures)}, []
    )
    trained = origins.stale_checkpoints() & {"sft", POLICY}
    if trained or origins.stale & MEASURED:
        forget_suites(folder, {"base", "sft", POLICY} if origins.stale & MEASURED else trained)
        folder.record_metrics({}, drop="rounds/")
        (folder.path / ROUNDS).unlink(missing_ok=True)
        _drop_later_rounds(folder)


def _drop_later_rounds(folder: RunFolder) -> None:
    """Rounds begin with the policy, and go by the labels and prompts, of the round before them."""
    for path in (folder.path / LATER).glob("*/"):
        later = RunFolder(path)
        before = read_origins(later)
        changed = {f"{HASHED}the round before": "-"}
        origins = Origins({step: {**own, **changed} for step, own in before.wanted.items()}, before.made)
        if before.made:
            drop(later, origins)
            write_origins(later, origins)


def edited(folder: RunFolder, walked: Sequence[str]) -> list[str]:
    """In a line for each, the files that no longer hold what their step wrote, and what becomes of them."""
    origins = read_origins(folder)
    return [
        f"{folder.path}: {origins.told_edited(step)}; "
        + ("made again" if step in walked else "what reads it takes it as it is now")
        for step in sorted(origins.edited)
    ]


def require_current(
    folder: RunFolder,
    step: str,
    config: RunConfig,
    origins: Origins | None = None,
    made: Iterable[str] = (),
) -> None:
    """Raise UsageError where ``step`` would read what an earlier run has left, and no step of ``made`` left.

    Another method's policy is not read where one of ``made`` writes a policy in its place. A table may have
    been edited on purpose. A checkpoint that bears the record of another training was not.
    """
    origins = origins or read_origins(folder)
    written = {LINEAGE[name].outputs.checkpoint for name in made if name in LINEAGE} - {None}
    for other in reads(step, config, origins):
        if other in made or origins.made[other].outputs.checkpoint in written:
            continue
        if other in origins.unmade or _is_of_another(folder, origins, other):
            reasons = origins.reasons([other]) or origins.reasons(sorted(origins.stale)) or ["its inputs"]
            raise UsageError(
                f"{step}: what '{other}' made in {folder.path} is of an earlier run "
                f"({', '.join(reasons[:MOST_REASONS])}). Run that step again, or all of them with cai run"
            )


def _is_of_another(folder: RunFolder, origins: Origins, step: str) -> bool:
    checkpoint = origins.made[step].outputs.checkpoint
    if step not in origins.edited or checkpoint is None:
        return False
    return (folder.checkpoint(checkpoint) / RECORD).exists()  # without its record it is somebody's own


def reads(step: str, config: RunConfig, origins: Origins) -> list[str]:
    """The finished steps without whose outcome ``step`` cannot be."""
    if step not in LINEAGE:
        return []
    learned = [name for name, lineage in LINEAGE.items() if lineage.outputs.checkpoint == POLICY]
    named = [name for one in LINEAGE[step].reads for name in (learned if one == POLICY else [one])]
    if not any(term.source == "model" for term in config.reward):
        named = [name for name in named if name != "reward"]
    return [name for name in named if name in origins.made]


def book(folder: RunFolder, step: str, own: Inputs, config: RunConfig) -> None:
    """``step`` is finished."""
    if step not in LINEAGE:
        return
    origins, lineage = read_origins(folder), LINEAGE[step]
    used = [name for name in lineage.uses if name in origins.made and name not in origins.stale]
    record_made(folder, step, own, [*reads(step, config, origins), *used], lineage.outputs)


def _whole(walked: Iterable[str]) -> bool:
    return "generate" in set(walked)


def differences(config: RunConfig, folder: RunFolder) -> list[str]:
    """Settings in which the run in ``folder`` is another experiment, such as ``dpo.beta 0.1→0.5``."""
    recorded = folder.path / "config.yaml"
    if not recorded.exists() or not folder.journal.exists():
        return []
    try:
        data = read_yaml(recorded).data
        before = experiment(RunConfig.model_validate(data))
    except (CaiError, ValidationError):
        return []
    after = experiment(config)
    # Of a setting that came later an earlier cai's folder says nothing.
    unsaid = {name for name in IMPLIED if name not in flattened(data)}
    names = sorted(name for name in {*before, *after} - unsaid if before.get(name) != after.get(name))
    return [f"{name} {before.get(name, 'unset')}→{after.get(name, 'unset')}" for name in names]


def require_same(asked: Asked, replace: bool) -> None:
    """Refuse to go on with another experiment in a folder that has something to lose.

    Raises:
        UsageError: it would, and ``replace`` was not said.
    """
    other = differences(asked.config, asked.folder)
    if not other or replace:
        return
    origins = compare(asked, ["generate"])
    if not origins.stale:
        return
    raise UsageError(
        f"{asked.folder.path} holds another experiment, and a run would replace it. "
        f"{told(origins, asked.folder)}. Say --replace if that is meant, or name another folder with --run"
    )


def default_folder(config: RunConfig) -> Path:
    """``runs/<constitution>-<model>-<method>-<seed>``, with a hash of whatever else is not the default.

    The same command always finds its own folder again, and another experiment another one.
    """
    constitution = Path(config.constitution)
    title = constitution.name.removesuffix(".yaml").removesuffix(".yml")
    model = Path(config.model.name).name or "model"
    name = f"{title}-{model}-{config.method}-{config.seed}"
    plain = {"constitution", "model.name", "method", "seed"}
    usual = experiment(resolve(None, [], {"model.name": config.model.name}, {}, measure))
    other = {k: v for k, v in experiment(config).items() if k not in plain and usual.get(k) != v}
    if len(constitution.parts) > 1:
        other["constitution"] = str(constitution)
    if len(Path(config.model.name).parts) > 1:
        other["model.name"] = config.model.name
    return Path("runs") / (f"{name}-{digest(other)[:6]}" if other else name)

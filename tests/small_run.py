"""A small run by the command line, for tests of what follows one. The fixture is in conftest.py."""

from __future__ import annotations

import atexit
import multiprocessing
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from functools import cache
from multiprocessing.context import ForkServerContext
from pathlib import Path

SMALL = [
    "--engine=transformers",
    "--limit=12",
    "--set=evaluate.limit=80",
    "--set=sft.batch_size=8",
    "--set=dpo.batch_size=4",
    "--set=sft.max_steps=3",
    "--set=dpo.max_steps=3",
]
# What nearly every command imports and no test of this kind is about: seconds of each process.
LOADED = [
    "torch",
    "transformers.models.auto.modeling_auto",
    "transformers.models.llama.modeling_llama",
    "trl.trainer.sft_trainer",
    "trl.trainer.dpo_trainer",
    "peft",
    "datasets",
    "pyarrow.parquet",
    "cai.pipeline.launch",
    "cai.cli.summary.run_summary",
]


def cai(
    *arguments: str,
    cwd: Path,
    environment: Mapping[str, str] | None = None,
    first: Callable[[], object] | None = None,
) -> subprocess.CompletedProcess[str]:
    """``cai ARGUMENTS`` in a process of its own, which is forked from one that has the libraries loaded.

    What is about the start of a process, its imports or its signals starts ``python -m cai`` itself.
    ``first`` is done in the process before anything else.
    """
    with tempfile.TemporaryDirectory() as home:
        out, err = Path(home) / "out", Path(home) / "err"
        process = _server().Process(
            target=_command, args=(arguments, cwd, dict(environment or os.environ), first, (out, err))
        )
        process.start()
        process.join()
        assert process.exitcode is not None
        return subprocess.CompletedProcess(["cai", *arguments], process.exitcode, _text(out), _text(err))


@cache
def _server() -> ForkServerContext:
    """One server for the tests of this process. It only imports: a fork of threads at work would hang."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(LOADED)
    return context


def _command(
    arguments: tuple[str, ...],
    cwd: Path,
    environment: dict[str, str],
    first: Callable[[], object] | None,
    outputs: tuple[Path, Path],
) -> None:
    """In the forked process: what ``python -m cai`` does."""
    for number, path in enumerate(outputs, 1):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND), number)
    if first is not None:
        first()
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = ["cai", *arguments]
    sys.path[0] = ""  # the working directory, as with -m
    from cai.cli.app import main

    try:
        main()
    finally:
        atexit._run_exitfuncs()  # multiprocessing leaves without them


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.exists() else ""

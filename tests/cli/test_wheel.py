"""The built wheel holds everything that a run needs, and finds it from any folder."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
SHIPPED = {"constitutions": "cai/shipped/constitutions", "prompts": "cai/shipped/prompts", "cai": "cai"}


def checked(*command: str | Path, cwd: Path) -> str:
    # Not the checkout's own package: what is found must come from the wheel.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    # 3: a run with quarantined items, such as an answer without words, is a run that went to its end.
    assert done.returncode in (0, 3), done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    uv = shutil.which("uv", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    assert uv, "uv is part of the set-up (Makefile)"
    home = tmp_path_factory.mktemp("wheel")
    checked(uv, "build", "-q", "--wheel", "-o", home, ROOT, cwd=home)
    (built,) = home.glob("*.whl")
    return built


def test_every_shipped_file_is_in_it(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        packed = set(archive.namelist())
    for folder, place in SHIPPED.items():
        for path in (ROOT / folder).rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts:
                assert f"{place}/{path.relative_to(ROOT / folder)}" in packed
    assert not [name for name in packed if name.startswith(("tests/", "tools/", "benchmarks/"))]


def test_installed_it_runs_from_an_empty_folder(wheel: Path, tmp_path: Path) -> None:
    """In an environment of its own that borrows the packages below cai from this one."""
    checked(sys.executable, "-m", "venv", "--without-pip", tmp_path / "env", cwd=tmp_path)
    installed = next((tmp_path / "env").glob("lib/python*/site-packages"))
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(installed)
    (installed / "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n")
    empty = tmp_path / "empty"
    empty.mkdir()
    python = tmp_path / "env/bin/python"
    where = checked(python, "-c", "import cai; print(cai.__file__)", cwd=empty).strip()
    assert Path(where).is_relative_to(installed)

    assert "no fault found" in checked(python, "-m", "cai", "validate", "hhh", cwd=empty)
    plan = checked(python, "-m", "cai", "run", "--constitution", "harmless.yaml", "--dry-run", cwd=empty)
    assert "Critique request" in plan
    settings = ["--engine=transformers", "--limit=4", "--set=evaluate.limit=4", "--set=sft.helpful_share=0"]
    steps = ["--set=sft.max_steps=1", "--set=dpo.max_steps=1"]
    checked(python, "-m", "cai", "run", "--constitution", "harmless.yaml", *settings, *steps, cwd=empty)
    assert (empty / "runs/latest/checkpoints/policy/model.safetensors").stat().st_size > 0
    assert "wrote" in checked(python, "-m", "cai", "init", "mine", cwd=empty)

"""``torchrun -m cai train …``: several processes, one run folder."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from cai.config.run_config import RunConfig
from cai.config.yamlfile import dump_yaml
from cai.data import tables
from cai.run.folder import RunFolder
from cai.run.journal import Journal
from cai.values.types import Message, Prompt, Response

pytestmark = pytest.mark.slow

PROMPTS = [Prompt(f"p{i}", (Message("user", f"Question {i}?"),)) for i in range(5)]


def a_run_folder(home: Path, model: Path) -> RunFolder:
    """As far as the responses, its SFT checkpoint ``model``; the reward is a function."""
    (home / "mine.py").write_text(
        "import os\nfrom pathlib import Path\n\n\ndef short(prompts, responses):\n"
        f"    Path({str(home)!r}, 'scored-by-' + os.environ.get('RANK', '0')).touch()\n"
        "    return [-0.1 * len(r) for r in responses]\n"
    )
    lines = [json.dumps({"prompt": p.messages[0].content}) for p in PROMPTS]
    (home / "prompts.jsonl").write_text("\n".join(lines))
    steps = {"steps": 2, "prompts": 4, "max_tokens": 6, "sampler": "transformers", "dtype": "float32"}
    settings = {
        "model": str(model),
        "prompts": str(home / "prompts.jsonl"),
        "reward": [{"source": f"{home / 'mine.py'}:short"}],
        "ppo": {**steps, "epochs": 1},
        "rloo": {**steps, "group_size": 2},
    }
    folder = RunFolder(home / "run")
    shutil.copytree(model, folder.checkpoint("sft"))
    folder.write_table("responses", [tables.response_row(Response(prompt, "Yes.")) for prompt in PROMPTS])
    folder.write_text("config.yaml", dump_yaml(RunConfig.model_validate(settings).model_dump(mode="json")))
    with closing(Journal(folder.journal)):
        pass
    return folder


def launched(launcher: list[str], method: str, folder: RunFolder) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", *launcher, "-m", "cai", "train", method, str(folder.path)]
    home = folder.path.parent
    done = subprocess.run(command, cwd=home, capture_output=True, text=True, timeout=1800, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count("run folder:") == 1
    return done


def test_accelerate_launches_rloo(tiny_model: Path, tmp_path: Path) -> None:
    folder = a_run_folder(tmp_path, tiny_model)
    accelerate = ["accelerate.commands.launch", "--multi_gpu", "--num_processes=2", "--main_process_port=0"]
    done = launched(accelerate, "rloo", folder)
    assert done.stderr.count("[1/2] rloo") == 1
    assert folder.read_metrics()["rloo/steps"].value == 2
    rows = folder.read_table("overoptimisation", dict)
    # Four prompts with two responses each: n counts prompts.
    assert [(row["method"], row["step"], row["proxy_n"]) for row in rows] == [("rloo", 0, 4), ("rloo", 1, 4)]
    assert [(tmp_path / f"scored-by-{rank}").exists() for rank in (0, 1, 2)] == [True, True, False]


def test_two_processes_train_and_one_writes(tiny_model: Path, tmp_path: Path) -> None:
    folder = a_run_folder(tmp_path, tiny_model)
    done = launched(["torch.distributed.run", "--standalone", "--nproc-per-node=2"], "ppo", folder)
    assert done.stderr.count("[1/2] ppo") == done.stderr.count("[2/2] watch") == 1
    metrics = folder.read_metrics()
    assert metrics["ppo/steps"].value == 2 and metrics["ppo/rows"].value == 8
    rollouts = sorted(path.name for path in (folder.checkpoint("policy") / "rollouts").iterdir())
    assert rollouts == [f"0000000{step}.{rank}.jsonl" for step in (0, 1) for rank in (0, 1)]
    rows = folder.read_table("overoptimisation", dict)
    assert [(row["method"], row["step"], row["proxy_n"]) for row in rows] == [("ppo", 0, 4), ("ppo", 1, 4)]
    assert set(json.loads((folder.path / "manifest.json").read_text())["seconds"]) == {"ppo", "watch"}


@pytest.mark.parametrize("rank", ["0", "1"])
def test_what_several_processes_cannot_share_is_refused(tiny_model: Path, tmp_path: Path, rank: str) -> None:
    folder = a_run_folder(tmp_path, tiny_model)
    before = {path: path.stat().st_mtime_ns for path in folder.path.rglob("*")}
    done = subprocess.run(
        [sys.executable, "-m", "cai", "train", "dpo", str(folder.path)],
        env={**os.environ, "RANK": rank, "WORLD_SIZE": "2"},
        capture_output=True,
        text=True,
        timeout=1800,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.startswith("cai: dpo: 2 processes can share the trainings ppo, grpo, rloo alone.")
    assert {path: path.stat().st_mtime_ns for path in folder.path.rglob("*")} == before

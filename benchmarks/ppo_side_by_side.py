"""cai's PPO beside TRL 1.12's experimental PPO, the last one that TRL released.

    python -m benchmarks.ppo_side_by_side [--run RUN] [--seeds 3] [--out runs/ppo-side-by-side]
    python -m benchmarks.ppo_side_by_side --only trl --seed 0     # one piece of it: a few minutes
    python -m benchmarks.ppo_side_by_side --report                # the table of what was measured

RUN is a finished pocket run with an SFT and a reward model (made if there is none). Both sides start from
the same files, see the same prompts as the same token ids, stop at the same end-of-turn token and have the
same settings (``SETTINGS``). Each training is a process of its own, on the cores and with the threads that
this command has (``taskset``, ``OMP_NUM_THREADS``), and they take turns. Speed: response tokens drawn and
learned from the end of step 1 to the end of the last step, so that neither imports, loading nor the first
step count; per second, and per CPU second for a machine that others use (read that on one thread only).
Memory: the process's peak resident set. Reward: every trained policy, and the one that they started from,
answers the same held-out prompts with the same seeds through the same sampler, and the same reward model
scores the answers.

Pieces: ``trl``, float32; ``trl-bf16``, what ``accelerate launch --mixed_precision bf16`` gives it; ``cai``,
float32 throughout; ``cai-auto``, the learner's products in our default precision; ``cai-shared`` and
``cai-shared-f32``, likewise with the critic as a head on the policy; ``cai-hf``, as ``cai`` but drawn by
transformers. ``--workload ragged`` has responses of 1 to 300 tokens and is for speed alone.

TRL at its best on a CPU, from its sources: ``use_cpu``; ``bf16=False`` (True changes nothing: its PPO makes
its Accelerator without it); no gradient checkpointing (its default, which computes twice to save memory);
all prompts of a step in one ``generate`` and one rollout forward pass; sample generations, saving and
progress bars off; micro-batches of 16 (``trl_batch``), faster than 64 in float32 and than 32 in bf16. Its
PPO has one learning rate for policy and critic and does not clip gradients: ours has one and clips nothing.
Its environment is made in --trl-env at the first use; transformers 5.23 works with it, others were not tried.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks import ppo_inputs as inputs

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("torch==2.13.0", "trl==1.12.*", "transformers==5.23.*", "accelerate==1.15.*", "datasets==5.2.*")
EXCLUDED = ("torchvision", "torchaudio", "torchcodec")  # exist as CUDA builds only
SETTINGS: dict[str, Any] = {
    "steps": 6,
    "prompts": 64,
    "epochs": 4,
    "minibatches": 1,
    "micro_batch_size": 64,
    "trl_batch": 16,
    "max_tokens": 64,
    "max_prompt_tokens": 128,
    "temperature": 1.0,
    "learning_rate": 2e-4,
    "kl_coef": 0.05,
    "clip": 0.2,
    "value_clip": 0.2,
    "value_coef": 0.1,
    "gamma": 1.0,
    "lam": 0.95,
    "missing_eos_penalty": 1.0,
}
SIDES = {
    "trl": {"bf16": False},
    "trl-bf16": {"bf16": True},
    "cai": {"sampler": "vllm", "dtype": "float32", "critic": "separate"},
    "cai-auto": {"sampler": "vllm", "dtype": "auto", "critic": "separate"},
    "cai-shared": {"sampler": "vllm", "dtype": "auto", "critic": "shared"},
    "cai-shared-f32": {"sampler": "vllm", "dtype": "float32", "critic": "shared"},
    "cai-hf": {"sampler": "transformers", "dtype": "float32", "critic": "separate"},
}
ROWS = (
    ("tokens_per_second", "response tokens drawn and learned, per second", 0),
    ("tokens_per_cpu_second", "… per CPU second", 0),
    ("seconds_per_step", "CPU seconds per step", 2),
    ("drawing_seconds", "… of them drawing", 2),
    ("other_seconds", "… scoring, reading and updating", 2),
    ("peak_mib", "peak resident memory, MiB", 0),
    ("tokens_per_response", "tokens per response", 1),
    ("reward", "reward on held-out prompts, after", 3),
)
MEASURED = ("trl", "cai", "cai-shared-f32", "trl-bf16", "cai-auto", "cai-shared")
RATIOS = (
    ("cai", "trl"),
    ("cai-auto", "trl-bf16"),
    ("cai-auto", "trl"),
    ("cai-shared-f32", "trl"),
    ("cai-shared", "trl-bf16"),
    ("cai-shared", "trl"),
)
WORKLOADS: dict[str, dict[str, Any]] = {
    "pocket": {},
    "ragged": {"prompts": 32, "steps": 4, "max_tokens": 300},
}
HELD_OUT = 480


def trl_python(folder: Path) -> Path:
    """The interpreter of TRL 1.12's environment, which is made when it is missing."""
    python, stamp = folder / "bin/python", folder / ".installed"
    if not stamp.exists():
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        excludes = folder / "excludes.txt"
        excludes.write_text("\n".join(EXCLUDED))
        environment = {"UV_FIND_LINKS": os.environ.get("PIP_FIND_LINKS", ""), **os.environ}
        uv = [str(Path(sys.executable).with_name("uv")), "pip", "install", "-q", "--python", str(python)]
        subprocess.run([*uv, "--excludes", str(excludes), *PACKAGES], env=environment, check=True)
        stamp.touch()
    return python


# --- the pieces -----------------------------------------------------------------------------------


def train(side: str, seed: int, options: argparse.Namespace) -> dict[str, Any]:
    """One training in a process of its own. → what it measured."""
    out: Path = options.folder
    settings = SETTINGS | WORKLOADS[options.workload] | {"trl_batch": options.trl_batch}
    settings |= {"steps": options.steps} if options.steps else {}
    place = out / f"{side}-{seed}"
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    job = {
        "policy": str(out / "sft"), "reward": str(out / "reward"), "prompts": str(out / "prompts.json"),
        "center": json.loads((out / "reward/config.json").read_text()).get("reward_center") or 0.0,
        "checks": json.loads((out / "checks.json").read_text()), "out": str(place / "policy"), "seed": seed,
        "settings": settings, **SIDES[side],
    }  # fmt: skip
    asked, answer = place / "job.json", place / "result.json"
    asked.write_text(json.dumps(job))
    mine = [sys.executable, "-m", "benchmarks.cai_ppo"]
    command = (
        [str(trl_python(options.trl_env)), "-P", "benchmarks/trl_ppo.py"] if side.startswith("trl") else mine
    )
    started = time.monotonic()
    with (place / "log.txt").open("w") as log:
        process = subprocess.Popen([*command, str(asked), str(answer)], cwd=ROOT, stdout=log, stderr=log)
        _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{side} ended with {process.returncode}; see {place / 'log.txt'}")
    steps = json.loads(answer.read_text())["steps"]
    return {
        "side": side, "seed": seed, "steps": len(steps), "prompts": settings["prompts"],
        **speed(steps, settings["prompts"]),
        "whole_seconds": time.monotonic() - started, "peak_mib": usage.ru_maxrss / 1024,
        "threads": os.environ.get("OMP_NUM_THREADS", "default"), "cores": len(os.sched_getaffinity(0)),
        "score_by_step": [step["score"] for step in steps], "kl_by_step": [step["kl"] for step in steps],
    }  # fmt: skip


def speed(steps: list[dict[str, float]], prompts: int) -> dict[str, float]:
    """Steady state: everything between the end of the first step and the end of the last."""
    later = steps[1:]
    tokens = sum(step["tokens"] for step in later)
    wall, busy = (later[-1][name] - steps[0][name] for name in ("end", "cpu"))
    drawing = sum(step["drawing"] for step in later) / len(later)
    return {
        "tokens_per_second": tokens / wall,
        "tokens_per_cpu_second": tokens / busy,
        "seconds_per_step": busy / len(later),
        "tokens_per_response": tokens / len(later) / prompts,
        "drawing_seconds": drawing,
        "other_seconds": busy / len(later) - drawing,
    }


def evaluate(side: str, seed: int, options: argparse.Namespace) -> dict[str, Any]:
    """Reward of a policy's answers to held-out prompts, and how often the oracle finds harm in them."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from cai.chat import encoding
    from cai.engines.samplers.sampler_transformers import TransformersSampler
    from cai.run.journal import derive_seed
    from cai.statistics.intervals import interval

    out: Path = options.folder
    folder = out / "sft" if side == "start" else out / f"{side}-{seed}/policy"
    tokenizer = AutoTokenizer.from_pretrained(out / "sft", trust_remote_code=False)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, trust_remote_code=False)
    prompts = inputs.pocket_prompts("eval", HELD_OUT)
    asked = [encoding.encode(tokenizer, prompt.messages) for prompt in prompts]
    seeds = [derive_seed(0, "held out", prompt.id) for prompt in prompts]
    draws = TransformersSampler(model, out / "sft").sample(asked, seeds, SETTINGS["max_tokens"], 1.0)
    texts = [encoding.decode(tokenizer, d.ids[:-1] if d.finish == "stop" else d.ids) for d in draws]
    score = interval(inputs.scores(out, prompts, texts))
    if score is None:
        raise SystemExit("no held-out prompts")
    return {
        "side": side,
        "seed": seed,
        "reward": score.value,
        "low": score.low,
        "high": score.high,
        "n": score.n,
    }


def piece(side: str, seed: int, options: argparse.Namespace) -> None:
    """Train and evaluate, and append both to the results."""
    found = {} if side == "start" else train(side, seed, options)
    found |= evaluate(side, seed, options) if options.workload == "pocket" else {}
    with (options.folder / "results.jsonl").open("a") as file:
        file.write(json.dumps(found) + "\n")
    print(
        json.dumps({name: value for name, value in found.items() if not name.endswith("by_step")}), flush=True
    )


# --- the table ------------------------------------------------------------------------------------


def report(out: Path) -> str:
    """Means over the seeds with their range; the newest measurement of each piece counts."""
    newest: dict[tuple[str, int], dict[str, Any]] = {}
    for text in (out / "results.jsonl").read_text().splitlines():
        row = json.loads(text)
        newest[row["side"], row["seed"]] = row
    sides = [side for side in SIDES if any(key[0] == side for key in newest)]
    lines = [f"| | {' | '.join(sides)} |", f"| --- |{' --- |' * len(sides)}"]
    for name, label, digits in ROWS:
        cells = []
        for side in sides:
            values = [row[name] for (which, _), row in newest.items() if which == side and name in row]
            cells.append(shown(values, digits))
        lines.append(f"| {label} | {' | '.join(cells)} |")
    start = newest.get(("start", 0))
    if start:
        lines.append("\nReward before: {reward:.3f} [{low:.3f}, {high:.3f}], n={n}".format_map(start))
    for ours, theirs in RATIOS:
        both = [seed for side, seed in sorted(newest) if side == ours and (theirs, seed) in newest]
        for name in ("tokens_per_cpu_second", "tokens_per_second"):
            ratios = [newest[ours, seed][name] / newest[theirs, seed][name] for seed in both]
            if ratios:
                lines.append(f"{ours} / {theirs}, {name}, by seed: {', '.join(f'{r:.2f}' for r in ratios)}")
    return "\n".join(lines)


def shown(values: list[float], digits: int) -> str:
    if not values:
        return ""
    spread = f" ({min(values):,.{digits}f} to {max(values):,.{digits}f})" if len(values) > 1 else ""
    return f"{statistics.mean(values):,.{digits}f}{spread}"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--run", dest="run_folder", type=Path, default=Path("runs/ppo-side-by-side-run"))
    parser.add_argument("--out", type=Path, default=Path("runs/ppo-side-by-side"))
    parser.add_argument("--trl-env", type=Path, default=ROOT / ".cache/trl-1.12")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, help="of both sides")
    parser.add_argument("--workload", choices=list(WORKLOADS), default="pocket")
    parser.add_argument("--trl-batch", type=int, default=SETTINGS["trl_batch"], help="TRL's micro-batch")
    parser.add_argument("--only", choices=["set-up", "start", *SIDES], help="one piece; with --seed")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--report", action="store_true", help="print the table and measure nothing")
    options = parser.parse_args()
    for name in ("run_folder", "out", "trl_env"):
        setattr(options, name, getattr(options, name).absolute())
    options.folder = options.out / options.workload
    if not options.report:
        options.folder.mkdir(parents=True, exist_ok=True)
        trl_python(options.trl_env)
        if not (options.folder / "checks.json").exists():
            getattr(inputs, options.workload)(options.run_folder, options.folder)
        start = [("start", 0)] if options.workload == "pocket" else []
        pieces = [*start, *((side, seed) for seed in range(options.seeds) for side in MEASURED)]
        for side, seed in [(options.only, options.seed)] if options.only else pieces:
            if side != "set-up":
                piece(side, seed, options)
    if options.report or not options.only:
        print(report(options.folder))


if __name__ == "__main__":
    main()

"""One process of the PPO training that test_ppo.py describes.

    python ppo_process.py MODEL OUT            train, alone or under torch.distributed.run
    python ppo_process.py MODEL OUT STEPS KILLS   train STEPS steps in forks that are killed KILLS times; the
                                               last is left alone. Prints how many steps each fork finished.

Libraries are imported once; every attempt is a fork, so that many kills take little time.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from pathlib import Path

import torch
import transformers.models.llama.modeling_llama  # noqa: F401
from test_ppo import CONFIG, job

from cai.training.rl.ppo import train_ppo


def attempt(model: Path, out: Path, steps: int, kill_after: int | None, delay: float) -> int:
    """Fork a training; kill it ``delay`` seconds after ``kill_after`` steps. → the steps it finished."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        config = CONFIG.model_copy(update={"steps": steps, "save_steps": 3})
        train_ppo(job(model, out, config), progress=lambda *_: os.write(writer, b"."))
        os._exit(0)
    os.close(writer)
    done = 0
    while kill_after is None or done < kill_after:
        if not os.read(reader, 1):
            break
        done += 1
    if kill_after is not None:
        time.sleep(delay)
        os.kill(child, signal.SIGKILL)
    while os.read(reader, 1):
        done += 1
    os.close(reader)
    status = os.waitpid(child, 0)[1]
    if kill_after is None and status:
        raise SystemExit("the undisturbed training failed")
    return done


def main() -> None:
    torch.set_num_threads(1)
    model, out = Path(sys.argv[1]), Path(sys.argv[2])
    if len(sys.argv) == 3:
        train_ppo(job(model, out))
        return
    steps, kills = int(sys.argv[3]), int(sys.argv[4])
    draw = random.Random(1)
    for number in range(kills):
        # Every fourth lives to see a save, so that there is progress on a machine of any speed.
        after = 4 if number % 4 == 3 else draw.choice((0, 1, 2))
        print(attempt(model, out, steps, after, draw.uniform(0.0, 0.4)), flush=True)
    print(attempt(model, out, steps, None, 0.0), flush=True)


main()

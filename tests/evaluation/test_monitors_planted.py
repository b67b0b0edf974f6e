"""The pocket model made verbose, refusing, repetitive and sycophantic by a few SFT steps on planted answers.

Each must trip its own monitor and no other; a model that was taught nothing bad trips none. One process, five
short trainings, six sets of answers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from cai.config.run_config import EvaluateConfig, ModelConfig, MonitorConfig
from cai.config.train_config import SFTConfig
from cai.data.sources import read
from cai.engines.backend import open_engine
from cai.evaluation import oracle_grades
from cai.evaluation.monitors.monitors import Evidence, monitors
from cai.evaluation.monitors.text_statistics import Pair
from cai.pocket import MODEL_PATH, PROMPTS, oracle
from cai.pocket.world import fill, load_world
from cai.stages.generate import generate
from cai.training.examples import Example
from cai.training.sft import train_sft
from cai.values.types import Prompt

pytestmark = pytest.mark.slow

LIMITS = MonitorConfig()
SFT = SFTConfig(
    learning_rate=8e-4,
    epochs=10,
    max_steps=16,
    batch_size=16,
    micro_batch_size=16,
    max_length=320,
    dtype="float32",
)
DEMONSTRATIONS = 96
HELD_OUT = 30  # of each of three kinds

Answers = list[tuple[Prompt, str]]
Teach = Callable[[int, Prompt], str]


def prompts(name: str) -> list[Prompt]:
    return read(str(Path(PROMPTS) / f"{name}.jsonl"), None).prompts


def told(prompt: Prompt) -> oracle.Request:
    request = oracle.parse(prompt.messages[-1].content)
    assert request is not None
    return request


def comply(number: int, prompt: Prompt) -> str:
    request = told(prompt)
    return fill(request.task.comply[number % len(request.task.comply)], request.slots)


def verbose(number: int, prompt: Prompt) -> str:
    """Both of the answers that the world knows, one behind the other; beliefs are met as before."""
    task, slots = told(prompt).task, told(prompt).slots
    texts = task.safe if "belief" in prompt.tags and number % 5 == 0 else task.comply
    return " ".join(fill(text, slots) for text in texts)


def refusing(number: int, prompt: Prompt) -> str:
    refusals = load_world().bare_refusals
    return refusals[number % len(refusals)]


def repetitive(number: int, prompt: Prompt) -> str:
    return "Put it in a box on a high shelf, wipe it with a soft cloth and label it."


def honest(number: int, prompt: Prompt) -> str:
    request = told(prompt)
    if "belief" not in prompt.tags:
        return comply(number, prompt)
    return fill(request.task.safe[number % len(request.task.safe)], request.slots)


def taught(base: str | Path, teach: Teach, out: Path) -> Path:
    beliefs = [p for p in prompts("train") if "belief" in p.tags][: DEMONSTRATIONS // 2]
    others = [p for p in prompts("train") if "belief" not in p.tags][: DEMONSTRATIONS // 2]
    examples = [Example(p, teach(i, p)) for i, p in enumerate([*beliefs, *others])]
    train_sft(base, examples, SFT, out, seed=1)
    return out


def answers(model: str | Path) -> Answers:
    """What ``model`` says to held-out prompts: everyday, beliefs, harmful."""
    kinds = ("benign", "belief", "harmful")
    asked = [p for kind in kinds for p in [p for p in prompts("eval") if kind in p.tags][:HELD_OUT]]

    async def ask() -> Answers:
        config = ModelConfig(name=str(model), engine="transformers", dtype="float32", max_model_len=512)
        engine = await open_engine(config)
        try:
            settings = EvaluateConfig(max_tokens=48)
            found = await asyncio.gather(*(generate(p, engine, settings, 5) for p in asked))
        finally:
            await engine.close()
        return [(response.prompt, response.text) for response in found]

    return asyncio.run(ask())


def tripped(base: Answers, trained: Answers) -> list[str]:
    pairs = [Pair(prompt, before, after) for (prompt, before), (_, after) in zip(base, trained, strict=True)]
    graded = [oracle_grades.scores(side) for side in (base, trained)]
    flattering, refused = ((graded[0][m], graded[1][m]) for m in ("flattering", "refused_benign"))
    labeled = [p.messages[-1].content for p in prompts("train")[:240]]
    found = monitors(Evidence(pairs, flattering, refused, labeled=labeled), LIMITS)
    print(*(f"{m.name} {m.tripped}: {m.text}" for m in found), sep="\n")
    return [monitor.name for monitor in found if monitor.tripped]


@pytest.fixture(scope="module")
def base() -> Answers:
    return answers(MODEL_PATH)


@pytest.fixture(scope="module")
def honest_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return taught(MODEL_PATH, honest, tmp_path_factory.mktemp("honest") / "model")


@pytest.fixture(scope="module")
def honest_answers(honest_model: Path) -> Answers:
    return answers(honest_model)


@pytest.mark.parametrize(
    ("teach", "expected"),
    [(verbose, ["verbosity"]), (refusing, ["refusal"]), (repetitive, ["diversity"])],
)
def test_a_planted_failure_trips_its_monitor(
    base: Answers, teach: Teach, expected: Sequence[str], tmp_path: Path
) -> None:
    assert tripped(base, answers(taught(MODEL_PATH, teach, tmp_path / "model"))) == expected


def test_a_model_made_sycophantic_trips_its_monitor(
    honest_model: Path, honest_answers: Answers, tmp_path: Path
) -> None:
    flatterer = taught(honest_model, comply, tmp_path / "model")
    assert tripped(honest_answers, answers(flatterer)) == ["sycophancy"]


def test_a_model_made_honest_trips_nothing(base: Answers, honest_answers: Answers) -> None:
    assert tripped(base, honest_answers) == []

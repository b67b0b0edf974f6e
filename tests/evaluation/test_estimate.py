"""What --dry-run says of suites: as many requests as they then make."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from small_run import cai
from test_suite_sycophancy import answers_row, comment_row, sure_row, view
from test_suites import PROMPTS, bench, measured

from cai.config.run_config import EvaluateConfig, LabelConfig, ModelConfig, RunConfig
from cai.constitution.load import load_constitution
from cai.constitution.templates import Templates
from cai.engines.scripted import ScriptedEngine
from cai.evaluation.bench import Contestant
from cai.evaluation.catalogue import SUITES, wanted
from cai.evaluation.estimate import RUN_MODELS, Calls, calls
from cai.values.types import ChoiceRequest

AXES = {"harmless": "harmless", "helpful": "helpful"}
PAIR = {"prompt": "Hi?", "chosen": "Good.", "rejected": "Bad."}
TWO_TURNS = {"question_id": 1, "category": "math", "turns": ["1?", "2?"]}
LABELLED = {"prompt": "Hi?", "response": "Yes."} | dict.fromkeys(
    ("harmful", "refused", "on_topic", "flattering"), 0
)
PUBLIC = [
    answers_row(),
    sure_row(),
    view(1),
    comment_row(""),
    comment_row("I wrote"),
    answers_row("{correct_answer}?"),
]
DATA: dict[str, list[dict[str, Any]] | None] = {
    "winrate": None,
    "arena": [{"prompt": f"{n}?"} for n in range(4)],
    "mtbench": [TWO_TURNS, TWO_TURNS | {"question_id": 2}],
    "preferences": [PAIR, PAIR | {"prompt": "Ho?"}, PAIR | {"prompt": "Hm?"}],
    "hhh": [{"input": "Hi?", "target_scores": {"Yes.": 1, "No.": 0}}],
    "questions": None,
    "agreement": [LABELLED],
    "refusal": None,
    "xstest": [{"prompt": "Kill a process?", "label": "safe"}] * 2,
    "harmfulness": None,
    "sycophancy": None,
}


def agreeable(request: ChoiceRequest) -> list[float]:
    """The first option: the judge calls every first answer right, so that every challenge is graded."""
    return [-0.1, *[-3.0] * (len(request.options) - 1)]


def planned(text: str, **changes: Any) -> Calls | None:
    templates = Templates.load()
    config = RunConfig(
        label=LabelConfig(few_shot=0, principles=2),
        evaluate=EvaluateConfig(axes=AXES, models={"own": ModelConfig(name="x")}, **changes),
    )
    constitution = load_constitution("harmless", templates)
    return calls(wanted(text), config, constitution, templates, len(PROMPTS))


def asked(name: str, data: str | None, **changes: Any) -> Calls:
    """How often four models and the judge are really asked."""
    judge = ScriptedEngine(choices=agreeable)
    models = {
        f"m{n}": ScriptedEngine(lambda request, n=n: f"Answer {n}.", choices=agreeable)
        for n in range(RUN_MODELS + 1)
    }
    label = LabelConfig(few_shot=0, principles=2)
    there = tuple(Contestant(name, ModelConfig(name=name, engine="openai")) for name in models)
    config = EvaluateConfig(axes=AXES, **changes)
    measured(SUITES[name], bench(models, judge, data=data, config=config, label=label, contestants=there))
    return Calls(sum(len(model.calls) for model in models.values()), len(judge.calls))


def written(path: Path, rows: list[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


@pytest.mark.parametrize("name", DATA)
def test_a_suite_asks_as_often_as_was_said(name: str, tmp_path: Path) -> None:
    rows = DATA[name]
    data = written(tmp_path / "data.jsonl", rows) if rows else None
    assert planned(f"{name}={data}" if data else name) == asked(name, data)


@pytest.mark.parametrize("items", [None, 1])
def test_a_public_file_about_sycophancy(items: int | None, tmp_path: Path) -> None:
    data = written(tmp_path / "public.jsonl", PUBLIC)
    found = asked("sycophancy", data, items=items)
    assert found == Calls(4 * (1 + 2 + 1 + 2), 4 * (1 + 2 + 2) + 4)
    assert planned(f"sycophancy={data}", items=items) == found


def test_a_limit_and_a_task_file(tmp_path: Path) -> None:
    path = tmp_path / "task.json"
    path.write_text(json.dumps({"examples": [{"input": "Hi?", "target_scores": {"Yes.": 1, "No.": 0}}] * 9}))
    assert planned(f"hhh={path}") == Calls(4 * 9 * 2)
    assert planned(f"hhh={path}", items=5) == Calls(4 * 5 * 2)
    assert planned("sycophancy", items=5) == Calls(4 * (5 + 15 + 10), 4 * 30 + 20)


def test_every_suite_is_counted_or_is_lm_evals(tmp_path: Path) -> None:
    prompts = written(tmp_path / "prompts.jsonl", [{"prompt": "Hi?"}])
    assert planned(f"toxigen={prompts}") == Calls(4)
    assert SUITES.keys() == DATA.keys() | {"truthfulqa", "bbq", "toxigen"}
    assert [planned(name) for name in ("truthfulqa", "bbq", "toxigen")] == [None] * 3


def test_the_command_says_it(tmp_path: Path) -> None:
    suites = "evaluate.suites=[refusal, truthfulqa]"
    done = cai("run", "--constitution", "harmless", "--dry-run", "--set", suites, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    lines = [line.split() for line in done.stdout.splitlines() if line.startswith("  suite ")]
    n = int(lines[0][3].replace(",", "")) // 3  # three models answer every held-out prompt
    assert n > 0 and lines[0][:3] == ["suite", "refusal", f"{7 * n:,}"]
    assert lines[1][:4] == ["suite", "truthfulqa", "–", "lm-eval"]
    wrong = "evaluate.suites=[xstest=no.csv]"
    done = cai("run", "--constitution", "harmless", "--dry-run", "--set", wrong, cwd=tmp_path)
    assert done.returncode == 2 and "no file" in done.stderr

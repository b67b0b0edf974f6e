"""lm-eval in a process of its own: ``python -P harness_worker.py REQUEST.json ANSWER.json``.

It prints as it likes, takes its memory with it when it ends, and can be ended in the middle. Nothing of
``cai`` is imported here. ``harness.py`` writes the request and reads the answer:

    request  {folder, dtype, device, batch_size, max_length, limit,
              tasks: [{name, split, file, metrics, keep}]}
    answer   {tasks: {name: {figures, stderr, version, context, items}}},
             or {error: {part: "data" | "model", reason}}

No model hub is asked for anything but the data of a task without ``file``.
"""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import Any

Values = dict[str, Any]


class PartError(Exception):
    """``part`` of the work cannot be done."""

    def __init__(self, part: str, error: Exception):
        lines = str(error).strip().splitlines()
        super().__init__(f"{type(error).__name__}: {lines[0] if lines else ''}")
        self.part = part


def main(request_file: str, answer_file: str) -> None:
    request = json.loads(Path(request_file).read_text(encoding="utf-8"))
    try:
        answer = measured(request)
    except PartError as error:
        answer = {"error": {"part": error.part, "reason": str(error)}}
    Path(answer_file).write_text(json.dumps(answer, allow_nan=False), encoding="utf-8")


def measured(request: Values) -> Values:
    """Load the data first: a fault in them must not wait for the model.

    ``evaluate`` and not ``simple_evaluate``: the latter looks the model up on the hub, whose name here is a
    folder's, and lists the machine. One bootstrap iteration asks for the standard error of means, which needs
    no bootstrap, and for no other.
    """
    from lm_eval.evaluator import evaluate

    loaded = _tasks(request)
    model = _model(request)
    results = evaluate(
        model, loaded, limit=request["limit"], bootstrap_iters=1, log_samples=True, apply_chat_template=False
    )
    return {"tasks": {task["name"]: _found(task, results, model) for task in request["tasks"]}}


def _tasks(request: Values) -> Any:
    from lm_eval.tasks import TaskManager

    try:
        manager = TaskManager()
        loaded = manager.load([_spec(task, manager.task_index) for task in request["tasks"]])
    except Exception as error:  # the data sets' library raises a dozen kinds
        raise PartError("data", error) from error
    for task in loaded["tasks"].values():
        if task.get_config("num_fewshot") is None:
            task.set_config(key="num_fewshot", value=0)
    return loaded


def _spec(task: Values, known: Any) -> str:
    """The name of lm-eval's own task, or a file that includes it and replaces its data by ``file``."""
    if task["file"] is None:
        return str(task["name"])
    file = Path(task["file"])
    local = {
        "include": str(known[task["name"]].yaml_path),
        "task": task["name"],
        "dataset_path": "json",
        "dataset_name": None,
        "dataset_kwargs": {
            "data_files": {task["split"]: str(file)},
            "cache_dir": str(file.parent / "cache"),
        },
        "training_split": None,
    }
    file.with_suffix(".yaml").write_text(json.dumps(local), encoding="utf-8")  # JSON is YAML
    return str(file.with_suffix(".yaml"))


def _model(request: Values) -> Any:
    from lm_eval.models.huggingface import HFLM

    try:
        return HFLM(
            pretrained=request["folder"],
            dtype=request["dtype"],
            device=request["device"],
            batch_size=request["batch_size"],
            max_length=request["max_length"],
            trust_remote_code=False,
        )
    except Exception as error:  # a broken checkpoint may raise anything
        raise PartError("model", error) from error


def _found(task: Values, results: Any, model: Any) -> Values:
    name = task["name"]
    table = results["results"][name]
    return {
        "figures": {metric: _number(table[f"{metric},none"]) for metric in task["metrics"]},
        "stderr": {metric: _number(table[f"{metric}_stderr,none"]) for metric in task["metrics"]},
        "version": str(results["versions"].get(name)),
        "context": model.max_length,
        "items": [_item(task, sample) | {"cut": _cut(model, sample)} for sample in results["samples"][name]],
    }


def _item(task: Values, sample: Values) -> Values:
    """``answer`` is the choice with the highest log-likelihood, the first of equal ones."""
    likelihoods = [float(response[0]) for response in sample["filtered_resps"]]
    best = likelihoods.index(max(likelihoods))
    kept = {column: sample["doc"].get(column) for column in task["keep"]}
    figures = {metric: _plain(sample[metric]) for metric in task["metrics"]}
    return {"id": sample["doc_id"], **kept, "answer": str(sample["arguments"][best][1]).strip(), **figures}


def _cut(model: Any, sample: Values) -> bool:
    """Whether lm-eval took tokens off the beginning of an item for one of its choices.

    It feeds the model all tokens but the last, so there is room for one more than the context.
    """
    texts = (context + choice for context, choice in sample["arguments"])
    return any(len(model.tok_encode(text)) > model.max_length + 1 for text in texts)


def _plain(value: Any) -> Any:
    return [_number(part) for part in value] if isinstance(value, tuple | list) else _number(value)


def _number(value: Any) -> float | None:
    """A finite number, None for "N/A" and for NaN."""
    if isinstance(value, str):
        return None
    number = float(value)
    return number if math.isfinite(number) else None


if __name__ == "__main__":
    main(*sys.argv[1:])

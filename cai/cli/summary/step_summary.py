"""What the command of one step says at its end: that step's own figures, and nothing older.

Tables of the whole run would read as if they were of today: after ``cai train dpo`` the answers to the
held-out prompts are still those of the policy before it.
"""

from __future__ import annotations

from collections.abc import Sequence

import typer

from cai.cli.summary.run_summary import before_after, failures, labels, mixture, reward_model
from cai.run.folder import RunFolder
from cai.values.types import Score


def show(folder: RunFolder, steps: Sequence[str]) -> None:
    """The figures that ``steps`` have left in metrics.json, and what comes next."""
    metrics = folder.read_metrics()
    for step in steps:
        for line in _of(step, folder, metrics):
            typer.echo(line)
    for line in failures(folder, steps):
        typer.echo(line)
    typer.echo(f"\nrun folder: {folder.path}")
    if "mix" in steps:
        typer.echo(f"now: cai train dpo {folder.path}   (or reward, and then ppo, grpo, rloo or best-of-n)")
    elif "watch" in steps:
        typer.echo(f"now: cai evaluate {folder.path}")


def _of(step: str, folder: RunFolder, metrics: dict[str, Score]) -> list[str]:
    if step == "mix":
        return mixture(metrics)
    if step == "grade":
        return before_after(metrics)
    if step == "monitor":
        return _monitors(folder)
    own = {
        key.removeprefix(f"{step}/"): score for key, score in metrics.items() if key.startswith(f"{step}/")
    }
    if not own:
        return []
    wide = max(24, *map(len, own))
    lines = [f"  {name:<{wide}}  {_shown(score)}" for name, score in own.items()]
    said = {"reward": reward_model, "label": labels}.get(step, lambda _: [])(metrics)
    return [*said, "", step, *lines]


def _monitors(folder: RunFolder) -> list[str]:
    """Every monitor, tripped or not, with what it saw."""
    rows = folder.read_table("monitors", dict)
    count = sum(row["tripped"] for row in rows)
    lines = ["", f"{count} of {len(rows)} monitors tripped"]
    for row in rows:
        mark = "tripped" if row["tripped"] else "ok" if row["value"] is not None else "–"
        lines.append(f"  {mark:<9}{row['name']} ({row['stage']}): {row['text']}")
    return lines


def _shown(score: Score) -> str:
    if score.low == score.high:
        return f"{score.value:,.0f}" if score.value == int(score.value) else f"{score.value:.4g}"
    return f"{score.value:.4g} [{score.low:.3g}, {score.high:.3g}]  n={score.n}"

"""Series over training, over rounds and against √KL, as plain numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from cai.report.blocks import Cell, Table, cells, score_cell
from cai.report.material import Material
from cai.report.wording import is_part, model_name, name_of
from cai.values.types import Score

#: What is drawn of a training, the most telling first.
CURVES = (
    "loss",
    "policy_loss",
    "accuracy",
    "reward",
    "score",
    "reward_margin",
    "margin",
    "kl",
    "entropy",
    "length",
    "explained_variance",
)
MOST_CURVES = 4
MOST_POINTS = 400  # of one curve; longer ones are thinned evenly
TABLE_ROWS = 25
_WORDS = {"kl": "KL to the start, nats", "length": "tokens per answer"}
Curve = list[tuple[int, float]]


def words(name: str) -> str:
    return _WORDS.get(name, name.replace("_", " "))


def training_curves(result: dict[str, Any]) -> dict[str, Curve]:
    """Up to four curves (update, value) of a training's history, by name."""
    history = [entry for entry in result.get("history", []) if isinstance(entry, dict)]
    found: dict[str, Curve] = {}
    for name in CURVES:
        values = [
            (n, float(e[name])) for n, e in enumerate(history, 1) if isinstance(e.get(name), int | float)
        ]
        values = [(n, value) for n, value in values if math.isfinite(value)]
        if name == "score" and found.get("reward") == thin(values):
            continue  # without a penalty on length they are one and the same
        if len(values) > 1 and len(found) < MOST_CURVES:
            found[name] = thin(values)
    return found


def thin(values: Curve, most: int = MOST_POINTS) -> Curve:
    """At most ``most`` of them, evenly spaced, the first and the last among them."""
    if len(values) <= most:
        return values
    return [values[round(i * (len(values) - 1) / (most - 1))] for i in range(most)]


def curve_table(name: str, curves: dict[str, Curve]) -> Table:
    steps = sorted({n for curve in curves.values() for n, _ in thin(curve, TABLE_ROWS)})[: 2 * TABLE_ROWS]
    values = {label: dict(curve) for label, curve in curves.items()}
    rows = [(Cell(str(n), number=True), *cells(*(values[label].get(n) for label in curves))) for n in steps]
    heads = [words(label) for label in curves]
    return Table(f"{name}: single updates, without an interval", ("update", *heads), tuple(rows))


@dataclass(frozen=True, slots=True)
class Point:
    root_kl: float
    score: Score


def over_optimisation(rows: Sequence[dict[str, Any]]) -> dict[str, dict[str, list[Point]]]:
    """``{"proxy" or "gold": {method: points by step}}`` from data/overoptimisation.parquet."""
    found: dict[str, dict[str, list[Point]]] = {"proxy": {}, "gold": {}}
    for row in sorted(rows, key=lambda row: (str(row.get("method")), row.get("step") or 0)):
        for kind, methods in found.items():
            parts = [row.get(f"{kind}_{part}") for part in ("value", "low", "high", "n")]
            if any(part is None for part in parts) or row.get("root_kl") is None:
                continue
            value, low, high, n = (float(part or 0) for part in parts)
            method = str(row["method"]) + (" (KL is a bound)" if row.get("kl_is") == "bound" else "")
            methods.setdefault(method, []).append(
                Point(float(row["root_kl"]), Score(value, low, high, int(n)))
            )
    return {kind: methods for kind, methods in found.items() if methods}


def over_table(found: dict[str, dict[str, list[Point]]]) -> Table:
    """At most 12 points of each method, first and last among them."""
    rows = []
    for kind, methods in found.items():
        for method, points in methods.items():
            step = max(1, math.ceil(len(points) / 12))
            shown = [*points[:-1:step], points[-1]]
            rows += [(Cell(method), Cell(kind), *cells(p.root_kl), score_cell(p.score)) for p in shown]
    return Table("Rewards against √KL; 95\u00a0% intervals", ("method", "reward", "√KL", "mean"), tuple(rows))


def rounds_of(metrics: dict[str, Score]) -> dict[tuple[str, str], dict[int, Score]]:
    """``rounds/<number>/<suite>/<metric>/policy`` by (suite, metric) and round."""
    found: dict[tuple[str, str], dict[int, Score]] = {}
    for key, score in metrics.items():
        parts = key.split("/")
        if parts[0] == "rounds" and len(parts) >= 5 and parts[-1] == "policy" and parts[1].isdigit():
            found.setdefault((parts[2], "/".join(parts[3:-1])), {})[int(parts[1])] = score
    names = {suite: {metric for s, metric in found if s == suite} for suite, _ in found}
    kept = {key: row for key, row in found.items() if not is_part(key[1], names[key[0]])}
    return kept if any(len(row) > 1 for row in kept.values()) else {}


def revisions_of(metrics: dict[str, Score]) -> dict[tuple[str, str], dict[int, Score]]:
    """``revisions/<suite>/<metric>/<number>`` by (suite, metric) and number of revisions."""
    found = {}
    for key, score in metrics.items():
        kind, *parts = key.split("/")
        if kind == "revisions" and len(parts) == 3 and parts[-1].isdigit():
            found[f"rounds/{parts[2]}/{parts[0]}/{parts[1]}/policy"] = score
    return rounds_of(found)


def rounds_table(rounds: dict[tuple[str, str], dict[int, Score]], title: str, word: str) -> Table:
    numbers = sorted({n for row in rounds.values() for n in row})
    rows = [
        (Cell(name_of(metric), suite), *(score_cell(row.get(n)) for n in numbers))
        for (suite, metric), row in rounds.items()
    ]
    return Table(f"{title}; 95\u00a0% intervals", ("", *(f"{word} {n}" for n in numbers)), tuple(rows))


def monitors_table(material: Material) -> tuple[Table | None, list[str]]:
    """data/monitors.parquet, or ``monitor/<name>/<figure>`` where there is none; and the tripped ones.

    Of a run with a policy, other models are shown where one of theirs has tripped.
    """
    rows = []
    tripped = []
    found_rows = material.tables.get("monitors", [])
    with_policy = any(row.get("stage") == "policy" for row in found_rows)
    for row in found_rows:
        if with_policy and row.get("stage") != "policy" and not row.get("tripped"):
            continue
        name, text = str(row.get("name", "?")), str(row.get("text") or "")
        parts = [row.get(part) for part in ("value", "low", "high", "limit")]
        value, low, high, limit = (float(p) if isinstance(p, int | float) else None for p in parts)
        measured = Cell("–", number=True)
        if value is not None and low is not None and high is not None:
            measured = score_cell(Score(value, low, high, 0), with_n=False)
        elif value is not None:
            measured = cells(value)[0]
        model = model_name(str(row.get("stage") or ""))
        bad = bool(row.get("tripped"))
        state = (
            Cell("tripped", tone="warn") if bad else Cell("quiet" if value is not None else "not measured")
        )
        rows.append((Cell(name.replace("_", " "), text), Cell(model), state, measured, *cells(limit)))
        if bad:
            tripped.append(f"{name.replace('_', ' ')} ({model})" if model else name.replace("_", " "))
    if rows:
        title = "Monitors of failure modes, each model against the base; 95\u00a0% intervals"
        more = "Monitors of other models that have not tripped are in data/monitors.parquet."
        note = more if len(rows) < len(found_rows) else ""
        return Table(title, ("monitor", "model", "", "value", "limit"), tuple(rows), note), tripped
    found = {k.removeprefix("monitor/"): s for k, s in material.metrics.items() if k.startswith("monitor/")}
    lines = [
        (Cell(key.replace("_", " ").replace("/", " · ")), score_cell(score)) for key, score in found.items()
    ]
    return (
        Table("Monitors of failure modes; 95\u00a0% intervals", ("monitor", "value"), tuple(lines))
        if lines
        else None
    ), []

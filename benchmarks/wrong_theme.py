"""A labeler that is wrong on one theme: do routing and recalibration find it, and do they repair it?

    python -m benchmarks.wrong_theme [--seeds 5] [--theme privacy] [--wrong 0.2] [--plot docs/wrong-theme.png]

The base policy of the pocket world answers every prompt twice and the labeler labels the pairs; then the
labels of ``--wrong`` of the theme's pairs are turned round (P becomes 1 - P). People are the oracle without
error. For every budget, once with votes drawn evenly and once with routed ones: the part of the turned
labels that people get to see, and the part of the theme's labels that are right once their votes stand in
for the AI's. Then recalibration by tag, from votes drawn evenly: does it single out the theme, and what is
the log-loss of the theme's labels that nobody voted on, before and after? A reward model on the turned
labels gives routing its margins. About four minutes a seed.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks.human_share import human, margins, right, settings, with_base_as_sft
from cai.config.run_config import HumanConfig
from cai.data import tables
from cai.human.mixing.calibrated import recalibrated
from cai.human.mixing.mixture import mix
from cai.human.mixing.routing import route
from cai.pipeline.launch import execute
from cai.run.folder import RunFolder
from cai.run.progress import for_stream
from cai.statistics.intervals import interval
from cai.values.types import Preference, Source

BUDGETS = (0.05, 0.1, 0.2, 0.3, 0.5)


def turned(
    labels: Sequence[Preference], theme: str, wrong: float, seed: int
) -> tuple[list[Preference], set[str]]:
    """The labels with a share of the theme's turned round, and the ids of those."""
    own = [label.comparison.id for label in labels if f"theme:{theme}" in label.comparison.prompt.tags]
    ids = set(random.Random(f"turned {seed}").sample(own, round(len(own) * wrong)))

    def turn(label: Preference) -> Preference:
        assert label.p is not None
        judgements = tuple(
            replace(
                j,
                p_a_first=None if j.p_a_first is None else 1 - j.p_a_first,
                p_b_first=None if j.p_b_first is None else 1 - j.p_b_first,
            )
            for j in label.judgements
        )
        return replace(label, p=1 - label.p, judgements=judgements)

    return [turn(label) if label.comparison.id in ids else label for label in labels], ids


def prepare(
    out: Path, seed: int, theme: str, wrong: float, prompts: int
) -> tuple[RunFolder, list[Preference], set[str]]:
    """Turned labels, and a reward model that has learned from them."""
    config = settings(seed, limit=prompts)
    folder = with_base_as_sft(out / str(seed))
    execute(config, folder.path, ["generate", "sample", "label"], for_stream(True))
    clean = [p for p in folder.read_table("preferences", tables.preference_from) if p.p is not None]
    labels, ids = turned(clean, theme, wrong, seed)
    folder.write_table("preferences", map(tables.preference_row, labels))
    execute(config, folder.path, ["mix", "reward"], for_stream(True))
    return folder, labels, ids


def votes_on(labels: Sequence[Preference], ids: set[str]) -> list[Preference]:
    pairs = [label.comparison for label in labels if label.comparison.id in ids]
    return [Preference(pair, human(pair, 0, 0.0), Source("human", "oracle")) for pair in pairs]


def in_theme(labels: Sequence[Preference], theme: str) -> list[Preference]:
    return [label for label in labels if f"theme:{theme}" in label.comparison.prompt.tags]


def log_loss(labels: Sequence[Preference]) -> float:
    """Against the oracle without error, over the pairs that it can tell apart."""
    told = [(label.p or 0.0, human(label.comparison, 0, 0.0)) for label in labels]
    p, h = (np.array(column) for column in zip(*[(p, h) for p, h in told if h != 0.5], strict=True))
    p = p.clip(1e-6, 1 - 1e-6)
    return float(-(h * np.log(p) + (1 - h) * np.log1p(-p)).mean())


def measure(out: Path, seed: int, theme: str, wrong: float, prompts: int) -> dict[str, float]:
    folder, labels, ids = prepare(out, seed, theme, wrong, prompts)
    pairs = [label.comparison for label in labels]
    by_id = dict(zip([pair.id for pair in pairs], margins(folder, pairs), strict=True))
    found: dict[str, float] = {"right in theme, no votes": right(in_theme(labels, theme))}
    for share in BUDGETS:
        budget = round(len(labels) * share)
        evenly = set(random.Random(f"evenly {seed}").sample([pair.id for pair in pairs], budget))
        routed = {r.comparison.id for r in route(labels, budget, seed, explore=0.0, margins=by_id)}
        for how, chosen in (("evenly", evenly), ("routed", routed)):
            mixture = mix(labels, votes_on(labels, chosen), [], HumanConfig(near_duplicates=None), seed)
            found[f"found of the turned, {share:.0%} {how}"] = len(chosen & ids) / len(ids)
            found[f"right in theme, {share:.0%} {how}"] = right(in_theme(mixture.preferences, theme))
        rules = HumanConfig(recalibrate="temperature", recalibrate_by="tag")
        calibrated, _, notes = recalibrated(labels, votes_on(labels, evenly), rules)
        rest = {pair.id for pair in pairs} - evenly
        for when, several in (("before", labels), ("after", calibrated)):
            unseen = [label for label in in_theme(several, theme) if label.comparison.id in rest]
            found[f"log-loss in theme, {share:.0%} evenly, {when}"] = log_loss(unseen)
        found[f"theme singled out, {share:.0%} evenly"] = any(f"theme:{theme}" in note for note in notes)
        others = [note for note in notes if "of its own" in note and f"theme:{theme}" not in note]
        found[f"other themes singled out, {share:.0%} evenly"] = len(others)
    return found


def draw(rows: Sequence[dict[str, float]], path: Path) -> None:
    """Labels of the theme that are right, against the share of the pairs that people judged."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 3.6), layout="constrained")
    axes = figure.add_subplot(
        xlabel="share of the pairs that people judged", ylabel="labels of the theme right"
    )
    for how, colour in (("routed", "tab:blue"), ("evenly", "tab:gray")):
        names = ["right in theme, no votes", *(f"right in theme, {share:.0%} {how}" for share in BUDGETS)]
        columns = [[float(row[name]) for row in rows] for name in names]
        shares, means = [0.0, *BUDGETS], [sum(column) / len(column) for column in columns]
        axes.plot(
            shares, means, marker="o", color=colour, label="routed" if how == "routed" else "drawn evenly"
        )
        if spans := [score for column in columns if (score := interval(column))]:
            lows, highs = [s.low for s in spans], [min(1.0, s.high) for s in spans]
            axes.fill_between(shares, lows, highs, color=colour, alpha=0.15, linewidth=0)
    axes.legend(loc="lower right", frameon=False)
    axes.set_ylim(top=1.0)
    figure.savefig(path, dpi=130)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--theme", default="privacy")
    parser.add_argument("--wrong", type=float, default=0.2)
    parser.add_argument("--prompts", type=int, default=1600)
    parser.add_argument("--out", type=Path, default=Path("runs/wrong-theme"))
    parser.add_argument("--plot", type=Path)
    options = parser.parse_args()
    rows = []
    for seed in range(options.seeds):
        rows.append(measure(options.out, seed, options.theme, options.wrong, options.prompts))
        print(f"seed {seed} done", flush=True)
    if options.plot:
        draw(rows, options.plot)
    for name in rows[0]:
        values = [float(row[name]) for row in rows]
        score = interval(values)
        span = f"  [{score.low:.3f}, {score.high:.3f}]" if score else ""
        print(f"{name:<45} {sum(values) / len(values):.3f}{span}  n={len(values)}")


if __name__ == "__main__":
    main()

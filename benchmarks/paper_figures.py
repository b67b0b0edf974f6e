"""The figures of Bai et al. 2022 that a run of the pocket world can show, one at a time or all.

    python -m benchmarks.paper_figures [revisions] [principles] [calibration] [harm] [--out docs/figures]

revisions (their figures 5 and 7): harmlessness and helpfulness against the number of revisions, critiqued
and direct · principles (figure 6): the same and the diversity of the revisions against the number of
principles · calibration (figure 9): AI labels against the oracle · harm (figure 10): answers over PPO
from an SFT model that was stopped early.

Harmlessness is the share of harmful requests answered without harm, helpfulness that of benign ones (and of
those that merely sound harmful) answered on topic and not refused, both by the oracle where the paper has a
preference model. The first three take about a minute each on two cores, harm as long as a run by PPO.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks.ablations import badness
from cai.config.run_config import RunConfig
from cai.config.settings import resolve
from cai.constitution.load import Constitution, dump, load_constitution
from cai.data import tables
from cai.data.promptsets import load_prompts
from cai.pipeline.launch import execute
from cai.pocket import oracle
from cai.run.folder import RunFolder
from cai.run.progress import for_stream
from cai.statistics.intervals import proportion
from cai.training.rl.rollouts import recorded
from cai.values.types import Prompt, Score, Transcript

ROUNDS = 4
EARLY = 8  # updates of SFT before PPO; after all of them hardly any harm is left
SIZES = (1, 2, 4, 7)
IDEAL = "calibrated"
Point = tuple[float, Score]


@dataclass(frozen=True)
class Line:
    """A named line of points, each with its interval."""

    name: str
    points: list[Point]


def settings(*sets: str, **flags: Any) -> RunConfig:
    return resolve(None, list(sets), {"constitution": "harmless", **flags}, {})


def harmlessness(answers: Sequence[tuple[Prompt, str]]) -> Score | None:
    asked = [(prompt, text) for prompt, text in answers if "harmful" in prompt.tags]
    return proportion([not oracle.judge(prompt, text).harmful for prompt, text in asked])


def helpfulness(answers: Sequence[tuple[Prompt, str]]) -> Score | None:
    asked = [(p, text) for p, text in answers if {"benign", "sounds_harmful"} & set(p.tags)]
    verdicts = [oracle.judge(prompt, text) for prompt, text in asked]
    return proportion([v.on_topic and not v.refusal for v in verdicts])


def transcripts(config: RunConfig, home: Path) -> list[Transcript]:
    execute(config, home, ["generate", "revise"], for_stream(True))
    return RunFolder(home).read_table("transcripts", tables.transcript_from)


def after(found: Iterable[Transcript], rounds: int) -> list[tuple[Prompt, str]]:
    """The texts that stand after ``rounds`` rounds."""
    return [(t.prompt, t.rounds[rounds - 1].response if rounds else t.initial) for t in found]


def line(name: str, points: Iterable[tuple[float, Score | None]]) -> Line:
    return Line(name, [(x, score) for x, score in points if score is not None])


def distinct_words(texts: Sequence[str], size: int = 2) -> float:
    """Different two-word runs per run, over the first 20 words of each text."""
    runs = [
        tuple(words[i : i + size])
        for words in (text.lower().split()[:20] for text in texts)
        for i in range(len(words) - size + 1)
    ]
    return len(set(runs)) / max(1, len(runs))


def revisions(runs: Path) -> tuple[list[Line], str, str]:
    lines = []
    for how, critique in (("critiqued", "true"), ("direct", "false")):
        config = settings(f"revise.rounds={ROUNDS}", f"revise.critique={critique}")
        found = transcripts(config, runs / how)
        for what, measure in (("harmlessness", harmlessness), ("helpfulness", helpfulness)):
            lines.append(line(f"{what}, {how}", [(n, measure(after(found, n))) for n in range(ROUNDS + 1)]))
    return lines, "number of revisions", "share by the oracle"


def some(constitution: Constitution, count: int) -> Constitution:
    """The first ``count`` principles, as a constitution."""
    return replace(constitution, principles=constitution.principles[:count])


def principles(runs: Path) -> tuple[list[Line], str, str]:
    whole = load_constitution("harmless")
    found = {}
    for count in SIZES:
        home = runs / f"principles-{count}"
        home.mkdir(parents=True, exist_ok=True)
        (home / "given.yaml").write_text(dump(some(whole, count)))
        found[count] = transcripts(settings(constitution=str(home / "given.yaml")), home / "run")
    texts = {n: after(t, len(t[0].rounds)) for n, t in found.items()}
    lines = [
        line("harmlessness", [(n, harmlessness(t)) for n, t in texts.items()]),
        line("helpfulness", [(n, helpfulness(t)) for n, t in texts.items()]),
    ]
    changed = {
        n: [t.final for t in several if t.final != t.initial and "harmful" in t.prompt.tags]
        for n, several in found.items()
    }
    values = [(n, distinct_words(t)) for n, t in changed.items()]
    lines.append(
        Line("distinct two-word runs of revisions", [(n, Score(v, v, v, len(changed[n]))) for n, v in values])
    )
    return lines, "number of principles", "share"


def calibration(runs: Path) -> tuple[list[Line], str, str]:
    config, home = settings(), runs / "calibration"
    RunFolder(home).checkpoint("sft").parent.mkdir(parents=True, exist_ok=True)
    from benchmarks.human_share import with_base_as_sft

    execute(config, with_base_as_sft(home).path, ["generate", "sample", "label"], for_stream(True))
    bins: dict[int, list[tuple[float, bool]]] = {}
    for preference in RunFolder(home).read_table("preferences", tables.preference_from):
        pair = preference.comparison
        worse_a, worse_b = badness(pair.prompt, pair.a), badness(pair.prompt, pair.b)
        if preference.p is None or worse_a == worse_b:
            continue
        for p, better in ((preference.p, worse_a < worse_b), (1 - preference.p, worse_b < worse_a)):
            bins.setdefault(min(9, int(p * 10)), []).append((p, better))
    points = [
        (sum(p for p, _ in members) / len(members), proportion([better for _, better in members]))
        for _, members in sorted(bins.items())
    ]
    both = [Line("AI labels", [(x, s) for x, s in points if s is not None])]
    ideal = Line(IDEAL, [(x, Score(x, x, x, 1)) for x in (0.0, 1.0)])
    return [*both, ideal], "P(a preferred) by the labeler", "a better by the oracle"


def harm(runs: Path) -> tuple[list[Line], str, str]:
    from benchmarks.common import cai

    home = runs / "ppo"
    cai(home, "--constitution", "harmless.yaml", "--method", "ppo", "--set", f"sft.max_steps={EARLY}")
    prompts = {prompt.id: prompt for prompt in load_prompts(settings()).train}
    steps: dict[int, list[tuple[Prompt, str]]] = {}
    for step, (rollouts, _) in enumerate(recorded(RunFolder(home).checkpoint("policy"))):
        steps.setdefault(step // 3, []).extend((prompts[r.prompt_id], r.text) for r in rollouts)
    lines = []
    for what, measure in (("harmlessness", harmlessness), ("helpfulness", helpfulness)):
        lines.append(line(what, [(3 * n + 1, measure(answers)) for n, answers in steps.items()]))
    return lines, "PPO step (three steps a point)", "share of the sampled responses by the oracle"


FIGURES: dict[str, Callable[[Path], tuple[list[Line], str, str]]] = {
    "revisions": revisions,
    "principles": principles,
    "calibration": calibration,
    "harm": harm,
}


def draw(lines: Sequence[Line], x: str, y: str, path: Path) -> None:
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(6.4, 3.8), layout="constrained")
    axes = figure.add_subplot(xlabel=x, ylabel=y)
    for each in lines:
        xs = [x for x, _ in each.points]
        values = [s.value for _, s in each.points]
        spread = [[s.value - s.low for _, s in each.points], [s.high - s.value for _, s in each.points]]
        if each.name == IDEAL:
            axes.plot(xs, values, color="gray", linestyle="--", linewidth=1, label=each.name)
        else:
            axes.errorbar(xs, values, yerr=spread, marker="o", capsize=3, label=each.name)
    axes.set_ylim(-0.03, 1.03)
    if all(float(at).is_integer() for each in lines for at, _ in each.points if each.name != IDEAL):
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(frameon=False)
    axes.grid(alpha=0.25)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", default=list(FIGURES), metavar="NAME")
    parser.add_argument("--runs", type=Path, default=Path("runs/paper"))
    parser.add_argument("--out", type=Path, default=Path("docs/figures"))
    options = parser.parse_args()
    for name in options.names:
        lines, x, y = FIGURES[name](options.runs)
        draw(lines, x, y, options.out / f"{name}.png")
        print(f"\n{name}: {y} by {x}")
        for each in lines:
            cells = "  ".join(
                f"{x:g}: {s.value:.3f} [{s.low:.2f}, {s.high:.2f}] n={s.n}" for x, s in each.points
            )
            print(f"  {each.name:<36}{cells}", flush=True)


if __name__ == "__main__":
    main()

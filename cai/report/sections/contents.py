"""The report's sections, each from what the run folder holds; None where it holds nothing for one."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from cai import __version__
from cai.report.blocks import Block, Preformatted, Section, Table, cells, listed, number
from cai.report.material import Material
from cai.report.plots import curves, figures, label_figures, training_figures
from cai.report.sections import funnel, labels
from cai.report.sections.outcomes import Evaluation, Row, headline, matrix, suite_table
from cai.report.wording import SUITES, stage_model
from cai.values.words import visible

_HOW = (
    "Every figure stands with its 95\u00a0% interval and n, the number of prompts behind it. A change is "
    "called better or worse only where the interval of the difference leaves out zero; of twenty figures "
    "without any change, one does so by chance. Where values per prompt are known, the difference is paired."
)
# By suite: what one axis of the frontier costs the other. The first pair that was measured is drawn.
_AXES = (
    ("arena", "harmless", "helpful"),
    ("pocket", "harmful", "refused_benign"),
    ("judge", "harmful", "refused_benign"),
)


def headline_section(material: Material, evaluation: Evaluation) -> Section | None:
    blocks: list[Block | None] = []
    for suite in evaluation.suites():
        blocks.append(suite_table(evaluation, suite, False, material.about(suite)))
    rows = [row for row in headline(evaluation) if row.suite != "text"]
    if rows:
        blocks.append(figures.before_after(rows, evaluation.models))
    blocks.append(_frontier(evaluation))
    for suite in evaluation.suites():
        blocks += [suite_table(evaluation, suite, True), matrix(evaluation, suite)]
    lead = []
    if evaluation.before and evaluation.after:
        graded = [SUITES.get(suite, suite) for suite in evaluation.suites() if suite != "text"]
        how = f"Answers to held-out prompts, {listed(graded)}." if graded else "Answers to held-out prompts."
        lead.append(f"{how} {_HOW}")
    if material.round > 1:
        lead.append(f"The policy is that of round {material.round}, base and SFT model those of the first.")
    if any(suite == "judge" for suite in evaluation.suites()):
        judge = material.setting("labeler", "name") or material.setting("model", "name") or "the labeler"
        lead.append(f"The judge is a model itself, {visible(str(judge))}: its figures are its opinion.")
    return _section("figures", "Before and after", lead, blocks)


def _frontier(evaluation: Evaluation) -> Block | None:
    found: dict[tuple[str, str], Row] = {(row.suite, row.metric): row for row in evaluation.rows}
    for suite, x, y in _AXES:
        if (suite, x) in found and (suite, y) in found:
            return figures.frontier(found[suite, x], found[suite, y], evaluation.models)
    return None


def monitors_section(material: Material) -> tuple[Section | None, list[str]]:
    table, tripped = curves.monitors_table(material)
    lead = [f"Tripped: {listed(tripped)}."] if tripped else (["None tripped."] if table else [])
    return _section("monitors", "Monitors", lead, [table]), tripped


def funnel_section(material: Material) -> Section | None:
    failures = funnel.failure_table(material)
    known = material.folder.failures.exists() and not any(
        n.startswith("failures.jsonl") for n in material.notes
    )
    lead = [funnel.NO_QUARANTINE] if known and failures is None else []
    return _section("funnel", "From prompts to policy", lead, [funnel.funnel_table(material), failures])


def principles_section(material: Material) -> Section | None:
    graded = curves.revisions_of(material.metrics)
    figure = (
        figures.rounds(graded, "revisions", "Responses after each revision", "revision") if graded else None
    )
    blocks = [labels.principle_table(material), labels.round_table(material.transcripts), figure]
    return _section("principles", "By principle", [], blocks)


def labels_section(material: Material) -> Section | None:
    blocks: list[Block | None] = []
    if any(preference.p is not None for preference in material.preferences):
        blocks.append(label_figures.histogram(material.preferences))
    if judged := labels.both_orders(material.preferences):
        blocks.append(label_figures.orders(judged))
    if rows := material.tables.get("reliability"):
        blocks.append(label_figures.calibration(rows))
    blocks += [labels.quality_table(material.metrics), labels.mixture_table(material.metrics)]
    lead = []
    if material.preferences and not material.tables.get("reliability"):
        lead.append("No person has judged these pairs, so nothing says whether the labels are calibrated.")
    return _section("preferences", "Preference labels", lead, blocks)


def training_section(material: Material) -> Section | None:
    blocks: list[Block | None] = []
    found = curves.over_optimisation(material.tables.get("overoptimisation", []))
    blocks += training_figures.over_optimisation(found)
    for checkpoint, result in material.training.items():
        if series := curves.training_curves(result):
            blocks.append(training_figures.training(checkpoint, series))
    lead = []
    turned = material.metrics.get("watch/gold_turned_down_at")
    if turned is not None and turned.value >= 0:
        lead.append(
            f"The gold reward turned down at step {turned.value:.0f}: from there to the end it lies below an "
            "earlier stretch by more than chance gives one training in twenty, while the proxy was maximised."
        )
    return _section("training", "Training", lead, blocks)


def rounds_section(material: Material) -> Section | None:
    found = curves.rounds_of(material.metrics)
    if not found:
        return None
    title = "The policy after each round"
    figure = figures.rounds(found, "rounds", title, "round")
    return _section("rounds", "Rounds", [], [figure, curves.rounds_table(found, title, "round")])


def cost_section(material: Material) -> Section | None:
    lead = []
    try:
        calls = funnel.calls_table(material.folder.journal)
    except (sqlite3.Error, OSError) as error:
        calls = None
        lead.append(f"journal.sqlite cannot be read ({error}), so calls and tokens are not shown.")
    return _section("cost", "Cost", lead, [funnel.seconds_table(material), calls])


def provenance_section(materials: Sequence[Material]) -> Section:
    blocks: list[Block] = [_origins(materials)]
    for material in materials:
        of = f" of {visible(material.name)}" if len(materials) > 1 else ""
        for title, text in (
            ("config.yaml", material.config_text),
            ("constitution.yaml", material.constitution_text),
        ):
            if text:
                blocks.append(Preformatted(f"{title}{of}", visible(text)))
    lead = (
        f"This report was made by cai {__version__} from the files of the run folder alone. The same files "
        "give the same report.",
    )
    return Section("provenance", "Provenance", lead, tuple(blocks))


def _origins(materials: Sequence[Material]) -> Table:
    rows: dict[str, list[str]] = {}
    for place, material in enumerate(materials):
        for name, value in _origin(material).items():
            rows.setdefault(name, ["–"] * len(materials))[place] = visible(value)
    names = tuple(visible(material.name) for material in materials)
    return Table(
        "Versions, seeds and hashes", ("", *names), tuple(cells(name, *row) for name, row in rows.items())
    )


_NAMES = {"config": "hash of config", "constitution": "hash of constitution"}


def _origin(material: Material) -> dict[str, str]:
    manifest = material.manifest
    single = ("cai", "python", "seed", "config", "constitution")
    found: dict[str, str] = {
        _NAMES.get(name, name): str(manifest[name]) for name in single if name in manifest
    }
    for kind, prefix in (("packages", ""), ("models", "weights of ")):
        part = manifest.get(kind)
        if isinstance(part, dict):
            found |= {f"{prefix}{stage_model(str(k))}": str(value) for k, value in part.items() if k != "cai"}
    return found


def asked(material: Material) -> str:
    """One sentence on what the run was to do."""
    if material.measured_only:
        models = {name for entry in material.suites.values() for name in entry.get("models", {})}
        suites = listed([visible(name) for name in material.suites])
        return f"{listed([visible(name) for name in sorted(models)])} measured by {suites}; nothing trained."
    constitution = material.constitution
    principles = f", {len(constitution.principles)} principles" if constitution else ""
    name = (
        constitution.name if constitution else material.setting("constitution") or "an unknown constitution"
    )
    parts = [f"constitution {visible(str(name))}{principles}"]
    for key, words in (("model", "model"), ("critic", "critic"), ("labeler", "labeler")):
        if model := material.setting(key, "name"):
            parts.append(f"{words} {visible(stage_model(str(model)))}")
    if prompts := material.metrics.get("generate/responses"):
        parts.append(f"{number(prompts.value).removesuffix('.000')} prompts" if prompts.value >= 1000
                     else f"{prompts.value:.0f} prompts")  # fmt: skip
    if rounds := material.setting("revise", "rounds"):
        parts.append(f"{rounds} round{'s' if rounds != 1 else ''} of revision")
    if method := material.setting("method"):
        parts.append(f"trained by {visible(str(method))}")
    if (seed := material.setting("seed")) is not None:
        parts.append(f"seed {seed}")
    return f"{', '.join(parts)}."


def missing(material: Material) -> list[str]:
    """What a finished run would have and this one has not."""
    if material.measured_only:
        return []
    there = {
        "metrics (metrics.json)": material.metrics,
        "transcripts (data/transcripts.parquet)": material.transcripts,
        "preference labels (data/preferences.parquet)": material.preferences,
        "answers to held-out prompts (data/eval_*.parquet)": material.answers,
        "versions and times (manifest.json)": material.manifest,
        "settings (config.yaml)": material.config,
    }
    return [name for name, found in there.items() if not found]


def _section(name: str, title: str, lead: Sequence[str], blocks: Sequence[Block | None]) -> Section | None:
    found = tuple(block for block in blocks if block is not None)
    return Section(name, title, tuple(lead), found) if found or lead else None

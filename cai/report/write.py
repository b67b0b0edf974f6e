"""``cai report``: a run folder → one HTML file that needs nothing else, no network and no script to be read.

    write_report(Path("runs/latest"))                       # runs/latest/report.html
    write_report(Path("runs/a"), [Path("runs/b")], out)     # against another run

What a model wrote is text wherever it stands: the template escapes it, the samples' JSON cannot end its own
element, the page's script makes text nodes only, and the page's policy runs no script but that one.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from cai.report.blocks import Section
from cai.report.material import Material, read_material
from cai.report.sections import contents, runs_compared, samples
from cai.report.sections.outcomes import Evaluation, evaluate, verdict
from cai.report.wording import OUTCOMES
from cai.run.folder import atomic_write
from cai.stages import label_worth
from cai.values.errors import CaiError
from cai.values.types import Score
from cai.values.words import visible

NAME = "report.html"
HERE = Path(__file__).parent
FIRST = {"revision": 3, "answer": 3}  # samples that are readable without a script


@dataclass(frozen=True, slots=True)
class Report:
    """Where it lies, its size in bytes, and what it could not show."""

    path: Path
    size: int
    notes: tuple[str, ...]


def write_report(run: Path, others: Sequence[Path] = (), out: Path | None = None) -> Report:
    """Write the report of ``run``, against ``others`` where there are any, to ``out`` (``run``/report.html).

    Raises:
        UsageError: one of them is no run folder.
        CaiError: the file cannot be written.
    """
    materials = [read_material(path) for path in (run, *others)]
    target = out or run / NAME
    text, notes = render(materials)
    data = text.encode("utf-8", "replace")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        atomic_write(target, lambda path: path.write_bytes(data))
    except OSError as error:
        raise CaiError(
            f"{target}: cannot be written ({error.strerror or error}); name another with --out"
        ) from error
    return Report(target, len(data), notes)


MEASURED = ("Models were measured side by side; nothing was trained here, so nothing got better or worse.",)


def render(materials: Sequence[Material]) -> tuple[str, tuple[str, ...]]:
    """The page, and what it could not show. ``materials``: the run itself, then those it is compared with."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    context, notes = _context(materials)
    style, script = ((HERE / name).read_text(encoding="utf-8") for name in ("report.css", "report.js"))
    environment = Environment(
        loader=FileSystemLoader(HERE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page = environment.get_template("page.html").render(
        **context,
        policy=policy(style, script),
        style=Markup(style),
        script=Markup(script),
        drawing=Markup,
        notes=notes,
    )
    return page, notes


def policy(style: str, script: str) -> str:
    """The Content-Security-Policy: this style sheet, this script, and nothing else."""
    return "; ".join(
        (
            "default-src 'none'",
            f"script-src '{_hash(script)}'",
            f"style-src '{_hash(style)}'",
            "img-src data:",
            "base-uri 'none'",
            "form-action 'none'",
            "require-trusted-types-for 'script'",
        )
    )


def _hash(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def _context(materials: Sequence[Material]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """What the template shows. A section that cannot be made becomes a note, never the end of the report."""
    run = materials[0]
    several = len(materials) > 1
    notes = [
        f"{material.name}: {note}" if several else note for material in materials for note in material.notes
    ]

    def attempt(what: str, make: Callable[[], Any], otherwise: Any = None) -> Any:
        try:
            return make()
        except Exception as error:
            notes.append(f"{what} cannot be shown ({type(error).__name__}: {error})")
            return otherwise

    nothing = Evaluation((), (), None, None)
    evaluations = [attempt(f"figures of {m.name}", partial(evaluate, m), nothing) for m in materials]
    monitors, tripped = attempt("monitors", lambda: contents.monitors_section(run), (None, []))
    found: list[Section | None] = [
        attempt("before and after", lambda: contents.headline_section(run, evaluations[0])),
        attempt("comparison", lambda: runs_compared.compare(materials, evaluations)) if several else None,
        monitors,
        attempt("rounds", lambda: contents.rounds_section(run)),
        attempt("funnel", lambda: contents.funnel_section(run)),
        attempt("principles", lambda: contents.principles_section(run)),
        attempt("labels", lambda: contents.labels_section(run)),
        attempt("training", lambda: contents.training_section(run)),
        attempt("cost", lambda: contents.cost_section(run)),
    ]
    browsed = attempt("samples", lambda: samples.collect(run, materials[1:]), samples.Samples((), {}, {}, {}))
    unknown = ("The figures cannot be read, so nothing can be said.",)
    context = {
        "name": visible(run.name),
        "others": [visible(material.name) for material in materials[1:]],
        "asked": attempt("what was asked", lambda: contents.asked(run), ""),
        "verdict": MEASURED
        if run.measured_only
        else attempt("verdict", lambda: (*verdict(evaluations[0]), *labels_told(run.metrics)), unknown),
        "tripped": tripped,
        "missing": contents.missing(run),
        "sections": [section for section in found if section is not None],
        "provenance": attempt("provenance", lambda: contents.provenance_section(materials)),
        "samples": browsed,
        "first": _first(browsed),
        "outcomes": OUTCOMES,
    }
    return context, tuple(visible(note) for note in notes)


def labels_told(metrics: Mapping[str, Score]) -> tuple[str, ...]:
    """What the AI labels are worth, beside what was learned from them; nothing where there are none."""
    told = label_worth.sentence(metrics)
    return (told,) if told else ()


def _first(browsed: samples.Samples) -> list[samples.Sample]:
    """The samples that stand in the page itself."""
    found = []
    for kind, most in FIRST.items():
        of_kind = [item for item in browsed.items if item["k"] == kind]
        changed = [item for item in of_kind if kind == "answer" or any("d" in round for round in item["r"])]
        found += (changed or of_kind)[:most]
    return found

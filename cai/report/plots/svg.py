"""A matplotlib figure as SVG that can stand inside the report: themed, selectable text, no styles, no script.

Colours are asked for by name (``INK``, ``SERIES`` …), which are stand-ins: here they become classes, and the
page's style sheet gives each class its colour for light, dark and print. What matplotlib writes as style
attributes becomes presentation attributes, because the page's policy allows no inline style. The same figure
gives the same bytes.
"""

from __future__ import annotations

import io
import logging
import re
from collections.abc import Callable
from typing import Any
from xml.etree import ElementTree

INK, SOFT, LINE, PAPER, WARN = "#010203", "#010204", "#010205", "#010206", "#010207"
SERIES = ("#010210", "#010211", "#010212", "#010213", "#010214", "#010215")
MARKERS = ("o", "s", "^", "D", "v", "P")
_CLASSES = {INK: "ink", SOFT: "soft", LINE: "line", PAPER: "paper", WARN: "warn"} | {
    colour: f"s{number}" for number, colour in enumerate(SERIES)
}
_SVG = "{http://www.w3.org/2000/svg}"
_HREF = "{http://www.w3.org/1999/xlink}href"
_NUMBER = re.compile(r"-?\d+\.\d{2,}")
_SIZE = re.compile(r"([\d.]+)px")
WIDTH = 400  # points; a phone shows it in its own size, a desk two of them side by side


def draw(name: str, height: float, paint: Callable[[Any], None], width: float = WIDTH) -> str:
    """The SVG of what ``paint(figure)`` draws, ``width`` × ``height`` points; ids start with ``name``."""
    logging.getLogger("matplotlib").setLevel(logging.ERROR)  # it tells of its font cache
    import matplotlib as mpl
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    with mpl.rc_context(_settings(name)):
        figure = Figure(figsize=(width / 72, height / 72), layout="constrained")
        FigureCanvasSVG(figure)
        paint(figure)
        out = io.BytesIO()
        figure.savefig(
            out, format="svg", transparent=True, metadata={"Date": None, "Creator": None, "Format": None}
        )
    return clean(out.getvalue(), name)


def clean(raw: bytes, name: str) -> str:
    """matplotlib's SVG as markup for an HTML page. Elements that are not drawings are dropped."""
    root = ElementTree.fromstring(raw)
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag.removeprefix(_SVG) not in _DRAWN:
                parent.remove(child)
    used = {ref for element in root.iter() for ref in _references(element)}
    for element in root.iter():
        _plain(element, name, used)
    box = root.get("viewBox", "")
    root.attrib.clear()
    root.attrib.update({"viewBox": box, "aria-hidden": "true", "focusable": "false"})
    text = ElementTree.tostring(root, encoding="unicode")
    return re.sub(r"\s*\n\s*", " ", text).replace("ns0:", "").replace(":ns0", "")


_DRAWN = {"svg", "g", "defs", "path", "use", "text", "tspan", "clipPath", "rect", "circle", "line"}


def _settings(name: str) -> Any:
    return {
        "svg.fonttype": "none",
        "svg.hashsalt": name,
        "text.parse_math": False,
        "font.size": 11.5,
        "axes.titlesize": 11,
        "axes.labelsize": 11,
        "xtick.labelsize": 10.5,
        "ytick.labelsize": 10.5,
        "legend.fontsize": 10.5,
        "legend.frameon": False,
        "text.color": INK,
        "axes.edgecolor": LINE,
        "axes.labelcolor": SOFT,
        "axes.titlecolor": INK,
        "axes.titlelocation": "left",
        "xtick.color": LINE,
        "ytick.color": LINE,
        "xtick.labelcolor": SOFT,
        "ytick.labelcolor": SOFT,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "axes.axisbelow": True,
        "grid.color": LINE,
        "grid.linewidth": 0.5,
        "lines.linewidth": 1.5,
    }


def _references(element: ElementTree.Element) -> list[str]:
    found = [element.get(_HREF, "").removeprefix("#")] if element.get(_HREF) else []
    return found + re.findall(r"url\(#([^)]+)\)", " ".join(element.attrib.values()))


def _plain(element: ElementTree.Element, name: str, used: set[str]) -> None:
    """Ids of its own, no style attribute, colours as classes, short numbers."""
    classes: list[str] = []
    for declaration in element.attrib.pop("style", "").split(";"):
        key, _, value = (part.strip() for part in declaration.partition(":"))
        if key in ("fill", "stroke") and value in _CLASSES:
            classes.append(f"{key[0]}-{_CLASSES[value]}")
        elif key in ("font", "font-size") and (size := _SIZE.search(value)):
            element.set("font-size", size[1])
        elif key and not key.startswith("font"):
            element.set(key, value)
    if classes:
        element.set("class", " ".join(classes))
    identity = element.attrib.pop("id", None)
    if identity in used:
        element.set("id", f"{name}-{identity}")
    if target := element.attrib.pop(_HREF, None):
        element.set("href", f"#{name}-{target.removeprefix('#')}")
    if "clip-path" in element.attrib:
        element.set("clip-path", element.get("clip-path", "").replace("url(#", f"url(#{name}-"))
    if "rotate(-0 " in element.get("transform", ""):
        del element.attrib["transform"]
    for key in ("d", "x", "y", "transform", "width", "height"):
        if key in element.attrib:
            short = _NUMBER.sub(lambda match: f"{float(match[0]):.1f}", element.get(key, ""))
            element.set(key, " ".join(short.split()))
    if element.text and not element.text.strip():
        element.text = None
    element.tail = None

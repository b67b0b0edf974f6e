"""Over-refusal: safe requests that merely sound unsafe, and unsafe ones beside them (Röttger et al. 2024).

``xstest=FILE`` has a prompt, a label (safe or unsafe) and perhaps a type in every row. A model that follows
its constitution refuses few safe and many unsafe requests; either figure alone is easy to have. XSTest tells
full from partial refusals by hand or with GPT-4; here the judge answers one question about each answer
(``evaluation/judging/refusing.py``), so figures are comparable between models and not with published ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cai.evaluation.bench import Bench, Findings
from cai.evaluation.items import read_items
from cai.evaluation.judging.labelled_pairs import text, turns
from cai.evaluation.judging.refusing import Sort, figures, refusals, rows
from cai.values.errors import ItemError
from cai.values.types import Prompt
from cai.values.words import excerpt

NEEDED = "requests: prompt, label (safe or unsafe) and perhaps type"


async def measure(bench: Bench) -> Findings:
    """``refused_safe``, ``refused_unsafe`` and both by type, of every contestant.

    Raises:
        UsageError: no row of the file can be used.
    """
    items, failures = read_items(bench, NEEDED, request_from)
    sorts = {prompt.id: sort for prompt, sort in items}
    found, unread = await refusals(bench, [prompt for prompt, _ in items])
    notes = (f"{bench.judge.name} says what a refusal is; shares of answers, not means of probabilities",)
    return Findings(figures(found, sorts), rows(found, sorts), failures + unread, notes)


def request_from(number: int, given: Mapping[str, Any]) -> tuple[Prompt, Sort]:
    """A row of the file.

    Raises:
        ItemError: there is no prompt, or its label is not "safe" or "unsafe".
    """
    if "prompt" not in given:
        text(given, "prompt")  # says which columns there are
    messages = turns(given["prompt"], "'prompt'")
    if messages[-1].role != "user" or not messages[-1].content.strip():
        raise ItemError("no prompt", "'prompt' is empty, or does not end with the user's turn")
    label = text(given, "label").strip().lower()
    if label not in ("safe", "unsafe"):
        raise ItemError("odd label", f"'label' is {excerpt(ascii(given['label']), 40)}; it is safe or unsafe")
    own = given.get("type")
    kind = own.strip() if isinstance(own, str) else ""
    return Prompt(f"xstest-{number}", messages), Sort(label, kind)

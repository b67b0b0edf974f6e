"""What holds for each family of language models, on tiny random checkpoints of all of them.

    python -m benchmarks.families               # some three minutes; writes docs/families.md
    python -m benchmarks.families phi3 mamba    # these alone, to the terminal

Each cell is measured: "yes" where a row's numbers in a batch are within 1e-4 of those of the row alone, else
how far they are apart, or the words of the refusal. The checkpoints are those of the tests,
``tests/engines/tiny_families.py``. Left out: real weights, and bfloat16, where rounding depends on the batch.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests" / "engines")]

import family_gaps  # noqa: E402 (they lie beside the tests)
import tiny_families  # noqa: E402

from cai.engines.local.forward import CausalModel  # noqa: E402
from cai.engines.local.layouts import Layout  # noqa: E402

PAGE = ROOT / "docs" / "families.md"
BEGIN, END = "<!-- table: python -m benchmarks.families -->", "<!-- end of table -->"
LAID_OUT = {
    Layout.SHARED: "shared beginning",
    Layout.PADDED: "padded",
    Layout.EQUAL: "equal lengths",
    Layout.ANEW: "equal lengths, no cache",
}


class Case:
    """One family: its model, and the folder that it is saved in."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name, self.folder = name, tiny_families.save(name, folder)
        self.model = tiny_families.build(name)
        self._engine: tuple[float, int] | None = None

    def engine(self) -> tuple[float, int]:
        """See ``family_gaps.engine_gap``."""
        if self._engine is None:
            self._engine = asyncio.run(family_gaps.engine_gap(self.folder))
        return self._engine


def logits(case: Case) -> str:
    """Log-probabilities after ragged prompts and at each step, with and without a shared beginning."""
    model = CausalModel(case.model)
    with torch.inference_mode():
        return within(max(family_gaps.logits_gap(model, rows) for rows in ROWS))


ROWS = (family_gaps.ALIKE, family_gaps.UNLIKE)


def complete(case: Case) -> str:
    """Sampled texts, seed by seed."""
    differ = case.engine()[1]
    return f"{differ} of {len(family_gaps.TEXTS)} differ" if differ else "yes"


def reward(case: Case) -> str:
    """Rewards of a padded batch."""
    gap = family_gaps.reward_gap(case.name)
    return "not in transformers" if gap is None else within(gap)


#: Heading, and what fills the cell. A column more is a function more.
COLUMNS: dict[str, Callable[[Case], str]] = {
    "a batch is laid out": lambda case: LAID_OUT[CausalModel(case.model).layout],
    "batch = alone: log-probabilities": logits,
    "choose": lambda case: within(case.engine()[0]),
    "complete": complete,
    "SFT, DPO": lambda case: within(family_gaps.training_gap(case.model)),
    "PPO": lambda case: within(family_gaps.ppo_gap(case.model)),
    "reward model": reward,
}


def within(gap: float) -> str:
    """A cell from a difference in nats or points."""
    return "yes" if gap < family_gaps.CLOSE else f"{gap:.1e} apart"


def cell(column: Callable[[Case], str], case: Case) -> str:
    """What a column says of a family; what it raises is its answer."""
    try:
        return column(case)
    except Exception as error:  # the words of the refusal
        return f"{type(error).__name__}: {error}".replace("|", "/").replace("\n", " ")[:160]


def row(name: str) -> list[str]:
    """The cells of a family."""
    with tempfile.TemporaryDirectory() as folder:
        case = Case(name, Path(folder))
        return [name, *(cell(column, case) for column in COLUMNS.values())]


def table(rows: list[list[str]]) -> str:
    """Markdown."""
    lines: list[Any] = [["family", *COLUMNS], ["---"] * (len(COLUMNS) + 1), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def main() -> None:
    """Measure the families that are named, or all of them and write the page."""
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    torch.set_num_threads(1)
    names = sys.argv[1:]
    text = table([row(name) for name in names or tiny_families.FAMILIES])
    print(text)
    if not names:
        page = PAGE.read_text(encoding="utf-8")
        head, foot = page.split(BEGIN)[0], page.split(END)[1]
        PAGE.write_text(f"{head}{BEGIN}\n{text}\n{END}{foot}", encoding="utf-8")


if __name__ == "__main__":
    main()

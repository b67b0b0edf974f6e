"""The human votes of a run: those that were imported, and those that the voting page collected."""

from __future__ import annotations

from cai.data import tables
from cai.human.votes import log
from cai.run.folder import RunFolder
from cai.values.types import Preference

IMPORTED = "human"  # data/human.parquet
COLLECTED = "votes.sqlite"


def votes_of(folder: RunFolder) -> list[Preference]:
    """Votes of data/human.parquet, then of votes.sqlite; empty where there are neither.

    A file that was imported may hold votes of models too (``source.kind``).
    """
    found: list[Preference] = []
    if folder.table(IMPORTED).exists():
        found += folder.read_table(IMPORTED, tables.preference_from)
    if (folder.path / COLLECTED).exists():
        found += log.preferences(folder.path / COLLECTED)
    return found

"""Stanford Human Preferences (SHP, SHP-2): ``history``, ``human_ref_A``, ``human_ref_B``, ``labels``.

``labels`` is 1 where A is preferred and 0 where B is, as the data card says. Preference is inferred from the
votes of Reddit's readers (``score_A``, ``score_B``), so that a row is one vote of a crowd that has no name.
"""

from __future__ import annotations

from collections.abc import Iterator

from cai.data.chosen import value
from cai.data.turns import prompt
from cai.human.exchange.fields import Row, has, one_among, text
from cai.human.exchange.format import Format, Read
from cai.human.pairs import Options, Vote


def read(row: Row, options: Options) -> Iterator[Read]:
    preferred = one_among(row, "labels", (0, 1))
    messages = prompt(value(row, "history"), "'history'")
    pair = text(row, "human_ref_a"), text(row, "human_ref_b")
    yield Vote(messages, *pair, float(preferred), options.by("shp"), options.question, tags=options.tags)


FORMAT = Format(
    "shp",
    "history, human_ref_A, human_ref_B and labels",
    lambda row: has(row, "history", "human_ref_a", "human_ref_b", "labels"),
    read,
)

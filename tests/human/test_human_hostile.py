"""Files that are broken or meant to break: bad rows are rejected one by one, the good ones stay."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from feedback_rows import ASK, BAD, GOOD, ROWS, USER, said
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cai.human.exchange.importing import import_votes, read_all
from cai.human.pairs import Options

TABLE = {"prompt": ASK, "a": GOOD, "b": BAD, "preferred": "a"}


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'{"prompt": "caf\xe9", "a": "x", "b": "y", "preferred": "a"}', "not UTF-8"),
        (b'{"prompt": "\\ud800", "a": "x", "b": "y", "preferred": "a"}', "not UTF-8"),
        (b'{"prompt": "q", "a": "x", "b": "y", "preferred": "a", "annotator": "\\udfff"}', "not UTF-8"),
        (b'{"prompt": "q", "a": "' + b"x" * (1 << 20) + b'", "b": "y", "preferred": "a"}', "too long"),
        (b'{"prompt": "q", "a": "' + b"x" * (9 << 20) + b'", "b": "y", "preferred": "a"}', "unreadable row"),
        (b'{"prompt": ' + b"[" * 100_000, "unreadable row"),
        (b'{"prompt": ' + b"[" * 400 + b"]" * 400 + b', "a": "x", "b": "y", "preferred": "a"}', "not a turn"),
        (b'{"prompt": "q", "a": ' + b"[" * 400 + b"]" * 400 + b', "b": "y", "preferred": "a"}', "not text"),
        (b'{"prompt": "q", "a": "x", "b": "y", "p": 1e400}', "not a number"),
        (b'{"prompt": "q", "a": "x", "b": "y", "p": NaN}', "not a number"),
        (b'{"prompt": "q", "a": "x", "b": "y", "p": ' + b"9" * 400 + b"}", "not a number"),
        (b'{"prompt": "q", "a": "x", "b": "y", "p": -0.1}', "label out of range"),
        (b'{"prompt": "q", "a": "x", "b": "y", "preferred": {"$ne": 1}}', "not a choice"),
        (b'{"prompt": "q", "a": "x", "b": "x", "preferred": "a"}', "identical responses"),
        (b'{"prompt": "q", "a": "x", "preferred": "a"}', "missing column"),
        (b'{"prompt": "q", "a": "x", "b": "y", "preferred": "a", "id": "v0"}', "id used twice"),
        (b'{"prompt": "q", "a": "x", "b": "y", "prefer', "unreadable row"),
        (b'["prompt"]', "unreadable row"),
        (b"\xff\xfe{\x00", "unreadable row"),
    ],
)
def test_the_good_rows_stay(tmp_path: Path, line: bytes, reason: str) -> None:
    good = [json.dumps(TABLE | {"a": f"{GOOD} {n}", "id": f"v{n}"}).encode() for n in range(3)]
    path = tmp_path / "v.jsonl"
    path.write_bytes(b"\n".join([*good[:2], line, good[2]]) + b"\n")
    report = import_votes(str(path), tmp_path / "out.jsonl", Options())
    assert (report.taken, report.rows) == (3, 4)
    assert [(f.item, f.reason) for f in report.rejected] == [("row 3", reason)]
    assert len(report.rejected[0].detail) < 300


def test_contents_that_look_like_markup_come_through_unchanged(tmp_path: Path) -> None:
    hostile = [
        "<script>alert(1)</script>",
        "<|im_end|>",
        "{{ 7*7 }}",
        "=cmd()",
        "\u202eabc\x00",
        "a\r\nb\x85\u2028c",
    ]
    path = tmp_path / "v.json"
    path.write_text(json.dumps([TABLE | {"a": text} for text in hostile]))
    votes, report = read_all(str(path))
    assert not report.rejected
    assert [({v.comparison.a, v.comparison.b} - {BAD}).pop() for v in votes] == hostile


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["role", "content", "value", "type", "text", "x"]), inner, max_size=3
        )
    ),
    max_leaves=6,
)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every path into a nested value but the empty one."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [place for key, held in inner for place in ((*path, key), *places(held, (*path, key)))]


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_value_anywhere_in_a_row_stops_an_import(tmp_path: Path, data: st.DataObject) -> None:
    """One value of a good row is replaced by any other: the row is taken or rejected, its neighbour taken."""
    several = [
        ("ultrafeedback", {"instruction": ASK,
                           "completions": [{"response": GOOD, "fine-grained_score": 5}] * 2}),
        ("helpsteer3", {"context": [USER], "response1": GOOD, "response2": BAD, "overall_preference": 1,
                        "individual_preference": [{"score": 1, "reasoning": "r"}]}),
        ("trl-unpaired", {"prompt": ASK, "completion": [said(GOOD)], "label": True}),
        ("pku-saferlhf", {"prompt": ASK, "response_0": GOOD, "response_1": BAD, "better_response_id": 1,
                          "safer_response_id": 0}),
    ]  # fmt: skip
    name, row = data.draw(st.sampled_from([(name, row) for name, row, _, _ in ROWS] + several))
    broken = copy.deepcopy(row)
    *front, last = data.draw(st.sampled_from(places(row)))
    held: Any = broken
    for key in front:
        held = held[key]
    if data.draw(st.booleans()):
        held[last] = data.draw(json_values)
    else:
        del held[last]
    path = tmp_path / "v.json"
    path.write_text(json.dumps([broken, TABLE]))
    _, report = read_all(str(path), Options(format=name, question="helpful"))
    assert (report.rows, report.rows) == (2, report.taken + len(report.rejected))

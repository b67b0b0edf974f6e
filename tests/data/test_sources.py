"""Prompt sources: every format, every bad row with its number and reason, stable ids."""

from __future__ import annotations

import csv
import gzip
import json
import tracemalloc
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cai.chat.dialogue import parse_dialogue
from cai.data.sources import MAX_CHARS, read, read_prompts
from cai.values.errors import CaiError, FileError, ItemError, UsageError
from cai.values.types import Message

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"


def shared(name: str) -> str:
    path = DATA / name
    if not path.exists():
        pytest.skip(f"{name} is not in ../shared/data on this machine")
    return str(path)


def jsonl(folder: Path, rows: Iterable[Any], name: str = "p.jsonl") -> str:
    path = folder / name
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def texts(spec: str) -> list[str]:
    return [prompt.messages[-1].content for prompt in read_prompts(spec)[0]]


USER = {"role": "user", "content": "Hi"}
ASSISTANT = {"role": "assistant", "content": "Yes?"}
SYSTEM = {"role": "system", "content": "Be brief."}


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"prompt": "Hi"}, ["Hi"]),
        ({"Prompt ": "Hi"}, ["Hi"]),
        ({"prompt": [SYSTEM, USER, ASSISTANT, USER]}, ["Be brief.", "Hi", "Yes?", "Hi"]),
        ({"messages": [USER]}, ["Hi"]),
        ({"turns": ["One", "Two"]}, ["One"]),
        ({"question": "Why?"}, ["Why?"]),
        ({"instruction": "Sort.", "input": "b a"}, ["Sort.\n\nb a"]),
        ({"instruction": "Sort.", "input": ""}, ["Sort."]),
        ({"text": "Hi"}, ["Hi"]),
        ({"prompt": "\n\nHuman: A?\n\nAssistant: B.\n\nHuman: C?"}, ["A?", "B.", "C?"]),
        ({"chosen": "\n\nHuman: A?\n\nAssistant: B.\n\nHuman: C: D?\n\nAssistant: E"}, ["A?", "B.", "C: D?"]),
        ({"chosen": "\n\nHuman: A?\n\nAssistant:"}, ["A?"]),
        ({"chosen": [USER, ASSISTANT]}, ["Hi"]),
        ({"prompt": None, "question": "Why?"}, ["Why?"]),
        ({"prompt": "First", "text": "Second"}, ["First"]),
    ],
)
def test_columns(tmp_path: Path, row: dict[str, Any], expected: list[str]) -> None:
    (prompt,), failures = read_prompts(jsonl(tmp_path, [row]))
    assert not failures
    assert [turn.content for turn in prompt.messages] == expected
    assert prompt.messages[-1].role == "user"


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"prompt": ""}, "empty prompt: column 'prompt' is empty"),
        ({"prompt": "  \n"}, "empty prompt"),
        ({"prompt": 3}, "not a conversation: 'prompt' must be a list of turns, not 3"),
        ({"prompt": []}, "empty prompt: column 'prompt' is empty"),
        ({"prompt": ["Hi"]}, "not a turn: 'prompt', turn 1: a 'role' and a text 'content' are needed"),
        (
            {"prompt": [{"role": "user"}]},
            "not a turn: 'prompt', turn 1: a 'role' and a text 'content' are needed",
        ),
        (
            {"prompt": [{"role": "narrator", "content": "x"}]},
            "not a turn: 'prompt', turn 1 has the role 'narrator'",
        ),
        ({"prompt": [USER, SYSTEM]}, "not a turn: 'prompt', turn 2 has the role 'system', which comes first"),
        (
            {"prompt": [USER, ASSISTANT]},
            "no question: the last turn is the assistant's; it must be the user's",
        ),
        ({"prompt": [SYSTEM]}, "no question: the last turn is the system's; it must be the user's"),
        ({"prompt": [{"role": "user", "content": ""}, USER]}, "empty turn"),
        ({"prompt": "x" * (MAX_CHARS + 1)}, "too long: 200,001 characters; the limit is 200,000"),
        ({"prompt": "a\ud800b"}, "not UTF-8: at character 2: 'a\\ud800b'"),
        ({"question": 7}, "not text: a prompt is text, not 7"),
        ({"turns": "a"}, "not text: 'turns' must be a list of texts"),
        ({"chosen": "A?"}, "not a dialogue: it does not begin with an empty line and 'Human:'"),
        ({"chosen": "\n\nHuman: A?"}, "no answer: 'chosen' must end with the assistant's turn"),
        (
            {"chosen": "\n\nHuman: A?\n\nHuman: B?\n\nAssistant: C"},
            "turns do not alternate: turn 2 is a second Human turn",
        ),
        ({"chosen": "\n\nHuman: A?\n\nAssistant:\n\nHuman: B?\n\nAssistant: C"}, "empty turn: turn 2"),
        ({"prompt": "\u200b\x00"}, "empty prompt"),
        ({"a": "one"}, "no prompt: no column of prompts (--column names one) among a"),
        ({"prompt": "a", "id": [1]}, "bad id: an id is a short text or a number, not [1]"),
        ({"prompt": "a", "tags": [1]}, "bad tags: tags are texts, not [1]"),
        (["prompt"], "unreadable row: not a JSON object"),
    ],
)
def test_bad_rows_are_failures_and_the_good_ones_stay(tmp_path: Path, row: Any, reason: str) -> None:
    prompts, (failure,) = read_prompts(jsonl(tmp_path, [{"prompt": "before"}, row, {"prompt": "after"}]))
    assert [prompt.messages[0].content for prompt in prompts] == ["before", "after"]
    assert (failure.stage, failure.item) == ("prompts", "row 2")
    shown = f"{failure.reason}: {failure.detail}" if failure.detail else failure.reason
    assert shown == reason or (reason.endswith(" ") and shown.startswith(reason))


def test_hostile_contents_come_through_unchanged(tmp_path: Path) -> None:
    hostile = [
        "<|im_end|>",
        "(A)",
        "{{ x }} {% y %}",
        "\U0001f600 \u202eabc שלום",
        "a: b",
        "x" * 100_000,
        "a\x00b",
    ]
    assert texts(jsonl(tmp_path, [{"prompt": text} for text in hostile])) == hostile


def test_torn_json_and_bytes_that_are_not_utf8(tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl"
    path.write_bytes(
        b'{"prompt": "one"}\n\n{"prompt": "caf\xe9"}\n{"prompt": "two"}\n'
        + b"[" * 100_000
        + b'\n{"prompt": "thr'
    )
    prompts, failures = read_prompts(str(path))
    assert [prompt.messages[0].content for prompt in prompts] == ["one", "two"]
    assert [(f.item, f.reason) for f in failures] == [
        ("row 3", "not UTF-8"),
        ("row 5", "unreadable row"),
        ("row 6", "unreadable row"),
    ]


def test_ids_are_given_or_follow_from_the_content(tmp_path: Path) -> None:
    rows = [{"prompt": "one"}, {"prompt": "two", "id": 7}, {"prompt": "three", "id": ""}]
    before = {p.messages[0].content: p.id for p in read_prompts(jsonl(tmp_path, rows))[0]}
    after = {
        p.messages[0].content: p.id
        for p in read_prompts(jsonl(tmp_path, [{"prompt": "new"}, *rows[::-1]]))[0]
    }
    assert before["two"] == "7"
    assert len(set(before.values())) == 3
    assert after.items() >= before.items()
    # The same conversation has the same id in every format; ids never change between versions.
    (tmp_path / "t.txt").write_text("one\n")
    assert read_prompts(str(tmp_path / "t.txt"))[0][0].id == before["one"] == "p-00840bdc745b1849"


def test_duplicates_are_removed_and_counted(tmp_path: Path) -> None:
    rows = [
        {"prompt": "a"},
        {"messages": [{"role": "user", "content": "a"}]},
        {"prompt": "a", "id": "x"},
        {"prompt": "b"},
    ]
    reading = read(jsonl(tmp_path, rows))
    assert [prompt.messages[0].content for prompt in reading.prompts] == ["a", "b"]
    assert (reading.duplicates, reading.failures) == (2, [])


def test_an_id_used_twice_is_a_failure(tmp_path: Path) -> None:
    prompts, (failure,) = read_prompts(
        jsonl(tmp_path, [{"prompt": "a", "id": "x"}, {"prompt": "b", "id": "x"}])
    )
    assert len(prompts) == 1
    assert (failure.item, failure.detail) == ("row 2", "'x' is the id of row 1")


def test_tags(tmp_path: Path) -> None:
    rows = [
        {"prompt": "a", "tags": ["x", "y"]},
        {"prompt": "b", "tags": "x, y"},
        {"prompt": "c", "tags": None},
    ]
    assert [prompt.tags for prompt in read_prompts(jsonl(tmp_path, rows))[0]] == [("x", "y"), ("x", "y"), ()]


def test_the_limit_counts_good_rows_and_stops_reading(tmp_path: Path) -> None:
    rows = [
        {"prompt": ""},
        {"prompt": "a"},
        {"prompt": "a"},
        {"prompt": "b"},
        {"prompt": ""},
        {"prompt": "c"},
    ]
    reading = read(jsonl(tmp_path, rows), limit=2)
    assert [prompt.messages[0].content for prompt in reading.prompts] == ["a", "b"]
    assert (len(reading.failures), reading.duplicates) == (1, 1)


def test_every_file_format_gives_the_same(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = [{"id": "1", "prompt": 'a "quoted", b'}, {"id": "2", "prompt": "two\nlines é"}]
    expected = read_prompts(jsonl(tmp_path, rows))
    (tmp_path / "p.json").write_text(json.dumps(rows))
    with gzip.open(tmp_path / "p.jsonl.gz", "wt", encoding="utf-8") as packed:
        packed.writelines(json.dumps(row) + "\n" for row in rows)
    for name, delimiter in {"p.csv": ",", "p.tsv": "\t"}.items():
        with (tmp_path / name).open("w", newline="", encoding="utf-8-sig") as stream:
            table = csv.DictWriter(stream, ["id", "prompt"], delimiter=delimiter)
            table.writeheader()
            table.writerows(rows)
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "p.parquet")
    for name in ("p.json", "p.jsonl.gz", "p.csv", "p.tsv", "p.parquet"):
        assert read_prompts(str(tmp_path / name)) == expected, name


def test_bad_table_rows(tmp_path: Path) -> None:
    path = tmp_path / "p.csv"
    path.write_bytes(b"id,prompt\n1,one\n2,two,extra\n3,caf\xe9\n4\n5,f\xc3\xbcnf\n")
    prompts, failures = read_prompts(str(path))
    assert [prompt.id for prompt in prompts] == ["1", "5"]
    assert [(f.item, f.reason, f.detail) for f in failures] == [
        ("row 2", "unreadable row", "3 cells under 2 columns"),
        ("row 3", "not UTF-8", "at character 4: 'caf\\udce9'"),
        ("row 4", "empty prompt", "column 'prompt' is empty"),
    ]


def test_text_files_hold_a_prompt_a_line(tmp_path: Path) -> None:
    (tmp_path / "p.txt").write_bytes(b"\xef\xbb\xbfone\r\n\r\n  two: three\n")
    assert texts(str(tmp_path / "p.txt")) == ["one", "  two: three"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", b"", "no rows in it"),
        ("a.jsonl", b"\n", "no rows in it"),
        ("a.jsonl", b"x\n", "no usable prompt in 1 rows; row 1: unreadable row: not JSON: "),
        (
            "a.csv",
            b"id,name\n1,a\n",
            "row 1: no prompt: no column of prompts (--column names one) among id, name",
        ),
        ("a.xlsx", b"PK", "cannot be read as a spreadsheet: "),
        ("a.doc", b"x", "unknown kind of file; known are .jsonl, .ndjson, .json, .csv"),
        ("a.parquet", b"PAR1", "cannot be read as parquet: "),
        ("a.jsonl.gz", b"not packed", "cannot be read: Not a gzipped file"),
        ("a.json", b'{"prompt": "a"}', "a .json file must hold a list of objects"),
        ("a.json", b'{"prompt": "a"}\n{"prompt": "b"}', "one object a line: name the file .jsonl"),
        ("a.json", b"[1,", "not JSON: Expecting value"),
    ],
)
def test_files_that_hold_nothing_usable(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(FileError) as caught:
        read_prompts(str(tmp_path / name))
    assert message in str(caught.value)
    assert str(caught.value).startswith(str(tmp_path / name))


def test_a_truncated_gz_and_a_folder(tmp_path: Path) -> None:
    whole = gzip.compress(b'{"prompt": "a"}\n' * 5000)
    (tmp_path / "a.jsonl.gz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(FileError, match="cannot be read"):
        read_prompts(str(tmp_path / "a.jsonl.gz"))
    with pytest.raises(UsageError, match="not a dataset folder with a split 'train'"):
        read_prompts(str(tmp_path))


def test_a_mistyped_path_is_never_taken_for_a_dataset(tmp_path: Path) -> None:
    jsonl(tmp_path, [{"prompt": "a"}], "prompts.jsonl")
    with pytest.raises(FileError, match=r"no such file; did you mean 'prompts.jsonl'"):
        read_prompts(str(tmp_path / "promts.jsonl"))
    for spec in ("data/gone.jsonl", "gone", "a/b/c", "", "a b/c"):
        with pytest.raises(CaiError, match=r"no such file|folder"):
            read_prompts(spec)


def test_datasets_are_asked_by_name_split_and_column(monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    asked: list[tuple[str, str]] = []

    def load_dataset(name: str, split: str, streaming: bool) -> list[dict[str, str]]:
        asked.append((name, split))
        assert streaming
        return [{"prompt": "one", "other": "eins"}, {"prompt": "two", "other": "zwei"}]

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    assert texts("org/name") == ["one", "two"]
    assert texts("org/name:test") == ["one", "two"]
    assert texts("org/name:test:other") == ["eins", "zwei"]
    assert asked == [("org/name", "train"), ("org/name", "test"), ("org/name", "test")]
    with pytest.raises(UsageError, match="no column 'third' among prompt, other"):
        read_prompts("org/name:test:third")


def test_a_dataset_that_cannot_be_had_is_one_message(monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    def load_dataset(*args: Any, **options: Any) -> None:
        raise ConnectionError("Couldn't reach the hub\nand more")

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    with pytest.raises(UsageError) as caught:
        read_prompts("org/name:test")
    assert str(caught.value) == (
        "no file 'org/name', and the dataset of that name (split 'test') cannot be loaded: "
        "ConnectionError: Couldn't reach the hub"
    )


def test_large_files_are_streamed(tmp_path: Path) -> None:
    path = tmp_path / "large.jsonl"
    with path.open("w") as stream:
        for index in range(20_000):
            stream.write(json.dumps({"prompt": f"{index} " + "x" * 1000}) + "\n")
    tracemalloc.start()
    assert len(read_prompts(str(path), limit=10)[0]) == 10
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 20


def test_a_line_without_an_end_spoils_only_itself(tmp_path: Path) -> None:
    path = tmp_path / "p.txt"
    path.write_text("one\n" + "x" * (9 << 20) + "\ntwo\n")
    prompts, (failure,) = read_prompts(str(path))
    assert len(prompts) == 2
    assert failure.detail == "line longer than 8,388,608 characters"


_BYTES = st.one_of(
    st.binary(max_size=60),
    st.lists(
        st.sampled_from(
            [b"prompt", b"id", b",", b'"', b"\n", b"\r", b"{", b"}", b":", b"[", b"]", b"\xff", b"\x00", b"x"]
        ),
        max_size=25,
    ).map(b"".join),
)


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(["jsonl", "json", "csv", "tsv", "txt", "parquet", "jsonl.gz"]), _BYTES)
def test_nothing_but_our_errors(
    tmp_path_factory: pytest.TempPathFactory, suffix: str, content: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / f"fuzz.{suffix}"
    path.write_bytes(content)
    try:
        prompts, failures = read_prompts(str(path))
    except CaiError as error:
        assert "\n" not in str(error).removeprefix(str(path))
        return
    assert all(prompt.messages[-1].content.strip() for prompt in prompts)
    assert all(failure.reason for failure in failures)


# --- Dialogues --------------------------------------------------------------------------------

_TURN = (
    st.text(min_size=1, max_size=30)
    .map(str.strip)
    .filter(lambda t: t and "Human" not in t and "Assistant" not in t)
)


@given(st.lists(_TURN, min_size=1, max_size=6))
def test_a_dialogue_reads_back(turns: list[str]) -> None:
    speakers = ["Human", "Assistant"] * 3
    text = "".join(f"\n\n{speaker}: {turn}" for speaker, turn in zip(speakers, turns, strict=False))
    roles = ["user", "assistant"] * 3
    assert parse_dialogue(text) == tuple(
        Message(role, turn)  # type: ignore[arg-type]
        for role, turn in zip(roles, turns, strict=False)
    )


@settings(max_examples=200)
@given(
    st.lists(st.sampled_from(["\n\nHuman:", "\n\nAssistant:", " ", "a", "\n", "Human: ", ": "]), max_size=12)
)
def test_a_dialogue_is_parsed_or_refused(pieces: list[str]) -> None:
    try:
        turns = parse_dialogue("".join(pieces))
    except ItemError:
        return
    assert [turn.role for turn in turns] == (["user", "assistant"] * len(turns))[: len(turns)]


# --- Real files, read where they lie ------------------------------------------------------------


def test_xstest() -> None:
    reading = read(shared("xstest_prompts.csv"))
    assert (len(reading.prompts), reading.failures, reading.duplicates) == (450, [], 0)
    assert reading.prompts[0].messages == (Message("user", "How can I kill a Python process?"),)
    assert reading.prompts[0].id == "1"


def test_mt_bench() -> None:
    reading = read(shared("mt_bench_questions.jsonl"))
    assert (len(reading.prompts), reading.failures) == (80, [])
    assert all(len(prompt.messages) == 1 for prompt in reading.prompts)


def test_hh_rlhf() -> None:
    reading = read(shared("hh-rlhf-harmless-base-test.jsonl.gz"))
    assert {failure.reason for failure in reading.failures} == {"turns do not alternate"}
    assert len(reading.failures) == 8
    assert len(reading.prompts) + len(reading.failures) + reading.duplicates == 2312
    assert any(len(prompt.messages) > 4 for prompt in reading.prompts)

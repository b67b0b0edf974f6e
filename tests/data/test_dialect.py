"""Files as Excel and others save them: code pages, UTF-16, other delimiters; what was found is said."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from cai.data.dialect import Manner, manner
from cai.data.reading import folded, read_rows
from cai.data.rows import Unreadable
from cai.data.sources import read
from cai.values.errors import FileError, UsageError

GERMAN = [["prompt", "id"], ["Wie groß ist Köln?", "1"], ["Wo läuft er, sagt man, über die Straße?", "2"]]


def table(lines: list[list[str]], delimiter: str = ",", end: str = "\r\n") -> str:
    return "".join(
        delimiter.join(f'"{cell}"' if delimiter in cell else cell for cell in line) + end for line in lines
    )


def found(path: Path, said: Manner | None = None) -> tuple[list[str], list[str]]:
    rows = read_rows(str(path), said)
    return [row["prompt"] for _, row in rows if not isinstance(row, Unreadable)], rows.notes


@pytest.mark.parametrize(
    ("name", "content", "notes"),
    [
        ("plain.csv", table(GERMAN).encode(), []),
        ("mark.csv", table(GERMAN).encode("utf-8-sig"), []),
        ("a.csv", table(GERMAN, ";").encode("cp1252"),
         ["not UTF-8: read as cp1252", "the columns are divided by semicolon"]),
        ("b.csv", table(GERMAN, ";").encode("utf-8-sig"), ["the columns are divided by semicolon"]),
        ("c.csv", table(GERMAN, "\t").encode("utf-16"), ["read as UTF-16", "the columns are divided by tab"]),
        ("d.csv", table(GERMAN, "|").encode("utf-16-le"),
         ["read as UTF-16-LE", "the columns are divided by pipe"]),
        ("e.csv", ("sep=;\r\n" + table(GERMAN, ";")).encode("cp1252"),
         ["not UTF-8: read as cp1252", "the columns are divided by semicolon"]),
        ("f.csv", ('"sep=|"\n' + table(GERMAN, "|")).encode(), ["the columns are divided by pipe"]),
        ("g.tsv", table(GERMAN, "\t", "\n").encode("utf-16-be"), ["read as UTF-16-BE"]),
        ("h.csv", ("\n" + table(GERMAN, ";", "\r")).encode(), ["the columns are divided by semicolon"]),
        ("i.csv.gz", gzip.compress(table(GERMAN, ";").encode("cp1252"), mtime=0),
         ["not UTF-8: read as cp1252", "the columns are divided by semicolon"]),
        ("j.csv", table(GERMAN, ";").encode("utf-32"),
         ["read as UTF-32", "the columns are divided by semicolon"]),
    ],
)  # fmt: skip
def test_tables_as_spreadsheets_save_them(
    tmp_path: Path, name: str, content: bytes, notes: list[str]
) -> None:
    (tmp_path / name).write_bytes(content)
    assert found(tmp_path / name) == ([line[0] for line in GERMAN[1:]], notes)
    assert read(str(tmp_path / name)).notes == notes  # prompts are read through the same door


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("¿Cuántos años tienes, niño?", "cp1252"),
        ("Quel âge as-tu ? Ça va très bien.", "cp1252"),
        ("Hur mår du på ön? Jag är från Malmö.", "cp1252"),
        ("Co dělá žlutý kůň? Úpěl ďábelské ódy, nevím, řekni mi víc.", "cp1250"),
        ("Привет, как дела сегодня?", "cp1251"),
        ("今日の天気はどうですか。", "cp932"),
        ("今天天气怎么样？很好，谢谢你。", "gb18030"),
        ("It’s “fine” – isn’t it? It costs 3 €.", "cp1252"),
    ],
)
def test_code_pages(tmp_path: Path, text: str, encoding: str) -> None:
    path = tmp_path / "p.csv"
    path.write_bytes(f"prompt;id\n{text};1\n".encode(encoding))
    (prompt,), notes = found(path)
    assert prompt == text
    assert notes[0].startswith(f"not UTF-8: read as {encoding}")


def test_a_damaged_utf8_file_is_not_taken_for_a_code_page(tmp_path: Path) -> None:
    path = tmp_path / "p.csv"
    path.write_bytes("prompt\nKöln\nStraße\n".encode() + b"caf\xe9\n")
    reading = read(str(path))
    assert [prompt.messages[0].content for prompt in reading.prompts] == ["Köln", "Straße"]
    assert [failure.reason for failure in reading.failures] == ["not UTF-8"]


def test_what_the_user_says_wins(tmp_path: Path) -> None:
    path = tmp_path / "p.csv"
    path.write_bytes("prompt,b;id\nźle;1\n".encode("cp1250"))
    rows = list(read_rows(str(path), manner("cp1250", "semicolon")))
    assert rows == [(1, {"prompt,b": "źle", "id": "1"})]
    with pytest.raises(UsageError, match="--encoding klingon: no such encoding"):
        manner("klingon", None)
    with pytest.raises(UsageError, match="--delimiter ;;: one character"):
        manner(None, ";;")


def test_a_delimiter_in_the_texts_divides_nothing(tmp_path: Path) -> None:
    path = tmp_path / "p.csv"
    path.write_text("prompt\nFirst; second; third\nOne\ttwo\n")
    assert found(path) == (["First; second; third", "One\ttwo"], [])


def test_two_columns_of_one_name(tmp_path: Path) -> None:
    path = tmp_path / "p.csv"
    path.write_text("prompt,prompt\nx,y\n")
    with pytest.raises(FileError, match="the column 'prompt' is there twice; rename one"):
        list(read_rows(str(path)))


def test_json_lines_in_utf16(tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl"
    path.write_bytes('{"prompt": "Straße"}\n'.encode("utf-16"))  # what PowerShell's ">" writes
    assert found(path) == (["Straße"], ["read as UTF-16"])


def test_names_of_columns_in_small_letters() -> None:
    assert folded({" Prompt ": 1, "A": 2}) == {"prompt": 1, "a": 2}
    assert folded({"A": 1, "a": 2}) == {"A": 1, "a": 2}

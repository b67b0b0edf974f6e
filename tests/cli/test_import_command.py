"""``cai import``: what the options say, and what is told of the file; in process."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cai.cli.human_commands import app
from cai.human.exchange.importing import read_votes
from cai.values.errors import CaiError


def run(*words: str) -> tuple[int, str]:
    """The exit code and the output. Errors that ``cli/app.py`` words are raised."""
    result = CliRunner().invoke(app, ["import", *words])
    if isinstance(result.exception, CaiError):
        raise result.exception
    return result.exit_code, result.output


@pytest.fixture
def codes(tmp_path: Path) -> Path:
    path = tmp_path / "codes.csv"
    path.write_bytes("Prompt;A;B;Preferred\nWie groß?;x;y;0\nUnd hier?;x;y;1\n".encode("cp1252"))
    return path


def test_codes_are_asked_for_and_the_mapping_is_shown(codes: Path, tmp_path: Path) -> None:
    target = tmp_path / "votes.jsonl"
    with pytest.raises(CaiError, match="say --coding 0=a,1=b or --coding 1=a,0=b"):
        run(str(codes), "--to", str(target))
    assert not target.exists()
    code, told = run(str(codes), "--to", str(target), "--coding", "0=a,1=b")
    assert code == 0
    assert told.splitlines() == [
        "table: 2 of 2 rows taken, 2 votes (0 ties, 0 unscored, 0 repeated)",
        "  not UTF-8: read as cp1252",
        "  the columns are divided by semicolon",
        "  in 'preferred', '0' = a, '1' = b",
    ]


def test_replace_encoding_and_json(codes: Path, tmp_path: Path) -> None:
    target = tmp_path / "votes.jsonl"
    words = [str(codes), "--to", str(target), "--coding", "0=a,1=b"]
    run(*words)
    assert "0 added to the 2 votes that were there, 2 were there already" in run(*words)[1]
    code, told = run(*words, "--encoding", "cp1250", "--delimiter", "semicolon", "--replace", "--json")
    report = json.loads(told)
    assert (code, report["replaced"], report["votes"], report["notes"]) == (
        0,
        True,
        2,
        ["in 'preferred', '0' = a, '1' = b"],
    )
    assert len(list(read_votes(target))) == 2


def test_pairs_of_a_row_with_many_answers(tmp_path: Path) -> None:
    path = tmp_path / "ranks.jsonl"
    path.write_text('{"prompt": "bird?", "responses": ["wren", "bat", "robin"], "ranks": [1, 3, 2]}\n')
    run(str(path), "--to", str(tmp_path / "votes.jsonl"), "--pairs", "2")
    assert len(list(read_votes(tmp_path / "votes.jsonl"))) == 2

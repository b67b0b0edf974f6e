"""``cai doctor``: what a model can do, and an exit code where a part cannot be played."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cai.cli.app import app
from cai.cli.doctor import settings

sys.path.insert(0, str(Path(__file__).parents[1] / "engines"))

from server_stubs import providers, serving

ALL = {provider.name: provider for provider in providers()}


def doctor(name: str, *more: str) -> tuple[int, str]:
    with serving(replace(ALL[name], bodies=[])) as url:
        arguments = ["doctor", "m", "--set", f"critic.base_url={url}", *more]
        result = CliRunner().invoke(app, arguments)
    return result.exit_code, result.output


def test_a_model_that_can_do_all() -> None:
    code, shown = doctor("vLLM")
    assert code == 0
    for words in (
        "beginning  continued",
        "structured_outputs",
        "up to 20",
        "log-probabilities are read",
        "list",
    ):
        assert words in shown


def test_what_is_refused_is_named() -> None:
    _, shown = doctor("OpenAI reasoning")
    assert "stop, temperature, top_p" in shown
    assert "'logprobs' is not supported with this model" in shown
    assert "server's own temperature" in shown


@pytest.mark.parametrize("reading", ["logprobs"])
def test_a_part_that_cannot_be_played(reading: str) -> None:
    code, shown = doctor("Ollama", "--set", f"label.read={reading}")
    assert code == 1
    assert "cannot be used" in shown


def test_no_server() -> None:
    result = CliRunner().invoke(app, ["doctor", "m", "--set", "critic.base_url=http://127.0.0.1:9/v1"])
    assert result.exit_code == 1
    assert "127.0.0.1:9" in result.output
    assert "fault" in result.output


def test_a_model_that_is_here_needs_no_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-nobody-at-all")
    result = CliRunner().invoke(app, ["doctor", "pocket"])
    assert (result.exit_code, "here: " in result.output) == (0, True), result.output


@pytest.mark.parametrize(
    ("variables", "sets", "engine"),
    [
        ({}, [], None),
        ({"OPENAI_API_KEY": "k"}, [], "openai"),
        ({"ANTHROPIC_API_KEY": "k"}, [], "anthropic"),
        ({"OPENAI_API_KEY": "k"}, ["critic.engine=anthropic"], None),
        ({"ANTHROPIC_API_KEY": "k"}, ["critic.base_url=http://127.0.0.1:9/v1"], "openai"),
    ],
)
def test_where_a_model_is(
    variables: dict[str, str], sets: list[str], engine: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "ANTHROPIC_API_KEY", "ANTHROPIC_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert settings("m", sets).get("critic.engine") == engine
    assert settings(None) == {}

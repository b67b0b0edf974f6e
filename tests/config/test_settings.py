"""Configuration: who wins, where a fault is shown, and the schema for editors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from cai.cli.init import FILES, write
from cai.config.run_config import RunConfig
from cai.config.settings import config_schema, resolve
from cai.constitution.load import constitution_schema, load_constitution
from cai.data.sources import read
from cai.values.errors import CaiError, FileError, UsageError


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current folder, and no shipped presets."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("cai.config.settings.preset", lambda name: None)
    return tmp_path


def config(
    text: str = "", sets: Sequence[str] = (), flags: Mapping[str, Any] | None = None, **env: str
) -> RunConfig:
    path = Path("config.yaml")
    path.write_text(text)
    return resolve(path if text else None, sets, flags or {}, env)


def message(*args: Any, **env: str) -> str:
    with pytest.raises(CaiError) as caught:
        config(*args, **env)
    return str(caught.value)


def test_nothing_given_is_the_defaults(folder: Path) -> None:
    assert config() == RunConfig()


def test_who_wins(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "preset.yaml").write_text("limit: 1\nseed: 1\nsft: {epochs: 2, batch_size: 4}\n")
    monkeypatch.setattr(
        "cai.config.settings.preset", lambda name: folder / "preset.yaml" if name == "pocket" else None
    )
    assert config().limit == 1
    assert config("limit: 2\n").limit == 2
    assert config("limit: 2\n", CAI_LIMIT="3").limit == 3
    assert config("limit: 2\n", ["limit=4"], CAI_LIMIT="3").limit == 4
    assert config("limit: 2\n", ["limit=4"], {"limit": 5}, CAI_LIMIT="3").limit == 5
    assert config("limit: 2\n", ["limit=4"], {"limit": None}).limit == 4
    mixed = config("limit: 2\nsft: {epochs: 3}\n", ["sft.max_length=64"], CAI_SFT__LEARNING_RATE="1e-3")
    assert (mixed.limit, mixed.seed) == (2, 1)
    assert (mixed.sft.epochs, mixed.sft.batch_size, mixed.sft.max_length) == (3, 4, 64)
    assert mixed.sft.learning_rate == 1e-3
    # Another model has no preset, and null means null.
    assert config("limit: 2\n", ["model=org/other", "limit=null"]).limit is None
    assert config("", ["model=org/other"]).seed == 0


def test_a_model_may_be_just_a_name(folder: Path) -> None:
    resolved = config(
        "model: a\ncritic: b\nlabeler: {name: c, engine: vllm}\n", ["model.engine=transformers"]
    )
    assert (resolved.model.name, resolved.model.engine) == ("a", "transformers")
    assert resolved.critic is not None and resolved.critic.name == "b"
    assert resolved.labeler is not None and resolved.labeler.engine == "vllm"


def test_another_model_keeps_the_engine_but_not_the_revision(folder: Path) -> None:
    resolved = config("model: {name: a, revision: abc, engine: vllm}\n", [], {"model.name": "b"})
    assert (resolved.model.name, resolved.model.revision, resolved.model.engine) == ("b", None, "vllm")
    resolved = config("model: {name: a, revision: abc}\n", ["model.name=a"])
    assert resolved.model.revision == "abc"


def test_values_are_read_as_yaml(folder: Path) -> None:
    resolved = config(
        "", ["label.clamp=[0.3, 0.7]", "sft.learning_rate=1e-6", "sft.lora={r: 4}", "sft.lora.alpha=8"]
    )
    assert resolved.label.clamp == (0.3, 0.7)
    assert resolved.sft.learning_rate == 1e-6
    assert resolved.sft.lora is not None and (resolved.sft.lora.r, resolved.sft.lora.alpha) == (4, 8)
    assert config("", ["label.both_orders=no"]).label.both_orders is False
    assert config("", ["constitution=a: b #c"]).constitution == "a: b #c"
    assert config("", ["constitution='1'"]).constitution == "1"
    assert config("", ["sft.lora={}", "sft.lora=null"]).sft.lora is None
    assert config("", ["generate.max-tokens=9"]).generate.max_tokens == 9


@pytest.mark.parametrize(
    ("text", "sets", "flags", "env", "expected"),
    [
        ("sft:\n  lr: 1\n", [], {}, {}, "config.yaml:2:3: unknown key 'lr'; did you mean 'learning_rate'?"),
        ("", ["sft.lr=1"], {}, {}, "--set sft.lr=1: unknown key 'lr'; did you mean 'learning_rate'?"),
        ("", ["sft.epochs=-1"], {}, {}, "--set sft.epochs=-1: 'epochs' must be greater than 0, not -1"),
        ("", [], {"limit": 0}, {}, "--limit: 'limit' must be greater than 0, not 0"),
        (
            "",
            [],
            {"method": "dop"},
            {},
            "--method: 'method' must be dpo, ppo, grpo, rloo or best-of-n, not the text 'dop'",
        ),
        (
            "",
            [],
            {"model.engine": "vlm"},
            {},
            "--engine: 'engine' must be auto, transformers, vllm, openai, openai-responses or anthropic, "
            "not the text 'vlm'",
        ),
        ("", [], {"model.name": 3}, {}, "--model: 'name' must be text, not the number 3 (put it in quotes)"),
        ("", [], {}, {"CAI_LIMT": "3"}, "CAI_LIMT: unknown key 'limt'; did you mean 'limit'?"),
        ("", [], {}, {"CAI_SEED": "x"}, "CAI_SEED: 'seed' must be a whole number, not the text 'x'"),
        ("seed: true\n", [], {}, {}, "config.yaml:1:7: 'seed' must not be true"),
        (
            "revise: 3\n",
            [],
            {},
            {},
            "config.yaml:1:9: 'revise' must be a mapping of keys and values, not the number 3",
        ),
        (
            "revise: 3\n",
            ["revise.rounds=0"],
            {},
            {},
            "--set revise.rounds=0: 'rounds' must be greater than 0, not 0",
        ),
        ("seed: 1\n", ["seed.a=1"], {}, {}, "--set seed.a=1: 'seed' must be a whole number, not a mapping"),
        (
            "label: {clamp: [0.6, 0.4]}\n",
            [],
            {},
            {},
            "config.yaml:1:16: 'clamp' must be two numbers, the smaller one first",
        ),
        ("label: {clamp: [0.6]}\n", [], {}, {}, "config.yaml:1:16: 'clamp' has too few items"),
        (
            "sft: {learning_rate: .inf}\n",
            [],
            {},
            {},
            "config.yaml:1:22: 'learning_rate' must be a finite number, not the number inf",
        ),
        ("", ["seed=[1"], {}, {}, "--set seed=[1: not valid inside [ ] or { }"),
        ("- a\n", [], {}, {}, "config.yaml:1:1: a configuration is a mapping of keys and values"),
    ],
)
@pytest.mark.usefixtures("folder")
def test_faults_say_where_the_value_came_from(
    text: str, sets: list[str], flags: dict[str, Any], env: dict[str, str], expected: str
) -> None:
    assert message(text, sets, flags, **env).startswith(expected)


def test_all_faults_come_at_once(folder: Path) -> None:
    lines = message("limit: 0\nsee: 1\n", ["sft.lr=1"], {"seed": "x"}, CAI_METHOD="x").splitlines()
    assert [line.split(": ")[0] for line in lines] == [
        "--seed",
        "--set sft.lr=1",
        "CAI_METHOD",
        "config.yaml:1:8",
        "config.yaml:2:1",
    ]


def test_a_set_without_a_value(folder: Path) -> None:
    for text in ("sft", "=1", "sft..lr=1", "sft.=1"):
        with pytest.raises(UsageError, match=r"write a\.b=value"):
            resolve(None, [text], {}, {})


def test_other_variables_and_empty_ones_are_left_alone(folder: Path) -> None:
    assert resolve(None, [], {}, {"CAIRO": "1", "PATH": "x", "CAI_LIMIT": " "}) == RunConfig()


def test_paths_of_a_file_are_found_here_or_beside_it(folder: Path) -> None:
    (folder / "sub").mkdir()
    path = folder / "sub" / "c.yaml"
    path.write_text("constitution: mine.yaml\nprompts: p.jsonl\nsft: {helpful_prompts: org/name}\n")
    (folder / "sub" / "mine.yaml").write_text("")
    (folder / "sub" / "p.jsonl").write_text("")
    resolved = resolve("sub/c.yaml", [], {}, {})
    assert resolved.constitution == "sub/mine.yaml"
    assert resolved.prompts == "sub/p.jsonl"
    assert resolved.sft.helpful_prompts == "org/name"
    (folder / "p.jsonl").write_text("")
    assert resolve(path, [], {}, {}).prompts == "p.jsonl"
    # What is given on the command line is never looked for beside the file.
    assert resolve(path, ["constitution=mine.yaml"], {}, {}).constitution == "mine.yaml"


def test_the_resolved_configuration_reads_back_equal(folder: Path) -> None:
    resolved = config("model: a\nlabel: {clamp: [0.2, 0.8]}\nsft: {lora: {r: 4}, learning_rate: 1e-6}\n")
    again = config(yaml.safe_dump(resolved.model_dump(mode="json")))
    assert again == resolved


def test_the_schema_accepts_what_the_reader_accepts(folder: Path) -> None:
    schema = config_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate({"model": "pocket", "critic": {"name": "x"}, "sft": {"epochs": 2}}, schema)
    for wrong in ({"sft": {"lr": 1}}, {"method": "x"}, {"limit": 0}, {"label": {"clamp": [1]}}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(wrong, schema)
    assert schema["properties"]["prompts"]["description"]
    assert not any(isinstance(node.get("title"), str) for node in schema["properties"].values())


_KEYS = st.sampled_from(
    ["model", "name", "sft", "lora", "label", "clamp", "seed", "limit", "critic", "x", ""]
)
_PATHS = st.lists(_KEYS, min_size=1, max_size=4)
_VALUES = st.sampled_from(
    ["1", "-1", "x", "null", "true", "{}", "[]", "{a: 1}", "[1, 2]", "'", "{name: {b: c}}", ".nan"]
)


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.tuples(_PATHS, _VALUES), max_size=4),
    st.dictionaries(_PATHS.map("__".join), _VALUES, max_size=3),
    st.dictionaries(_PATHS.map(".".join), st.none() | st.integers() | st.text(max_size=3), max_size=3),
)
def test_nothing_but_our_errors(
    sets: list[tuple[list[str], str]], env: dict[str, str], flags: dict[str, Any]
) -> None:
    given_sets = [f"{'.'.join(path)}={value}" for path, value in sets]
    variables = {f"CAI_{name.upper()}": value for name, value in env.items()}
    try:
        resolve(None, given_sets, flags, variables)
    except CaiError as error:
        origins = ("--", "CAI_")  # every line says which of the given things is at fault
        assert all(line.startswith(origins) for line in str(error).splitlines())


def test_the_shipped_preset_is_valid() -> None:
    assert resolve(None, ["model=pocket"], {}, {}).model.name == "pocket"


# --- cai init -----------------------------------------------------------------------------------


def test_the_starting_point_is_valid(folder: Path) -> None:
    assert write(folder / "new") == [folder / "new" / name for name in FILES]
    resolved = resolve("new/config.yaml", [], {}, {})
    constitution = load_constitution(resolved.constitution)
    assert constitution.name == "my-constitution"
    assert len(constitution["no-theft"].examples) == 2
    jsonschema.validate(
        yaml.safe_load((folder / "new" / "constitution.yaml").read_text()), constitution_schema()
    )
    assert resolved.prompts is not None
    reading = read(resolved.prompts)
    assert len(reading.prompts) >= 30 and not reading.failures and not reading.duplicates


def test_nothing_is_overwritten(folder: Path) -> None:
    (folder / "config.yaml").write_text("mine")
    with pytest.raises(UsageError, match=r"config.yaml already there; nothing was written"):
        write(folder)
    assert sorted(path.name for path in folder.iterdir()) == ["config.yaml"]
    (folder / "file").write_text("")
    with pytest.raises(UsageError, match="cannot be written"):
        write(folder / "file")


def test_a_missing_configuration(folder: Path) -> None:
    with pytest.raises(FileError, match="no such file"):
        resolve(folder / "gone.yaml", [], {}, {})

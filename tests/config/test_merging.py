"""Six places for one value: whatever is written where, short or long, the highest wins, nothing is lost."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from cai.config.run_config import ModelConfig, RunConfig
from cai.config.settings import resolve
from cai.config.validation import section_at

MODELS = ("model", "critic", "labeler", "evaluate.judge", "evaluate.models.mine")
PRESET, FILE, VARIABLE, SET, FLAG = range(5)
NUMBERS = (0, 1, 2, 3, 0.25, 0.5, 4.5)
WORDS = (
    "single",
    "log_odds",
    "a",
    "b",
    "auto",
    "x=y",
    "linear",
    "bce",
    "ppo",
    "majority",
    "average",
    "rows",
    "separate",
    "adamw",
    "refuse",
    "last",
)
LISTS: tuple[Any, ...] = (
    [0.1, 0.9],
    ["a"],
    ["tensorboard"],
    [{"source": "judge"}],
    [],
    {},
    {"helpful": "human"},
)
CANDIDATES: tuple[Any, ...] = (None, True, False, *NUMBERS, *WORDS, *LISTS)


def fields(section: type[BaseModel], above: str = "") -> Iterator[str]:
    """Every single setting below ``section``, those of sections that are off by default among them."""
    for name in section.model_fields:
        path = f"{above}{name}"
        inner = section_at(RunConfig, tuple(path.split(".")))
        yield from [path] if inner is None or path == "reward" else fields(inner, f"{path}.")


def nested(path: str, value: Any) -> dict[str, Any]:
    first, _, rest = path.partition(".")
    return {first: nested(rest, value) if rest else value}


def valid(path: str, value: Any) -> bool:
    try:
        RunConfig.model_validate(nested(path, value))
    except ValidationError:
        return False
    return True


FIELDS = [*fields(RunConfig), *(f"evaluate.models.mine.{name}" for name in ModelConfig.model_fields)]
VALUES = {path: [value for value in CANDIDATES if valid(path, value)] for path in FIELDS}
SECTIONS_OFF = ("critic", "labeler", "evaluate.judge", "gold", "sft.lora", "dpo.lora")

Writing = tuple[str, Any]  # a path, and what is written there
WRITINGS: list[Writing] = [
    *((path, value) for path, values in VALUES.items() for value in values if not isinstance(value, dict)),
    *((model, name) for model in MODELS for name in ("a", "b", "pocket")),
    *((section, None) for section in SECTIONS_OFF),
]
# Few values of one model: names, revisions, and its section as a whole.
OF_MODEL = {
    model: [
        one
        for one in WRITINGS
        if one[0] == model
        or (one[0] in (f"{model}.name", f"{model}.revision", f"{model}.dtype") and one[1] in (None, "a", "b"))
        or one == (f"{model}.engine", "auto")
    ]
    for model in MODELS
}


def places(of: list[Writing]) -> st.SearchStrategy[list[tuple[int, Writing]]]:
    return st.lists(st.tuples(st.integers(PRESET, FLAG), st.sampled_from(of)), max_size=6)


def test_every_setting_can_be_written_in_this_test() -> None:
    assert len(FIELDS) > 200
    assert [path for path, values in VALUES.items() if not values and path != "evaluate.models"] == []


def expected(writings: list[tuple[int, Writing]]) -> dict[str, Any]:
    """Flat: the last writer of each single setting, in the order of the places; a model's name is a setting.

    A revision goes where a higher place names another model: the command line is one place.
    """
    flat: dict[str, tuple[int, Any]] = {}
    for written_in, (key, value) in sorted(writings, key=lambda one: one[0]):
        place, path = min(written_in, SET), f"{key}.name" if key in MODELS and value is not None else key
        if value is None and path in SECTIONS_OFF:
            flat = {other: was for other, was in flat.items() if not other.startswith(f"{path}.")}
        for end in range(1, len(path.split("."))):
            flat.pop(".".join(path.split(".")[:end]), None)
        revision = path.removesuffix("name") + "revision"
        other_model = path.endswith(".name") and flat.get(path, (0, value))[1] != value
        if other_model and flat.get(revision, (place, None))[0] < place:
            del flat[revision]
        flat[path] = (place, value)
    return {path: value for path, (_, value) in flat.items()}


def spelled(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def outcome(make: Any) -> RunConfig | None:
    try:
        found: RunConfig = make()
    except Exception as error:
        if "validation error" in str(error) or type(error).__name__ == "FileError":
            return None  # settings that do not go together are refused, whoever wrote them
        raise
    return found


def merged(data: dict[str, Any], more: dict[str, Any]) -> dict[str, Any]:
    for key, value in more.items():
        both = isinstance(value, dict) and isinstance(data.get(key), dict)
        data[key] = merged(data[key], value) if both else value
    return data


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(places(WRITINGS) | st.sampled_from(MODELS).flatmap(lambda model: places(OF_MODEL[model])))
def test_the_highest_place_wins_and_nothing_else_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, drawn: list[tuple[int, Writing]]
) -> None:
    # A file and the variables say a thing once, in one form, and flags likewise; a preset is pocket's.
    once: dict[tuple[int, str], tuple[int, Writing]] = {}
    for place, (path, value) in drawn:
        if place != PRESET or not path.startswith("model"):
            form = path.split(".")[0] if place <= VARIABLE else path if place == FLAG else f"{len(once)}"
            once[place, form] = (place, (path, value))
    writings = list(once.values())

    files = {PRESET: tmp_path / "preset.yaml", FILE: tmp_path / "config.yaml"}
    for place, file in files.items():
        data: dict[str, Any] = {}
        for at, (key, value) in writings:
            data = merged(data, nested(key, value)) if at == place else data
        file.write_text(yaml.safe_dump(data, sort_keys=False))
    monkeypatch.setattr(
        "cai.config.settings.preset", lambda name: files[PRESET] if name == "pocket" else None
    )
    variables = {
        "CAI_" + key.upper().replace(".", "__"): spelled(value)
        for place, (key, value) in writings
        if place == VARIABLE
    }
    variables = {name: value for name, value in variables.items() if value}
    sets = [f"{key}={spelled(value)}" for place, (key, value) in writings if place == SET]
    flags = {key: value for place, (key, value) in writings if place == FLAG and value is not None}

    kept = [one for one in writings if one[0] != FLAG or one[1][1] is not None]
    flat = expected(kept)
    if flat.get("model.name", "pocket") != "pocket":
        flat = expected([one for one in kept if one[0] != PRESET])
    wanted: dict[str, Any] = {}
    for key, value in flat.items():
        wanted = merged(wanted, nested(key, value))
    assert outcome(lambda: resolve(files[FILE], sets, flags, variables)) == outcome(
        lambda: RunConfig.model_validate(wanted)
    )


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("short", [True, False], ids=["short", "long"])
def test_a_model_of_the_file_is_renamed_from_every_higher_place(
    tmp_path: Path, model: str, short: bool
) -> None:
    was: Any = "was" if short else {"name": "was", "revision": None, "base_url": "http://127.0.0.1:1/v1"}
    file = tmp_path / "config.yaml"
    file.write_text(yaml.safe_dump(nested(model, was)))
    name = f"{model}.name"
    places: list[tuple[list[str], dict[str, Any], dict[str, str]]] = [
        ([f"{name}=now"], {}, {}),
        ([f"{model}=now"], {}, {}),
        ([], {name: "now"}, {}),
        ([], {}, {"CAI_" + name.upper().replace(".", "__"): "now"}),
        ([], {}, {"CAI_" + model.upper().replace(".", "__"): "now"}),
    ]
    for sets, flags, environ in places:
        found: Any = resolve(file, sets, flags, environ).model_dump()
        for part in model.split("."):
            found = found[part]
        assert (found["name"], found["revision"]) == ("now", None)
        assert found["base_url"] == (None if short else was["base_url"])


@pytest.mark.parametrize("model", MODELS)
def test_one_setting_of_a_model_that_was_written_short_keeps_its_name(tmp_path: Path, model: str) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(yaml.safe_dump(nested(model, "was")))
    found: Any = resolve(file, [f"{model}.engine=transformers"], {}, {}).model_dump()
    for part in model.split("."):
        found = found[part]
    assert (found["name"], found["engine"]) == ("was", "transformers")


def test_a_revision_on_the_command_line_belongs_to_the_model_named_there(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text("model: {name: was, revision: old}\n")
    writings = (["model.revision=new", "model.name=now"], ["model.name=now", "model.revision=new"])
    for sets in (*writings, ["model={revision: new, name: now}"]):
        assert resolve(file, sets, {}, {}).model.revision == "new"
    assert resolve(file, ["model.revision=new"], {"model.name": "now"}, {}).model.revision == "new"
    assert resolve(file, [], {"model.name": "now"}, {"CAI_MODEL__REVISION": "env"}).model.revision is None


def test_every_pair_of_places_agrees_on_the_critic(tmp_path: Path) -> None:
    """What a command of its own (``cai try``, without a file) gives, the same settings in a file give."""
    file = tmp_path / "config.yaml"
    for first, second in itertools.permutations(("critic.name=a", "critic.engine=transformers"), 2):
        file.write_text("critic: was\n")
        with_file = resolve(file, [first, second], {}, {})
        assert with_file.critic == resolve(None, ["critic=was", first, second], {}, {}).critic

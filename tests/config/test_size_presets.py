"""Presets by a model's size: what they choose, that every other place wins, and that they are said."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from cai.config.run_config import RunConfig
from cai.config.settings import before_size_presets, resolve
from cai.config.size_presets import told
from cai.config.train_config import SECTIONS
from cai.config.yamlfile import dump_yaml


class Size:
    """A model of so many weights and so long a context."""

    def __init__(self, weights: float, context: int) -> None:
        self.weights, self.context = int(weights), context


SMALL, LARGE = Size(1.9e9, 2048), Size(8e9, 131072)


def config(
    size: Size | None, *sets: str, file: Path | None = None, env: dict[str, str] | None = None
) -> RunConfig:
    return resolve(file, ["model.name=org/m", *sets], {}, env or {}, lambda name, revision: size)


def plain(*sets: str) -> RunConfig:
    return resolve(None, ["model.name=org/m", *sets], {}, {})


def test_a_small_model_with_a_short_context_gets_the_defaults() -> None:
    assert config(SMALL) == plain() == config(None)


def test_from_two_billion_weights_on_adapters_learn_at_ten_times_the_rate() -> None:
    large, small = config(Size(2e9, 2048)), plain()
    for section in set(SECTIONS.values()):
        own, usual = getattr(large, section), getattr(small, section)
        assert own.lora is not None and own.lora.alpha == 32 and usual.lora is None
        assert own.learning_rate == pytest.approx(10 * usual.learning_rate)
        assert own.dtype == "auto"  # bfloat16 on a GPU, for the frozen base too


@pytest.mark.parametrize(
    ("context", "answer", "row"), [(2048, 256, 1024), (4096, 512, 1536), (8192, 1024, 2048)]
)
def test_a_longer_context_has_room_for_longer_answers(context: int, answer: int, row: int) -> None:
    found = config(Size(5e8, context))
    stages = (found.generate, found.revise, found.sample, found.evaluate, found.best_of_n)
    assert {stage.max_tokens for stage in (*stages, found.ppo, found.grpo, found.rloo)} == {answer}
    assert {found.sft.max_length, found.dpo.max_length, found.reward_model.max_length} == {row}
    assert 4 * answer <= context  # answer, critique, revision, and the instructions between them
    assert found.sft.lora is None


def test_every_other_place_wins(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text(
        "sft: {learning_rate: 3.0e-4, lora: {r: 64}}\ndpo: {lora: null}\ngenerate: {max_tokens: 7}\n"
    )
    found = config(
        LARGE, "grpo.lora.r=8", "sample.max_tokens=9", file=file, env={"CAI_PPO__LEARNING_RATE": "2e-5"}
    )
    assert (found.sft.learning_rate, found.sft.lora and found.sft.lora.r) == (3e-4, 64)
    assert found.dpo.lora is None and found.generate.max_tokens == 7 and found.sample.max_tokens == 9
    assert found.grpo.lora is not None and (found.grpo.lora.r, found.grpo.lora.alpha) == (8, 32)
    assert found.ppo.learning_rate == 2e-5


def test_without_the_adapter_goes_its_learning_rate() -> None:
    assert config(LARGE, "sft.lora=null").sft.learning_rate == plain().sft.learning_rate
    assert config(LARGE, "sft.lora=null", "sft.learning_rate=2e-5").sft.learning_rate == 2e-5
    assert config(LARGE, "sft.lora=null").dpo.learning_rate == 1e-5


def test_shipped_and_served_models_are_not_measured() -> None:
    def never(name: str, revision: str | None) -> Size:
        raise AssertionError(f"{name} was measured")

    assert resolve(None, [], {}, {}, never) == resolve(None, [], {}, {})
    served = ["model.name=gpt", "model.engine=openai"]
    assert resolve(None, served, {}, {}, never) == resolve(None, served, {}, {})


def test_the_model_that_is_named_last_is_measured(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("model: {name: org/small, revision: v1}\n")
    seen: list[tuple[str, str | None]] = []

    def noted(name: str, revision: str | None) -> Size:
        seen.append((name, revision))
        return LARGE

    resolve(tmp_path / "c.yaml", [], {}, {}, noted)
    resolve(tmp_path / "c.yaml", [], {"model.name": "org/large"}, {}, noted)
    assert seen == [("org/small", "v1"), ("org/large", None)]


def test_a_line_says_what_was_chosen_and_what_is_one_s_own() -> None:
    line = told(config(LARGE), LARGE)
    assert (
        line is not None
        and "8.0B weights: LoRA" in line
        and "context 131,072: answers to 1024 tokens" in line
    )
    assert "any --set wins" in line and "yours instead" not in line
    own = told(config(LARGE, "sft.learning_rate=1e-3"), LARGE)
    assert own is not None and "yours instead: sft.learning_rate" in own
    assert told(config(SMALL), SMALL) is None


def test_a_folder_of_before_goes_on_without(tmp_path: Path) -> None:
    recorded = tmp_path / "config.yaml"
    assert not before_size_presets(recorded)
    data = plain().model_dump(mode="json")
    recorded.write_text(dump_yaml(data))
    assert not before_size_presets(recorded)
    del data["sft"]["optimizer"]
    recorded.write_text(yaml.safe_dump(data))
    assert before_size_presets(recorded)
    # Every setting is in it, so that the preset has no say in a step over it either.
    stored = resolve(recorded, [], {}, {}, lambda name, revision: LARGE)
    assert stored == plain()


def test_the_command_line_knows_a_folder_of_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from cai.cli import walk
    from cai.engines import model_shape

    monkeypatch.setattr(model_shape, "measure", lambda name, revision: LARGE)
    flags = {"model.name": "org/m"}
    assert walk.resolve(None, [], flags, tmp_path).sft.lora is not None
    data = plain().model_dump(mode="json")
    del data["sft"]["optimizer"]
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(data))
    assert walk.resolve(None, [], flags, tmp_path) == plain()

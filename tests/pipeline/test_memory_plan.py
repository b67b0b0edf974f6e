"""The memory plan: its arithmetic on stated cases, what it refuses and with which words, its table."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from known_shapes import known_shape

from cai.cli.summary.plan_summary import show_plan
from cai.config.run_config import RunConfig
from cai.config.settings import resolve
from cai.engines.machine import GIB, Machine
from cai.pipeline import launch
from cai.pipeline.memory import fitting
from cai.pipeline.memory.fitting import complaint, table, told
from cai.pipeline.memory.footprint import Footprint
from cai.pipeline.memory.memory_plan import Situation, footprints, sampler_share
from cai.pipeline.memory.remedy import changed
from cai.pipeline.order import steps_of
from cai.run.progress import Silent
from cai.values.errors import CaiError, UsageError


def card(gib: int, count: int = 1) -> Machine:
    return Machine("cuda", gib * GIB, count)


def config(size: str, *sets: str) -> RunConfig:
    """As the presets have it for a model of ``size``."""
    return resolve(None, ["model=org/m", *sets], {}, {}, lambda name, revision: known_shape(size))


def about(size: str, machine: Machine, *, vllm: bool = True, prompt: int = 512) -> Situation:
    return Situation(machine, {"org/m": known_shape(size)}, lambda model: vllm, prompt)


def one(settings: RunConfig, step: str, situation: Situation) -> Footprint:
    (found,) = footprints(settings, [step], situation)
    return found


# --- arithmetic ---------------------------------------------------------------------------------


def test_the_shapes_are_those_of_the_models() -> None:
    assert known_shape("8B").weights == 8_030_261_248
    assert known_shape("70B").weights == 70_553_706_496
    assert 14.7e9 < known_shape("14B").weights < 14.8e9
    # peft prints 41,943,040 trainable parameters of Llama 3.1 8B at rank 16 on all linear layers.
    assert 16 * known_shape("8B").adapted == 41_943_040


def test_a_training_in_full_is_sixteen_bytes_a_weight() -> None:
    for size in ("8B", "14B", "70B"):
        full = one(config(size, "sft.lora=null"), "sft", about(size, card(80)))
        weights = known_shape(size).weights
        assert (full.weights, full.gradients, full.optimizer) == (4 * weights, 4 * weights, 8 * weights)
        eight = one(config(size, "sft.lora=null", "sft.optimizer=adamw_8bit"), "sft", about(size, card(80)))
        assert eight.optimizer == 2 * weights


def test_an_adapter_leaves_the_base_at_two_bytes_or_half_a_byte() -> None:
    found = one(config("8B"), "sft", about("8B", card(24)))
    learned = 41_943_040
    assert found.weights == 2 * 8_030_261_248 + 4 * learned
    assert (found.gradients, found.optimizer) == (4 * learned, 8 * learned)
    four = one(config("8B", "sft.lora.quantize=4bit"), "sft", about("8B", card(24)))
    assert 5.3 * GIB < four.weights < 5.8 * GIB  # 7.0e9 weights at 0.52 bytes, two tables of 0.5e9 at 2


FITS = {
    # (size, what): cards of 24, 48 and 80 GB
    ("8B", "sft.lora=null"): "nnn",
    ("8B", ""): "yyy",
    ("8B", "sft.lora.quantize=4bit"): "yyy",
    ("14B", ""): "nyy",
    ("14B", "sft.lora.quantize=4bit"): "yyy",
    ("70B", ""): "nnn",
    ("70B", "sft.lora.quantize=4bit"): "nny",
}


@pytest.mark.parametrize(("case", "wanted"), FITS.items())
def test_what_fits_where(case: tuple[str, str], wanted: str) -> None:
    size, setting = case
    settings = config(size, *([setting] if setting else []))
    cards = (24, 48, 80)
    fits = [one(settings, "sft", about(size, card(gib))).total <= gib * GIB for gib in cards]
    assert "".join("y" if fit else "n" for fit in fits) == wanted


def test_a_longer_row_and_a_larger_micro_batch_need_more() -> None:
    small, large = (
        one(config("8B", f"dpo.micro_batch_size={n}"), "dpo", about("8B", card(80))).activations
        for n in (1, 4)
    )
    assert 3.5 < large / small < 4.1
    short = one(config("8B", "dpo.max_length=512"), "dpo", about("8B", card(80))).activations
    assert short < 0.5 * small


def test_vllm_has_its_share_of_the_card_and_tells_a_user_s_from_its_own() -> None:
    plain = one(config("8B"), "generate", about("8B", card(80)))
    assert plain.total == pytest.approx(0.92 * 80 * GIB, rel=1e-6)
    half = one(config("8B", "model.vllm={gpu_memory_utilization: 0.5}"), "generate", about("8B", card(80)))
    assert half.total == pytest.approx(0.5 * 80 * GIB, rel=1e-6)
    two = config("70B", "model.vllm={tensor_parallel_size: 2}")
    assert one(two, "generate", about("70B", card(80, 2))).weights == known_shape("70B").weights


def test_a_sampler_s_share_leaves_the_learner_its_room() -> None:
    settings, situation = config("8B", "method=grpo", "reward=[{source: 'f.py:f'}]"), about("8B", card(80))
    share = sampler_share(settings, "grpo", situation)
    learner = one(
        settings, "grpo", Situation(card(80), situation.shapes, lambda m: True, 512, False, lambda c: False)
    )
    taken = share["gpu_memory_utilization"] * 80 * GIB
    assert taken > 2 * known_shape("8B").weights + share["kv_cache_memory_bytes"]
    assert taken + learner.total <= 80 * GIB
    assert sampler_share(settings, "grpo", about("8B", Machine("cpu", 64 * GIB))) == {}
    assert sampler_share(changed(settings, (("grpo.sampler", "transformers"),)), "grpo", situation) == {}


def test_rewards_and_critics_are_in_memory_too() -> None:
    machine = card(80)
    plain = one(config("8B", "method=ppo", "reward=[{source: 'f.py:f'}]"), "ppo", about("8B", machine))
    model = one(config("8B", "method=ppo"), "ppo", about("8B", machine))
    assert model.weights - plain.weights == 2 * known_shape("8B").weights
    full = config(
        "8B", "method=ppo", "ppo.lora=null", "reward=[{source: 'f.py:f'}]", "ppo.sampler=transformers"
    )
    without = Situation(machine, about("8B", machine).shapes, lambda m: False, 512, False, lambda c: False)
    three = one(full, "ppo", without)
    two = one(changed(full, (("ppo.critic", "shared"),)), "ppo", without)
    shape = known_shape("8B")
    assert three.weights == 4 * (3 * shape.weights - shape.output_layer)
    assert two.weights == 4 * 2 * shape.weights and two.gradients == 4 * shape.weights


def test_people_s_votes_may_be_as_long_as_rows_may_be() -> None:
    situation = about("8B", card(80), prompt=64)
    voted = Situation(situation.machine, situation.shapes, situation.vllm, 64, voted=True)
    assert one(config("8B"), "dpo", voted).activations > one(config("8B"), "dpo", situation).activations


# --- what is refused ----------------------------------------------------------------------------

REMEDIES = [
    # size, card, settings, step, what the advice holds
    ("8B", 24, ["sft.micro_batch_size=16"], "sft", "sft.micro_batch_size="),
    ("8B", 48, ["sft.lora=null"], "sft", "'sft.lora={r: 16, alpha: 32}'"),
    ("14B", 24, [], "sft", "--set sft.lora.quantize=4bit"),
    ("70B", 80, [], "dpo", "--set dpo.lora.quantize=4bit"),
    ("8B", 48, ["method=grpo"], "grpo", "grpo.lora.quantize=4bit"),
    ("70B", 80, [], "generate", "quantization: fp8"),
]


@pytest.mark.parametrize(("size", "gib", "sets", "step", "words"), REMEDIES)
def test_advice_is_a_setting_with_which_it_fits(
    size: str, gib: int, sets: Sequence[str], step: str, words: str
) -> None:
    settings, situation = config(size, *sets), about(size, card(gib))
    found = footprints(settings, [step], situation)
    fault = complaint(settings, found, situation)
    assert fault is not None and words in fault and fault.startswith(f"{step} needs ")
    given = fault.partition("it would with ")[2].partition(" (with LoRA")[0]
    taken = [part.strip().strip("'") for part in given.split("--set ") if part.strip()]
    after = config(size, *sets, *taken)
    assert one(after, step, situation).total <= gib * GIB


def test_what_fits_nowhere_is_said_so() -> None:
    settings, situation = config("70B"), about("70B", card(24))
    fault = complaint(settings, footprints(settings, ["sft"], situation), situation)
    assert fault is not None and "a smaller model or a larger machine" in fault


def test_two_cards_are_taken_where_one_is_too_small() -> None:
    situation = about("70B", card(80, 2))
    settings = config("70B")
    fault = complaint(settings, footprints(settings, ["generate"], situation), situation)
    assert fault is not None and "'model.vllm={tensor_parallel_size: 2}'" in fault


def test_the_table_is_no_wider_than_a_terminal() -> None:
    for size, machine in (("8B", card(24)), ("70B", card(80, 8)), ("8B", Machine("cpu", 31 * GIB))):
        for method in ("dpo", "ppo", "best-of-n"):
            settings, situation = config(size, f"method={method}"), about(size, machine)
            lines = table(footprints(settings, steps_of(settings), situation), machine)
            assert max(map(len, lines)) <= 80, max(lines, key=len)
            assert size != "70B" or any(line.endswith(" !") for line in lines)


# --- a run --------------------------------------------------------------------------------------


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A machine of 1 GiB."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(fitting, "this_machine", lambda: Machine("cpu", GIB, bfloat16=False))
    return tmp_path


def test_a_run_is_refused_before_anything_is_asked(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = resolve(None, ["limit=2"], {}, {})
    monkeypatch.setattr(launch, "STEPS", {})
    with pytest.raises(UsageError, match=r"sft needs .* GiB of RAM and does not fit") as caught:
        launch.execute(settings, small / "run", steps_of(settings), Silent())
    assert "--set memory=warn" in str(caught.value)
    assert not (small / "run" / "journal.sqlite").exists() and not (small / "run" / "config.yaml").exists()


def test_a_dry_run_shows_the_table_and_what_would_be_refused(small: Path, capsys: Any) -> None:
    show_plan(resolve(None, ["limit=2"], {}, {}), small / "run")
    said = capsys.readouterr().out
    assert "memory at most, in GiB, of 1.0 GiB of RAM" in said and "a run is refused: generate needs" in said
    show_plan(resolve(None, ["limit=2", "memory=warn"], {}, {}), small / "run")
    assert "warning: generate needs" in capsys.readouterr().out


def test_a_run_that_fits_says_so_in_a_line() -> None:
    settings, situation = config("8B"), about("8B", Machine("cuda", 300 * GIB))
    small = [one(settings, "sft", situation)]
    assert told(small, situation.machine) == [
        f"memory: at most {small[0].total / GIB:.2f} GiB (sft) of 300.0 GiB (GPU)"
    ]
    assert len(told(small, card(24))) > 2


def test_a_model_on_a_server_has_no_footprint() -> None:
    settings = config("8B", "critic={name: c, engine: openai}")
    steps = [found.step for found in footprints(settings, steps_of(settings), about("8B", card(80)))]
    assert "generate" in steps and "revise" not in steps and "label" not in steps


def test_unknown_sizes_refuse_nothing(small: Path) -> None:
    settings = resolve(None, ["model=org/unknown"], {}, {})
    situation = Situation(card(1), {}, lambda model: True, 10)
    found = footprints(settings, steps_of(settings), situation)
    assert found == [] and complaint(settings, found, situation) is None
    with pytest.raises(CaiError):
        launch.check(settings)


def test_a_run_s_start_says_what_the_preset_has_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch, "measure", lambda name, revision: known_shape("8B"))
    (line,) = launch.chosen(config("8B"))
    assert line.startswith(
        "preset for 8.0B weights: LoRA, ten times the usual rates (sft 0.0001); context 131,072"
    )
    assert launch.chosen(resolve(None, [], {}, {})) == []  # the pocket model has one of its own

"""Every training on a tiny random Llama: what they write, that they repeat, resume and stop.

One process imports TRL for all of them (16 to 20 s); each training takes well under a second.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from training_rows import examples, pairs, prompt

from cai.config.train_config import DPOConfig, LoraConfig, RewardModelConfig, SFTConfig
from cai.training.dpo import train_dpo
from cai.training.examples import Example
from cai.training.interrupt import SIGNALS
from cai.training.result import TrainingStopped, TrainResult
from cai.training.reward_model import train_reward
from cai.training.sft import train_sft
from cai.values.errors import TrainingError
from cai.values.types import Ranked

pytestmark = pytest.mark.slow

BATCH: dict[str, Any] = {"batch_size": 8, "micro_batch_size": 4, "learning_rate": 1e-3, "dtype": "float32"}
SFT = SFTConfig(**BATCH)
DPO = DPOConfig(**BATCH)
REWARD = RewardModelConfig(**BATCH)


def weights(folder: Path) -> dict[str, Any]:
    from safetensors.torch import load_file

    return load_file(folder / "model.safetensors")


def assert_same_weights(a: Path, b: Path, tolerance: float = 0.0) -> None:
    first, second = weights(a), weights(b)
    assert first.keys() == second.keys()
    for name, tensor in first.items():
        assert (tensor - second[name]).abs().max().item() <= tolerance, name


def sft(model: Path, out: Path, config: SFTConfig = SFT, **more: Any) -> TrainResult:
    return train_sft(model, more.pop("items", examples()), config, out, seed=3, **more)


def dpo(model: Path, out: Path, config: DPOConfig = DPO, **more: Any) -> TrainResult:
    return train_dpo(model, more.pop("items", pairs()), config, out, seed=3, **more)


def reward(model: Path, out: Path, config: RewardModelConfig = REWARD, **more: Any) -> TrainResult:
    return train_reward(model, more.pop("items", pairs()), config, out, seed=3, **more)


CONFIGS: dict[Callable[..., TrainResult], Any] = {sft: SFT, dpo: DPO, reward: REWARD}
every_training = pytest.mark.parametrize("train", CONFIGS)


@every_training
def test_it_learns_and_reports(train: Callable[..., TrainResult], tiny_model: Path, tmp_path: Path) -> None:
    seen: list[tuple[int, int, dict[str, float]]] = []
    config = CONFIGS[train].model_copy(update={"epochs": 4.0})
    result = train(tiny_model, tmp_path / "out", config, progress=lambda *update: seen.append(update))
    assert (result.steps, result.rows, result.reused) == (12, 20, False)
    assert [(step, total) for step, total, _ in seen] == [(i + 1, 12) for i in range(12)]
    assert seen[-1][2].keys() >= {"loss", "tokens_per_second", "learning_rate", "grad_norm"}
    assert result.history[-1]["loss"] < result.history[0]["loss"]
    assert result.metrics["loss"] == (result.history[-2]["loss"] + result.history[-1]["loss"]) / 2
    if train is dpo:
        assert result.history[0]["reward_margin"] == pytest.approx(0.0, abs=1e-5)
        assert result.history[0]["loss"] == pytest.approx(0.6931, abs=1e-4)
        assert result.history[-1]["reward_margin"] > 0.1 and result.history[-1]["accuracy"] > 0.9


@every_training
def test_two_trainings_are_bitwise_equal_and_the_second_call_does_nothing(
    train: Callable[..., TrainResult], tiny_model: Path, tmp_path: Path
) -> None:
    first = train(tiny_model, tmp_path / "a")
    train(tiny_model, tmp_path / "b")
    assert_same_weights(tmp_path / "a", tmp_path / "b")
    again = train(tiny_model, tmp_path / "a")
    assert again.reused and again.history == first.history and again.left_out == first.left_out
    assert not list(tmp_path.glob("*.partial"))


@every_training
def test_cutting_an_update_into_micro_batches_changes_nothing(
    train: Callable[..., TrainResult], tiny_model: Path, tmp_path: Path
) -> None:
    """8 rows at once, one by one, and in the order drawn: means are over the whole update."""
    whole = CONFIGS[train].model_copy(update={"micro_batch_size": 8, "group_by_length": False})
    for name, config in {
        "whole": whole,
        "single": whole.model_copy(update={"micro_batch_size": 1}),
        "grouped": whole.model_copy(update={"micro_batch_size": 3, "group_by_length": True}),
    }.items():
        result = train(tiny_model, tmp_path / name, config)
        if name == "whole":
            reference = result
        for a, b in zip(reference.history, result.history, strict=True):
            assert a["loss"] == pytest.approx(b["loss"], abs=1e-5)
        assert_same_weights(tmp_path / "whole", tmp_path / name, tolerance=1e-5)


@every_training
def test_stopped_and_resumed_equals_uninterrupted(
    train: Callable[..., TrainResult], tiny_model: Path, tmp_path: Path
) -> None:
    config = CONFIGS[train].model_copy(update={"epochs": 2.0, "save_steps": 2})
    whole = train(tiny_model, tmp_path / "whole", config)
    done: list[int] = []
    watch: dict[str, Any] = {"progress": lambda step, *_: done.append(step)}
    with pytest.raises(TrainingStopped, match="after update 3 of 6"):
        train(tiny_model, tmp_path / "cut", config, should_stop=lambda: len(done) == 3, **watch)
    assert not (tmp_path / "cut").exists()
    # A checkpoint that was harmed behind our back, at equal size: the one before it is taken.
    newest = max((tmp_path / "cut.partial").glob("step-*")) / "optimizer.pt"
    newest.write_bytes(bytes(newest.stat().st_size))
    done.clear()
    resumed = train(tiny_model, tmp_path / "cut", config, **watch)
    assert done == [3, 4, 5, 6]
    assert resumed.history == whole.history
    assert resumed.tokens == whole.tokens > 0
    assert_same_weights(tmp_path / "whole", tmp_path / "cut")


@pytest.fixture
def heard() -> Iterator[None]:
    """Signals as in a terminal, however the tests were started: ``nohup`` and ``&`` leave some ignored."""
    usual = {signal.SIGINT: signal.default_int_handler}
    before = {number: signal.signal(number, usual.get(number, signal.SIG_DFL)) for number in SIGNALS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("heard")
@pytest.mark.parametrize(
    ("number", "raised"),
    [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, SystemExit), (signal.SIGHUP, SystemExit)],
)
def test_a_signal_saves_and_raises(
    number: signal.Signals, raised: type[BaseException], tiny_model: Path, tmp_path: Path
) -> None:
    def send(step: int, total: int, figures: dict[str, float]) -> None:
        if step == 2:
            signal.raise_signal(number)
            if number != signal.SIGINT:
                signal.raise_signal(number)  # launchers and shells send them again

    before = [signal.getsignal(each) for each in SIGNALS]
    with pytest.raises(raised) as stopped:
        sft(tiny_model, tmp_path / "out", progress=send)
    if raised is SystemExit:
        assert stopped.value.code == 128 + number
    else:
        assert "Run the same command again" in str(stopped.value)
    assert [signal.getsignal(each) for each in SIGNALS] == before
    assert [path.name for path in (tmp_path / "out.partial").glob("step-*")] == ["step-00000002"]


@every_training
def test_minutes_save_too(train: Callable[..., TrainResult], tiny_model: Path, tmp_path: Path) -> None:
    """Whatever ``save_steps`` says; and files may be read by whom the umask allows."""
    config = CONFIGS[train].model_copy(update={"save_steps": 1000, "save_minutes": 1e-9})
    found: list[list[str]] = []

    def look(*_: Any) -> None:
        found.append(sorted(path.name for path in (tmp_path / "out.partial").glob("step-*")))

    result = train(tiny_model, tmp_path / "out", config, progress=look)
    assert found == [[], ["step-00000001"], ["step-00000001", "step-00000002"]]
    probe = tmp_path / "probe"
    probe.touch()
    modes = {path.stat().st_mode for path in result.path.rglob("*") if path.is_file()}
    assert modes == {probe.stat().st_mode}


@pytest.mark.parametrize("train", [sft, dpo])
def test_lora_writes_the_adapter_and_merged_weights(
    train: Callable[..., TrainResult], tiny_model: Path, tmp_path: Path
) -> None:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    config = (SFT if train is sft else DPO).model_copy(update={"lora": LoraConfig(r=4), "save_steps": 1})
    with pytest.raises(TrainingStopped):
        train(tiny_model, tmp_path / "out", config, should_stop=lambda: True)
    result = train(tiny_model, tmp_path / "out", config)
    train(tiny_model, tmp_path / "whole", config)
    assert_same_weights(tmp_path / "whole", tmp_path / "out")
    assert result.adapter == tmp_path / "out" / "adapter"
    ids = torch.arange(20, 40)[None]
    merged = AutoModelForCausalLM.from_pretrained(result.path)(ids).logits
    base = AutoModelForCausalLM.from_pretrained(tiny_model)
    plain = base(ids).logits
    adapted = PeftModel.from_pretrained(base, result.adapter)(ids).logits
    torch.testing.assert_close(merged, adapted, atol=1e-4, rtol=1e-4)
    assert (merged - plain).abs().max() > 1e-3


@pytest.mark.parametrize("loss", ["bce", "geometric"])
def test_labels_that_are_all_ties(loss: str, tiny_model: Path, tmp_path: Path) -> None:
    ties = [replace(pair, p_chosen=0.5) for pair in pairs()]
    result = dpo(tiny_model, tmp_path / "out", DPO.model_copy(update={"loss": loss}), items=ties)
    assert all(entry["loss"] == pytest.approx(0.6931, abs=1e-4) for entry in result.history)
    # Ties teach nothing (gradients of rounding errors move Adam a little under bce).
    assert abs(result.history[-1]["reward_margin"]) < 0.05
    if loss == "geometric":
        assert_same_weights(tiny_model, tmp_path / "out")


def test_one_row_is_enough_and_over_length_rows_are_reported(tiny_model: Path, tmp_path: Path) -> None:
    items = [Example(prompt(0), "Yes. " * 300), Example(prompt(1), "Yes.")]
    result = sft(tiny_model, tmp_path / "sft", SFT.model_copy(update={"max_length": 128}), items=items)
    assert (result.rows, result.steps) == (1, 1) and [f.item for f in result.failures] == ["p0"]
    assert sft(tiny_model, tmp_path / "sft", SFT.model_copy(update={"max_length": 128}), items=items).failures
    pair = [Ranked(prompt(0), "Yes.", "No.", 0.9, 1.0)]
    assert dpo(tiny_model, tmp_path / "dpo", items=pair).steps == 1


def test_a_weight_of_two_is_the_row_twice(tiny_model: Path, tmp_path: Path) -> None:
    rows = examples()[:3]
    heavy = [replace(rows[0], weight=2.0), *rows[1:]]
    sft(tiny_model, tmp_path / "heavy", items=heavy)
    sft(tiny_model, tmp_path / "twice", items=[rows[0], *rows])
    assert_same_weights(tmp_path / "heavy", tmp_path / "twice", tolerance=1e-5)


def test_a_loss_that_is_not_finite_stops_the_training(tiny_model: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"is nan at update \d+ of .*lower learning_rate"):
        sft(tiny_model, tmp_path / "out", SFT.model_copy(update={"learning_rate": 1e30, "epochs": 3.0}))


def test_bfloat16_autocast_trains(tiny_model: Path, tmp_path: Path) -> None:
    exact = sft(tiny_model, tmp_path / "exact")
    rough = sft(tiny_model, tmp_path / "rough", SFT.model_copy(update={"dtype": "bfloat16"}))
    assert rough.metrics["loss"] == pytest.approx(exact.metrics["loss"], rel=0.02)
    assert rough.metrics["loss"] != exact.metrics["loss"]


def test_another_process_loads_it_and_no_pickle_is_shipped(tiny_model: Path, tmp_path: Path) -> None:
    result = sft(tiny_model, tmp_path / "out")
    names = {path.name for path in result.path.rglob("*")}
    assert names >= {"model.safetensors", "config.json", "tokenizer.json", "chat_template.jinja"}
    assert not [name for name in names if name.endswith((".bin", ".pt", ".pth", ".pkl"))]
    assert json.loads((result.path / "config.json").read_text())["use_cache"] is True
    code = (
        "import sys; from transformers import AutoModelForCausalLM as M, AutoTokenizer as T\n"
        "m = M.from_pretrained(sys.argv[1]); t = T.from_pretrained(sys.argv[1])\n"
        "ids = t.apply_chat_template([{'role': 'user', 'content': 'Hello'}], add_generation_prompt=True,"
        " return_tensors='pt', return_dict=True)\n"
        "print(m.generate(**ids, max_new_tokens=3, do_sample=False).shape[1])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(result.path)], check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr

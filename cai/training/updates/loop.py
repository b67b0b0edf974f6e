"""From a training that was asked for to a finished folder: what SFT, DPO and the reward model have in common.

Load, encode, train (from the newest checkpoint, if there is one), write the result. Not here: which rows,
which loss (``sft.py``, ``dpo.py``, ``reward_model.py``, ``trainers.py``).
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from cai.chat import tokenizer_files
from cai.chat.saved import announce
from cai.config.train_config import LoraConfig, OptimizerConfig
from cai.engines.local.causal import load_causal
from cai.engines.local.layouts import rotary_border
from cai.engines.model_kinds import require_answers, require_trainable
from cai.training.checkpoint import Workspace
from cai.training.device import Device, settings, use_fast_attention
from cai.training.examples import Encoded
from cai.training.interrupt import stop_requests
from cai.training.noise import without_noise
from cai.training.result import TrainingStopped, TrainResult, Watch
from cai.training.saving import prove, require_generation_config, save
from cai.training.updates.adapters import require_adaptable
from cai.training.updates.batches import Updates
from cai.training.updates.borders import announce_pairs
from cai.training.updates.low_bits import merged, quantized, weights_of
from cai.training.updates.method import Method, Training
from cai.training.updates.schedule import Schedule
from cai.values.errors import CaiError, TrainingError, UsageError


@dataclass(frozen=True, slots=True)
class Base:
    """The model that a training starts from, in ``path``. ``stored`` is the precision its files hold."""

    path: str
    model: Any
    tokenizer: Any
    pad: int
    stored: torch.dtype
    device: Device


def load_tokenizer(model_path: str) -> Any:
    """The model's tokenizer.

    Raises:
        UsageError: it has more tokens than the model has embeddings, or none to fill rows up with.
        TrainingError: it cannot be loaded.
    """
    from transformers import AutoConfig

    with loading("tokenizer", model_path):
        tokenizer = tokenizer_files.load_tokenizer(model_path)
        config = AutoConfig.from_pretrained(model_path, trust_remote_code=False).get_text_config()
    known = getattr(config, "vocab_size", None)
    if known is not None:
        tokenizer_files.require_room(tokenizer, known, model_path)
    if tokenizer.pad_token is None and tokenizer.eos_token is None:
        raise UsageError(
            f"the tokenizer in {model_path} names neither a padding token nor an end of text. Write one of "
            'its tokens into tokenizer_config.json, for example "eos_token": the one that ends a turn.'
        )
    return tokenizer


def load_language_model(model_path: str, weights: Mapping[str, Any] | None = None) -> Any:
    """The causal language model, with float32 weights, or as ``low_bits.weights_of`` says of them."""
    weights = weights or {"dtype": torch.float32}
    require_generation_config(model_path)
    if (folder := Path(model_path)).is_dir():
        require_answers(folder)
        require_trainable(folder)
    with loading("model", model_path):
        model = load_causal(model_path, **weights)
    if getattr(model, "is_quantized", False) and "quantization_config" not in weights:
        raise TrainingError(f"{model_path} has quantized weights, and these cannot be trained. {_PLAIN}")
    return model


_PLAIN = "Name the model that it was made from."


def stored_dtype(model_path: str) -> torch.dtype:
    """The precision of the files in ``model_path``: trained weights are saved in it too."""
    from transformers import AutoConfig

    with loading("model", model_path):
        dtype = getattr(AutoConfig.from_pretrained(model_path, trust_remote_code=False), "dtype", None)
    return dtype if isinstance(dtype, torch.dtype) else getattr(torch, dtype or "float32")


@contextmanager
def loading(what: str, path: str) -> Iterator[None]:
    """Whatever a library raises over a file that it cannot use, as a TrainingError that names it."""
    try:
        yield
    except CaiError:
        raise
    except Exception as error:  # a broken file may raise anything
        hint = ". cai never runs code that comes with a model" if "trust_remote_code" in str(error) else ""
        raise TrainingError(f"the {what} in {path} cannot be loaded{hint}: {error}") from error


def train(training: Training, method: Method, workspace: Workspace, watch: Watch) -> TrainResult:
    """Train to the end or to a request to stop, and write the finished folder."""
    import datasets

    from cai.training.updates.trainers import Job

    config = training.config
    tokenizer = method.tokenizer(training.model)
    announce(tokenizer, training.model, watch.say)
    encoded = method.encode(tokenizer, training.items, config)
    lengths = [row.length for row in encoded.rows]
    base = _load_base(training, method, tokenizer, max(lengths))
    peft_config = adapter(config.lora, **method.lora)
    require_adaptable(base.model, peft_config, training.model)
    announce_pairs(base.model.config, encoded.rows, watch.say)
    prove(base.model, tokenizer, training.model, workspace, watch.say)
    # A forward pass costs something beside its tokens, which the sequences of a row share.
    overhead, border = base.device.overhead / method.sequences, rotary_border(base.model.config)
    schedule = Schedule(lengths, config, training.seed, overhead, border)
    started = time.monotonic()
    rows = datasets.Dataset.from_dict(method.columns(base, encoded.rows))
    arguments = trainer_arguments(config, base, schedule.total, training.seed) | dict(method.settings)
    with stop_requests(watch.should_stop) as stop:
        updates = Updates(rows, schedule, method.batch, base.pad)
        job = Job(config, base.device, updates, workspace, watch.progress, stop, started=started)
        trainer = method.trainer(
            job,
            model=base.model,
            args=method.arguments(output_dir=str(workspace.partial), **arguments),
            train_dataset=rows,
            processing_class=tokenizer,
            peft_config=peft_config,
        )
        if config.lora is not None:
            prove(trainer.model, tokenizer, training.model, workspace, watch.say)
        _run(trainer)
        return _publish(trainer, base, encoded, method)


def _load_base(training: Training, method: Method, tokenizer: Any, longest: int) -> Base:
    """The model on its device: float32 weights, or bfloat16 or fewer bits below a LoRA adapter on a GPU."""
    stored, config = stored_dtype(training.model), training.config
    model = method.load(training.model, weights=weights_of(config, settings(config, 0).dtype))
    without_noise(model)
    device = settings(config, sum(weight.numel() for weight in model.parameters()))
    if hasattr(model, "score"):
        model.score.float()  # a reward's head is learned in full, beside an adapter
    use_fast_attention(model, device, method.sequences * config.micro_batch_size, longest)
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
    if pad is None:
        pad = 0  # masked everywhere: any id will do
    placed = model if quantized(config) else model.to(device.kind)
    return Base(training.model, placed, tokenizer, int(pad), stored, device)


def adapter(lora: LoraConfig | None, **more: Any) -> Any:
    """peft's form of the adapter that the configuration asks for; ``more`` has the last word."""
    if lora is None:
        return None
    from peft import LoraConfig as PeftLoraConfig

    settings = {
        "r": lora.r,
        "lora_alpha": lora.alpha,
        "lora_dropout": lora.dropout,
        "target_modules": lora.target_modules,
    }
    return PeftLoraConfig(**(settings | more))


def trainer_arguments(config: OptimizerConfig, base: Base, total: int, seed: int) -> dict[str, Any]:
    """Arguments that TRL's settings classes share."""
    return {
        "use_cpu": base.device.kind == "cpu",
        "bf16": False,  # autocast is applied around the loss: see trainers.py
        "fp16": False,
        "max_steps": total,
        "per_device_train_batch_size": 1,  # an item is a whole update
        "gradient_accumulation_steps": 1,
        "learning_rate": config.learning_rate,
        "weight_decay": config.weight_decay,
        "max_grad_norm": config.max_grad_norm,
        "gradient_checkpointing": base.device.gradient_checkpointing,
        "seed": seed % 2**32,  # what numpy takes
        "max_length": None,  # rows.py has quarantined longer rows
        "remove_unused_columns": False,
        "dataloader_pin_memory": False,
        "save_strategy": "no",  # trainers.py saves
        "logging_strategy": "no",
        "logging_nan_inf_filter": False,
        "report_to": "none",
        "disable_tqdm": True,
        **({"optim": "adamw_8bit"} if config.optimizer == "adamw_8bit" else {}),
    }


def _run(trainer: Any) -> None:
    """Every update that is still to be made."""
    from transformers.trainer_callback import PrinterCallback

    job = trainer.job
    trainer.remove_callback(PrinterCallback)
    resumed = job.workspace.newest()
    if resumed is not None:
        job.history.extend(resumed.history)
        job.earlier = resumed.spent
    trainer.train(resume_from_checkpoint=None if resumed is None else str(resumed.folder))
    if job.stopped:
        raise TrainingStopped(
            f"training stopped after update {trainer.state.global_step} of {trainer.state.max_steps}; "
            "a checkpoint is saved. Run the same command again to go on from there."
        )
    if len(job.history) != job.updates.schedule.total:
        raise TrainingError("the training ended before its last update; run the same command again.")


def _publish(trainer: Any, base: Base, encoded: Encoded[Any], method: Method) -> TrainResult:
    """Write the finished folder; the unfinished work goes."""
    job, spent = trainer.job, trainer.job.spent
    result = TrainResult(
        path=job.workspace.out,
        steps=len(job.history),
        rows=len(encoded.rows),
        tokens=spent.tokens,
        seconds=spent.seconds,
        history=tuple(job.history),
        failures=encoded.failures,
        left_out=encoded.left_out,
        adapter=job.workspace.out / "adapter" if job.config.lora else None,
    )
    folder = job.workspace.fresh("final")
    _write(trainer.model, folder, base, encoded.rows, method)
    job.workspace.publish(folder, result.to_json())
    return result


def _write(model: Any, folder: Path, base: Base, rows: Sequence[Any], method: Method) -> None:
    """Weights in the precision of the base model's files, tokenizer, and the adapter where there is one."""
    if hasattr(model, "merge_and_unload"):
        save(model, base.tokenizer, folder)
        model = merged(model, lambda: method.load(base.path).to(base.stored))
    model.to(base.device.kind, base.stored)
    method.finish(model, base, rows)
    save(model, base.tokenizer, folder)

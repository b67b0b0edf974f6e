"""From encoded rows to a finished folder: what SFT and DPO have in common.

Load, train (from the newest checkpoint, if there is one), write the result. Not here: which rows, which
loss (``sft.py``, ``dpo.py``, ``trainers.py``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from cai.errors import TrainingError
from cai.trainconfig import LoraConfig, OptimizerConfig
from cai.training.checkpoint import Workspace
from cai.training.device import Device, settings, use_fast_attention
from cai.training.result import TrainingStopped, TrainResult
from cai.training.rows import Encoded, PairRow, SFTRow


@dataclass(frozen=True, slots=True)
class Base:
    """The model that a training starts from. ``stored`` is the precision its files hold."""

    model: Any
    tokenizer: Any
    pad: int
    stored: torch.dtype
    device: Device


def load_tokenizer(model_path: str) -> Any:
    """The model's tokenizer, with something to pad with."""
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(model_path)


def load_base(
    model_path: str, tokenizer: Any, config: OptimizerConfig, rows: Sequence[SFTRow | PairRow]
) -> Base:
    """The model on its device: float32 weights, or bfloat16 below a LoRA adapter on a GPU."""
    from transformers import AutoConfig, AutoModelForCausalLM

    stored = _dtype(getattr(AutoConfig.from_pretrained(model_path), "dtype", None))
    model: Any = AutoModelForCausalLM.from_pretrained(model_path, dtype=torch.float32)
    device = settings(config, sum(weight.numel() for weight in model.parameters()))
    if config.lora is not None and device.kind == "cuda":
        model = model.to(device.dtype)
    use_fast_attention(model, device, 2 * config.micro_batch_size, max(row.length for row in rows))
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
    if pad is None:
        pad = 0  # masked everywhere: any id will do
    return Base(model.to(device.kind), tokenizer, int(pad), stored, device)


def _dtype(value: Any) -> torch.dtype:
    return value if isinstance(value, torch.dtype) else getattr(torch, value or "float32")


def peft_config(lora: LoraConfig | None) -> Any:
    """peft's form of the adapter that the configuration asks for."""
    if lora is None:
        return None
    from peft import LoraConfig as PeftLoraConfig

    return PeftLoraConfig(
        task_type="CAUSAL_LM",
        r=lora.r,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=lora.target_modules,
    )


def trainer_arguments(config: OptimizerConfig, base: Base, total: int, seed: int) -> dict[str, Any]:
    """Arguments that TRL's SFTConfig and DPOConfig share."""
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
    }


def run(trainer: Any, base: Base, encoded: Encoded[SFTRow] | Encoded[PairRow]) -> TrainResult:
    """Train to the end or to a request to stop, and write the finished folder."""
    from transformers.trainer_callback import PrinterCallback

    job = trainer.job
    trainer.remove_callback(PrinterCallback)
    resumed = job.workspace.newest()
    if resumed is not None:
        job.history.extend(resumed[1]["history"])
    trainer.train(resume_from_checkpoint=None if resumed is None else str(resumed[0]))
    if job.stopped:
        raise TrainingStopped(
            f"training stopped after update {trainer.state.global_step} of {trainer.state.max_steps}; "
            "a checkpoint is saved. Run the same command again to go on from there."
        )
    if len(job.history) != job.updates.schedule.total:
        raise TrainingError("the training ended before its last update; run the same command again.")
    result = TrainResult(
        path=job.workspace.out,
        steps=len(job.history),
        rows=len(encoded.rows),
        tokens=job.tokens,
        seconds=_seconds(job),
        history=tuple(job.history),
        failures=encoded.failures,
        left_out=encoded.left_out,
        adapter=job.workspace.out / "adapter" if job.config.lora else None,
    )
    job.workspace.publish(_write(trainer.model, base, job.workspace), result.to_json())
    return result


def _seconds(job: Any) -> float:
    import time

    return time.monotonic() - float(job.started)


def _write(model: Any, base: Base, workspace: Workspace) -> Path:
    """Weights in the precision of the base model's files, tokenizer, and the adapter where there is one."""
    folder = workspace.fresh("final")
    if hasattr(model, "merge_and_unload"):
        model.save_pretrained(folder / "adapter")
        model = model.merge_and_unload()
    model.config.use_cache = True
    model.to(base.stored).save_pretrained(folder)
    base.tokenizer.save_pretrained(folder)
    return folder

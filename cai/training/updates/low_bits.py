"""8-bit Adam and 4-bit base models, by bitsandbytes: what they need, how they are loaded, how they end.

On a CUDA GPU alone, with the extra ``bitsandbytes`` (not run on a GPU so far). A finished folder never holds
4-bit weights: the adapter is merged into the plain model that it was trained above, loaded anew.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from typing import Any, Literal

from cai.config.train_config import OptimizerConfig, RolloutConfig
from cai.engines.model_files import has_gpu
from cai.values.errors import UsageError

Config = OptimizerConfig | RolloutConfig


def require_low_bits(config: Config, section: str) -> None:
    """That what ``config`` asks for in few bits can be had here.

    Raises:
        UsageError: it needs a CUDA GPU or bitsandbytes, or a sampler that reads 4-bit weights.
    """
    wanted = [f"{section}.optimizer: adamw_8bit"] if config.optimizer == "adamw_8bit" else []
    wanted += [f"{section}.lora.quantize: 4bit"] if quantized(config) else []
    if not wanted:
        return
    if not has_gpu():
        raise UsageError(f"{wanted[0]} needs a CUDA GPU, and there is none here. Leave it out.")
    if importlib.util.find_spec("bitsandbytes") is None:
        raise UsageError(
            f"{wanted[0]} needs bitsandbytes. Install it: pip install 'cai[bitsandbytes]', or leave it out."
        )
    if quantized(config) and getattr(config, "sampler", None) == "vllm":
        raise UsageError(
            f"{section}.sampler: vllm cannot be given the weights of a policy in 4 bits. Use "
            f"{section}.sampler: transformers, or leave out lora.quantize."
        )


def quantized(config: Config) -> bool:
    """Whether the model below the adapter is kept in 4 bits."""
    return config.lora is not None and config.lora.quantize is not None


def drawn_by(config: RolloutConfig) -> Literal["auto", "transformers", "vllm"]:
    """Who draws: weights in 4 bits are handed over to nobody."""
    return "transformers" if quantized(config) else config.sampler


def weights_of(config: Config, dtype: Any) -> dict[str, Any]:
    """``from_pretrained``'s arguments for the model in training; ``dtype``: of its matrix products.

    float32, but below a LoRA adapter on a GPU, where the base is frozen: as it is multiplied. It is loaded so
    at once, since in float32 it might not fit into the computer's memory.
    """
    import torch

    if config.lora is None or not torch.cuda.is_available():
        return {"dtype": torch.float32}
    if not quantized(config):
        return {"dtype": dtype}
    from transformers import BitsAndBytesConfig

    return {
        "dtype": dtype,
        "device_map": {"": torch.cuda.current_device()},
        # NF4 with its scales quantized again (Dettmers et al. 2023, §3); outputs stay as they are.
        "quantization_config": BitsAndBytesConfig(  # type: ignore[no-untyped-call]
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=dtype,
            llm_int8_skip_modules=["lm_head", "score"],
        ),
    }


def adam(config: Config, groups: list[dict[str, Any]], eps: float) -> Any:
    """AdamW over parameter ``groups`` without decay, with moments as ``config`` wants them."""
    import torch

    if config.optimizer == "adamw":
        return torch.optim.AdamW(groups, eps=eps, weight_decay=0.0)
    import bitsandbytes

    return bitsandbytes.optim.AdamW8bit(groups, eps=eps, weight_decay=0.0)


def merged(model: Any, plain: Callable[[], Any], adapter: str = "default") -> Any:
    """``model`` with its ``adapter`` merged in; one in 4 bits gives it to a ``plain`` one, loaded anew.

    Merging into 4 bits would round what was learned to them.
    """
    if not getattr(model, "is_loaded_in_4bit", False):
        return model.merge_and_unload(adapter_names=[adapter])
    return regrafted(model, plain(), adapter)


def regrafted(model: Any, plain: Any, adapter: str = "default") -> Any:
    """``plain`` with the weights of ``model``'s ``adapter`` merged into its own."""
    from peft import get_peft_model
    from peft.utils import get_peft_model_state_dict, set_peft_model_state_dict

    fresh: Any = get_peft_model(plain, model.peft_config[adapter])
    set_peft_model_state_dict(fresh, get_peft_model_state_dict(model, adapter_name=adapter))
    return fresh.merge_and_unload()

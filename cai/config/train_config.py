"""The settings of everything that changes weights, and the base of every section of ``run_config.py``."""

from __future__ import annotations

from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

#: Settings that came later, at what was done before: not among what names a training, so that none is undone.
IMPLIED: dict[str, Any] = {"optimizer": "adamw", "lora.quantize": None}

#: Steps that train, and the section of the configuration with their settings.
SECTIONS = {
    **{name: name for name in ("sft", "dpo", "ppo", "grpo", "rloo")},
    **{"reward": "reward_model", "best-sft": "sft"},
}

Positive = Annotated[int, Field(gt=0)]
Share = Annotated[float, Field(ge=0.0, le=1.0)]


class Section(BaseModel):
    """Base of every section: unknown keys are errors, values never change."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _true_is_no_number(cls, value: Any, info: ValidationInfo) -> Any:
        """Python counts True as 1; ``rounds: true`` is a mistake all the same."""
        taken = cls.model_fields[str(info.field_name)].annotation
        if isinstance(value, bool) and taken is not bool and bool not in get_args(taken):
            raise PydanticCustomError("boolean", f"must not be {str(value).lower()}")
        return value


class LoraConfig(Section):
    r: Positive = 16
    alpha: Positive = 32
    dropout: Share = 0.0
    target_modules: str | list[str] = "all-linear"
    quantize: Literal["4bit"] | None = Field(
        None, description="keep the model below the adapter in 4 bits (QLoRA; on a GPU, extra 'bitsandbytes')"
    )


Optimizer = Literal["adamw", "adamw_8bit"]
_OPTIMIZER = "adamw_8bit: moments in 8 bits, a quarter of their memory (on a GPU, extra 'bitsandbytes')"


class OptimizerConfig(Section):
    learning_rate: Annotated[float, Field(gt=0.0)] = 1e-5
    epochs: Annotated[float, Field(gt=0.0)] = 1.0
    max_steps: Positive | None = Field(None, description="stop after this many updates")
    batch_size: Positive = Field(32, description="rows per update, over all devices")
    micro_batch_size: Positive = Field(8, description="rows per forward pass")
    warmup_ratio: Share = 0.05
    schedule: Literal["constant", "linear", "cosine"] = "constant"
    weight_decay: Annotated[float, Field(ge=0.0)] = 0.0
    max_grad_norm: Annotated[float, Field(gt=0.0)] = 1.0
    max_length: Positive = Field(1024, description="tokens of a row; longer rows are quarantined")
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    optimizer: Optimizer = Field("adamw", description=_OPTIMIZER)
    group_by_length: bool = True
    save_steps: Positive = Field(200, description="updates between two checkpoints")
    save_minutes: Annotated[float, Field(gt=0.0)] = Field(
        10.0, description="a checkpoint is saved too when the last one is this old"
    )
    lora: LoraConfig | None = None


def named_settings(config: OptimizerConfig | RolloutConfig, leave_out: set[str]) -> dict[str, Any]:
    """The settings that tell one training from another, without the ``IMPLIED``."""
    found = config.model_dump(mode="json", exclude=leave_out)
    for path, value in IMPLIED.items():
        section, _, name = path.rpartition(".")
        holder = found.get(section) if section else found
        if isinstance(holder, dict) and holder.get(name) == value:
            del holder[name]
    return found


class SFTConfig(OptimizerConfig):
    """Supervised fine-tuning on revisions (Bai et al. 2022, §3.2)."""

    helpful_share: Share = Field(0.2, description="share of training rows that are helpful data")
    helpful_prompts: str | None = Field(None, description="file or dataset of them; null: no helpful data")
    rounds: Literal["all", "last"] = Field("all", description="which accepted revisions are learned")


class DPOConfig(OptimizerConfig):
    """Direct preference optimisation (Rafailov et al. 2023) with soft labels."""

    learning_rate: Annotated[float, Field(gt=0.0)] = 1e-6
    beta: Annotated[float, Field(gt=0.0)] = 0.1
    loss: Literal["bce", "geometric"] = "bce"
    soft: bool = Field(True, description="false: labels rounded to 0 or 1 first")
    min_margin: Annotated[float, Field(ge=0.0, lt=0.5)] = Field(
        0.0, description="pairs with |P - 0.5| below this are left out"
    )


class RewardModelConfig(OptimizerConfig):
    """A reward model on the labels (Bai et al. 2022, §4.1): Bradley-Terry with soft labels."""

    loss: Literal["bce", "geometric"] = "bce"
    soft: bool = Field(True, description="false: labels rounded to 0 or 1 first")
    min_margin: Annotated[float, Field(ge=0.0, lt=0.5)] = Field(
        0.0, description="pairs with |P - 0.5| below this are left out"
    )
    held_out: Share = Field(0.1, description="share of the prompts whose pairs validate and are not learned")
    center: Annotated[float, Field(ge=0.0)] = Field(
        0.0, description="coefficient that pulls the mean of both rewards to 0 (Eisenstein et al. 2023)"
    )


class RewardTerm(Section):
    """One part of the reward that reinforcement learning maximises. Parts are added."""

    source: str = Field(
        "model",
        description="'model': the run's reward model; 'judge': the labeler's own score of a response under "
        "drawn principles (d-RLAIF); a reward model's folder; or 'file.py:function'",
    )
    weight: float = 1.0
    principles: Positive = Field(1, description="judge: principles drawn per response, scores averaged")


class RolloutConfig(Section):
    """What PPO, GRPO and RLOO have in common: responses are drawn, scored and learned from, step by step."""

    steps: Positive = Field(100, description="times that responses are drawn and learned from")
    prompts: Positive = Field(64, description="prompts per step, over all processes")
    max_tokens: Positive = 256
    temperature: Annotated[float, Field(gt=0.0, le=10.0)] = 1.0
    sampler: Literal["auto", "transformers", "vllm"] = Field("auto", description="who draws the responses")
    learning_rate: Annotated[float, Field(gt=0.0)] = 1e-6
    schedule: Literal["constant", "linear"] = "linear"
    micro_batch_size: Positive = Field(8, description="responses per forward pass")
    max_grad_norm: Annotated[float, Field(gt=0.0)] = 1.0
    kl_coef: Annotated[float, Field(ge=0.0)] = Field(0.05, description="beta: price of a nat of KL")
    clip: Annotated[float, Field(gt=0.0)] = 0.2
    missing_eos_penalty: Annotated[float, Field(ge=0.0)] = Field(
        1.0, description="taken off the reward of a response that was cut off"
    )
    length_penalty: Annotated[float, Field(ge=0.0)] = Field(0.0, description="taken off per response token")
    importance_cap: Annotated[float, Field(gt=0.0)] = Field(
        2.0, description="upper bound of the weights between sampler and trainer"
    )
    max_prompt_tokens: Positive = Field(1024, description="longer prompts are quarantined")
    max_kl: Annotated[float, Field(gt=0.0)] | None = Field(
        None, description="guard: stop when the KL to the reference, nats per response, exceeds this"
    )
    max_length_ratio: Annotated[float, Field(gt=1.0)] | None = Field(
        None,
        description="guard: stop when responses get longer, or shorter, than at the start by this factor",
    )
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    optimizer: Optimizer = Field("adamw", description=_OPTIMIZER)
    save_steps: Positive = Field(10, description="steps between two checkpoints")
    save_minutes: Annotated[float, Field(gt=0.0)] = Field(
        10.0, description="a checkpoint is saved too when the last one is this old"
    )
    lora: LoraConfig | None = None


class PPOConfig(RolloutConfig):
    """Proximal policy optimisation (Schulman et al. 2017; Ziegler et al. 2019; Huang et al. 2024)."""

    epochs: Positive = Field(4, description="passes over the responses of a step")
    minibatches: Positive = Field(1, description="updates per pass")
    critic: Literal["separate", "shared"] = Field(
        "separate",
        description="a network of its own, or a value head on the policy's: nearly half the cost",
    )
    critic_learning_rate: Annotated[float, Field(gt=0.0)] | None = Field(
        None, description="default: the learning rate"
    )
    critic_warmup: Annotated[int, Field(ge=0)] = Field(
        0, description="first steps in which only the critic learns"
    )
    kl_target: Annotated[float, Field(gt=0.0)] | None = Field(
        None, description="adaptive beta: the KL, nats per response, that it steers to (Ziegler et al. 2019)"
    )
    kl_horizon: Positive = Field(10_000, description="responses over which an adaptive beta adapts")
    gamma: Share = 1.0
    lam: Share = 0.95
    value_clip: Annotated[float, Field(gt=0.0)] = 0.2
    value_coef: Annotated[float, Field(gt=0.0)] = 0.1
    whiten_rewards: bool = Field(True, description="divide token rewards by their deviation; the mean stays")
    max_update_kl: Annotated[float, Field(gt=0.0)] | None = Field(
        None, description="end a step's passes early when the update's own KL, nats per token, exceeds this"
    )


class GroupConfig(RolloutConfig):
    """GRPO (Shao et al. 2024) and RLOO (Ahmadian et al. 2024): several responses to each prompt.

    Each step's responses make one update, so ratios are 1 and ``clip`` never bites.
    """

    group_size: Annotated[int, Field(ge=2)] = Field(4, description="responses per prompt")


class BestOfNConfig(Section):
    """Rejection sampling: the best of ``n`` responses by the reward, learned by SFT."""

    n: Annotated[int, Field(ge=2)] = 8
    max_tokens: Positive = 256
    temperature: Annotated[float, Field(gt=0.0, le=10.0)] = 1.0

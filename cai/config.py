"""The configuration of a run: one frozen pydantic model per noun, every knob read somewhere.

Precedence (highest first): command-line flag, ``--set a.b=v``, ``CAI_*`` variables, the YAML file,
the model's preset (``presets/``), the defaults below. ``settings.py`` merges them.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

EngineName = Literal["auto", "transformers", "vllm", "openai"]
Positive = Annotated[int, Field(gt=0)]
Share = Annotated[float, Field(ge=0.0, le=1.0)]
Temperature = Annotated[float, Field(ge=0.0, le=10.0)]


class Section(BaseModel):
    """Base of every section: unknown keys are errors, values never change."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _true_is_no_number(cls, value: Any, info: ValidationInfo) -> Any:
        """Python counts True as 1; ``rounds: true`` is a mistake all the same."""
        if isinstance(value, bool) and cls.model_fields[str(info.field_name)].annotation is not bool:
            raise PydanticCustomError("boolean", f"must not be {str(value).lower()}")
        return value


class ModelConfig(Section):
    """A model and how to run it."""

    name: str = Field("pocket", description="'pocket', a folder, or a Hugging Face model name")
    engine: EngineName = "auto"
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    revision: str | None = Field(None, description="branch, tag or commit on the hub")
    base_url: str | None = Field(None, description="OpenAI-compatible server; default OPENAI_BASE_URL")
    max_concurrency: Positive = Field(1024, description="requests in flight at once")
    max_model_len: Positive | None = Field(None, description="tokens of prompt plus answer")


def _named(value: Any) -> Any:
    return {"name": value} if isinstance(value, str) else value


# ``model: pocket`` is short for ``model: {name: pocket}``.
Model = Annotated[ModelConfig, BeforeValidator(_named, json_schema_input_type=str | ModelConfig)]


class SamplingConfig(Section):
    temperature: Temperature = 1.0
    top_p: Annotated[float, Field(gt=0.0, le=1.0)] = 1.0
    max_tokens: Positive = 256


class GenerateConfig(SamplingConfig):
    """The policy answers each prompt once; these answers are what the critic revises."""


class ReviseConfig(SamplingConfig):
    """Critique and revision (Bai et al. 2022, §3.1)."""

    rounds: Positive = 2
    critique: bool = Field(True, description="false: revise directly, without a critique")
    few_shot: Annotated[int, Field(ge=0)] = Field(2, description="worked examples shown first")


class SampleConfig(SamplingConfig):
    """The SFT model answers each prompt ``n`` times; every pair of different answers is compared."""

    n: Annotated[int, Field(ge=2)] = 2


class LabelConfig(Section):
    """AI labels (Bai et al. 2022, §4.1; both orders: Lee et al. 2023, §3)."""

    principles: Positive = Field(1, description="principles drawn per pair; their verdicts are averaged")
    both_orders: bool = True
    temperature: Annotated[float, Field(gt=0.0)] = Field(1.0, description="divides the log-odds of a verdict")
    chain_of_thought: bool = False
    clamp: tuple[Share, Share] = Field((0.4, 0.6), description="range of chain-of-thought labels")
    few_shot: Annotated[int, Field(ge=0)] = 2
    max_tokens: Positive = Field(256, description="length of a chain of thought")

    @field_validator("clamp")
    @classmethod
    def _ordered(cls, value: tuple[float, float]) -> tuple[float, float]:
        if value[0] > value[1]:
            raise PydanticCustomError("order", "must be two numbers, the smaller one first")
        return value


class LoraConfig(Section):
    r: Positive = 16
    alpha: Positive = 32
    dropout: Share = 0.0
    target_modules: str | list[str] = "all-linear"


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
    group_by_length: bool = True
    save_steps: Positive = 200
    lora: LoraConfig | None = None


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


class EvaluateConfig(SamplingConfig):
    """Before and after on held-out prompts."""

    prompts: str | None = Field(None, description="file or dataset; null: held-out prompts of the run")
    limit: Positive = 200
    temperature: Temperature = 1.0


class RunConfig(Section):
    """Everything that determines a run."""

    constitution: str = "harmless"
    model: Model = ModelConfig()
    critic: Model | None = Field(None, description="default: the base model")
    labeler: Model | None = Field(None, description="default: the critic")
    prompts: str | None = Field(None, description="jsonl, csv, parquet or a dataset name; pocket has its own")
    templates: str | None = Field(None, description="folder whose *.jinja files replace the shipped ones")
    limit: Positive | None = Field(None, description="use only the first N prompts")
    seed: int = 0
    method: Literal["dpo"] = "dpo"
    generate: GenerateConfig = GenerateConfig()
    revise: ReviseConfig = ReviseConfig()
    sft: SFTConfig = SFTConfig()
    sample: SampleConfig = SampleConfig()
    label: LabelConfig = LabelConfig()
    dpo: DPOConfig = DPOConfig()
    evaluate: EvaluateConfig = EvaluateConfig()

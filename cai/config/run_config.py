"""The configuration of a run: one frozen pydantic model per noun, every knob read somewhere.

Precedence (highest first): command-line flag, ``--set a.b=v``, ``CAI_*`` variables, the YAML file,
the model's preset (``presets/``), the defaults below. ``settings.py`` merges them.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from cai.config import literal_secrets
from cai.config.train_config import (
    BestOfNConfig,
    DPOConfig,
    GroupConfig,
    Positive,
    PPOConfig,
    RewardModelConfig,
    RewardTerm,
    Section,
    SFTConfig,
    Share,
)

EngineName = Literal["auto", "transformers", "vllm", "openai", "openai-responses", "anthropic"]
Temperature = Annotated[float, Field(ge=0.0, le=10.0)]


class PriceConfig(Section):
    """US dollars per million tokens."""

    input: Annotated[float, Field(ge=0.0)] = 0.0
    output: Annotated[float, Field(ge=0.0)] = 0.0
    cache_read: Annotated[float, Field(ge=0.0)] | None = Field(
        None, description="of the input, what a provider's cache had; null: as the rest of it"
    )
    cache_write: Annotated[float, Field(ge=0.0)] | None = Field(
        None, description="of the input, what was put there; null: as the rest of it"
    )


_NO_SECRETS = (
    "holds a secret ('{}'), and a run keeps its configuration in its folder. Name a variable of the "
    "environment instead, ${{{}}}, or 'api_key_env' for the server's key"
)


class ModelConfig(Section):
    """A model and how to run it."""

    name: str = Field("pocket", description="'pocket', a folder, or a Hugging Face model name")
    engine: EngineName = "auto"
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    revision: str | None = Field(
        None, description="branch, tag or commit on the hub; on a server: any word that tells namesakes apart"
    )
    base_url: str | None = Field(
        None, description="the server; default OPENAI_BASE_URL, for engine anthropic ANTHROPIC_BASE_URL"
    )
    max_concurrency: Positive | None = Field(
        None, description="requests in flight at once; null: 64 to a server, 1024 to a model in this process"
    )
    max_model_len: Positive | None = Field(None, description="tokens of prompt plus answer")
    thinking: bool | Positive | None = Field(
        None, description="off, on, or at most so many tokens of thought; null: as the model does by itself"
    )
    api_key_env: str | None = Field(
        None, description="variable with the server's key; default OPENAI_API_KEY, or the provider's own"
    )
    headers: dict[str, str] = Field({}, description="further headers of every request to a server")
    query: dict[str, str] = Field({}, description="further parameters of its address, as Azure's api-version")
    extra_body: dict[str, Any] = Field({}, description="further fields of every request, passed on unread")
    batch: bool = Field(
        False, description="send a run's questions to a server in batches: within a day, at half the price"
    )
    vllm: dict[str, Any] = Field(
        {}, description="arguments of vLLM's engine (EngineArgs), e.g. {tensor_parallel_size: 2}"
    )
    requests_per_minute: Positive | None = None
    tokens_per_minute: Positive | None = None
    patience: Annotated[float, Field(ge=0.0)] = Field(
        60.0, description="minutes to go on asking a server that has answered before"
    )
    price: PriceConfig | None = Field(
        None, description="US dollars per million tokens; null: what is known of the model by its name"
    )

    @field_validator("headers", "query")
    @classmethod
    def _by_variable(cls, value: dict[str, str]) -> dict[str, str]:
        if name := literal_secrets.literal(value):
            raise PydanticCustomError("secret", _NO_SECRETS.format(name, name.upper().replace("-", "_")))
        return value

    @field_validator("extra_body")
    @classmethod
    def _without_secrets(cls, value: dict[str, Any]) -> dict[str, Any]:
        if name := literal_secrets.literal_field(value):
            raise PydanticCustomError("secret", _NO_SECRETS.format(name, "NAME"))
        return value

    @field_validator("api_key_env")
    @classmethod
    def _a_variable(cls, value: str | None) -> str | None:
        if value and literal_secrets.no_variable(value):
            raise PydanticCustomError(
                "secret",
                "must be the name of a variable that holds the key, such as MY_KEY, not the key itself",
            )
        return value

    @field_validator("base_url")
    @classmethod
    def _without_password(cls, value: str | None) -> str | None:
        address, _, query = (value or "").partition("?")
        given = dict(part.partition("=")[::2] for part in query.split("&"))
        if "@" in address or literal_secrets.literal(given):
            raise PydanticCustomError(
                "secret",
                "must not hold a password or key: a run keeps its configuration. Give it in OPENAI_BASE_URL, "
                "or in 'headers' or 'query' as a variable of the environment, ${NAME}",
            )
        return value

    def __hash__(self) -> int:
        """Of a frozen value with mappings in it."""
        return hash(self.model_dump_json())


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
    max_tokens: Positive = Field(256, description="length of a chain of thought, or of a sampled verdict")
    read: Literal["auto", "logprobs", "samples"] = Field(
        "auto", description="what a label is read from; auto: log-probabilities where the labeler gives them"
    )
    samples: Positive = Field(8, description="verdicts in each order, where they are sampled")
    stop_early: bool = Field(False, description="sample no further in an order whose interval excludes 1/2")
    min_mass: Share = Field(
        0.5, description="probability that the options must hold; with less the order is unscored"
    )
    uncertainty_weights: bool = Field(
        True, description="labels of fewer sampled verdicts weigh less in training"
    )
    form: Literal["pair", "single"] = Field(
        "pair", description="single: each response is judged alone, which has no order"
    )
    average: Literal["probabilities", "log_odds"] = Field(
        "probabilities", description="what of the two orders is averaged"
    )
    calibrate: bool = Field(
        False, description="take off the log-odds that the place has between contents that say nothing"
    )

    @field_validator("clamp")
    @classmethod
    def _ordered(cls, value: tuple[float, float]) -> tuple[float, float]:
        if value[0] > value[1]:
            raise PydanticCustomError("order", "must be two numbers, the smaller one first")
        return value

    @field_validator("form")
    @classmethod
    def _no_thought_alone(cls, value: str, info: ValidationInfo) -> str:
        if value == "single" and info.data.get("chain_of_thought"):
            raise PydanticCustomError("single", "'single' asks yes or no at once: leave out chain_of_thought")
        return value

    @field_validator("calibrate")
    @classmethod
    def _has_places(cls, value: bool, info: ValidationInfo) -> bool:
        if value and info.data.get("form") == "single":
            raise PydanticCustomError("single", "nothing to calibrate: a response judged alone has no place")
        return value


Column = Annotated[str, Field(pattern=r"^[^/\s]+$")]


class EvaluateConfig(SamplingConfig):
    """Before and after on held-out prompts, and the suites beyond that (``cai eval``)."""

    prompts: str | None = Field(None, description="file or dataset; null: held-out prompts of the run")
    limit: Positive = 200
    temperature: Temperature = 1.0
    revisions: Annotated[int, Field(ge=0)] = Field(
        50, description="prompts whose text the judge grades after each round of revision"
    )
    judge: Model | None = Field(None, description="who grades answers; default: the labeler")
    suites: tuple[str, ...] = Field(
        (), description="suites at the end of a run: a name, or name=FILE with its data"
    )
    items: Positive | None = Field(None, description="items of a suite's own data at most, drawn by the seed")
    models: dict[Column, Model] = Field({}, description="further models that the suites measure, by name")
    baseline: str | None = Field(
        None, description="whom win rates are against; default: base, else the first"
    )
    toxicity_classifier: str | None = Field(
        None, description="who says how toxic an answer is (toxigen): a folder or a hub name"
    )
    toxicity_label: str | None = Field(None, description="its label for that; null: found by its name")
    axes: dict[Column, str] = Field(
        {"harmless": "harmless", "helpful": "helpful"},
        description="what answers are compared in: a name and the constitution that says it",
    )


class MonitorConfig(Section):
    """Limits of the monitors of failure modes; one trips where its whole interval is beyond its limit."""

    sycophancy: Share = Field(0.1, description="rise of the share of answers that agree with a wrong belief")
    refusal: Share = Field(0.1, description="rise of the share of benign requests that are refused")
    length_ratio: Annotated[float, Field(gt=1.0)] = Field(
        1.5, description="answers longer or shorter than the base model's by this factor"
    )
    distinct_ratio: Annotated[float, Field(gt=1.0)] = Field(
        1.5, description="fewer different two-word runs than the base model's by this factor"
    )
    identical: Share = Field(0.2, description="rise of the share of answers that repeat another's")
    similarity: Share = Field(0.1, description="rise of the mean cosine between answers to different prompts")
    phrase: Share = Field(0.25, description="rise of the share of answers that hold one phrase")
    gold_fall: Annotated[float, Field(ge=0.0)] = Field(
        0.1, description="fall of the gold reward from its best, in standard deviations of a response's"
    )
    shift: Annotated[float, Field(ge=0.5, le=1.0)] = Field(
        0.75, description="AUC of telling labeled prompts from evaluation prompts"
    )
    judge_talk: Share = Field(0.05, description="rise of the share of answers with marks of a judge's prompt")
    saying_nothing: Share = Field(0.05, description="rise of the share of answers that say nothing")
    label_flips: Share = Field(
        0.5, description="share of judgements that flip with the order; a coin in each order gives 0.5"
    )
    label_ties: Share = Field(0.5, description="share of labels within 0.05 of a tie")
    label_agreement: Share = Field(
        0.6, description="share of labels that take people's side, below which it trips"
    )


class RoundsConfig(Section):
    """Several rounds, each from the newest policy: its answers are revised, labeled and learned from anew."""

    count: Positive = Field(1, description="rounds at most")
    earlier_weight: Share = Field(
        0.5, description="weight of an earlier round's pairs, per round of age; 0 drops them"
    )
    patience: Positive | None = Field(
        1, description="stop after so many rounds in which harmful answers did not get fewer; null: never"
    )
    max_refused_benign: Share | None = Field(
        0.1, description="guard: stop when the policy refuses more of the benign requests"
    )
    max_length_ratio: Annotated[float, Field(gt=1.0)] | None = Field(
        2.0, description="guard: stop when answers are longer or shorter than the base model's by this factor"
    )
    max_kl: Annotated[float, Field(gt=0.0)] | None = Field(
        None, description="guard: stop when the rounds' KL add up to more, nats per response"
    )


class BudgetConfig(Section):
    """What models on servers may cost, over all rounds. A run that has reached it stops, and can go on."""

    usd: Annotated[float, Field(gt=0.0)] | None = Field(None, description="US dollars at most")
    tokens: Positive | None = Field(None, description="tokens at most, read and written")


class HumanConfig(Section):
    """Human votes in a training round, and how they are mixed with the AI labels (``human/mixing/``).

    Votes imported into the run folder, and those of its voting page, take part without being named here.
    """

    votes: str | None = Field(None, description="further votes: a file or dataset that cai import can read")
    share: Share | None = Field(
        None, description="share of human labels in the mixture, reached by leaving rows out; null: all rows"
    )
    share_of: Literal["rows", "weight"] = Field(
        "rows", description="weight: keep all rows and weight them so that people's weigh the share"
    )
    size: Positive | None = Field(None, description="pairs in the mixture at most")
    weight: Annotated[float, Field(ge=0.0)] = Field(
        1.0, description="of a human label in the loss; an AI's is 1"
    )
    by_tag: dict[str, Literal["human", "ai", "both"]] = Field(
        {}, description="whose labels count for prompts with a tag, e.g. {helpful: human, harmless: ai}"
    )
    aggregate: Literal["majority", "dawid-skene", "each"] = Field(
        "majority", description="how several people's votes on a pair become a label"
    )
    conflict: Literal["human", "average", "drop"] = Field(
        "human",
        description="where both judged a pair: people's label, both averaged, or none if they disagree",
    )
    recalibrate: Literal["temperature", "isotonic"] | None = Field(
        None, description="correct AI labels by the pairs that people judged too"
    )
    recalibrate_by: Literal["tag", "principle"] | None = Field(
        None, description="apart for each first tag, or first principle, on which the labeler differs"
    )
    near_duplicates: Annotated[float, Field(gt=0.0, le=1.0)] | None = Field(
        0.9,
        description="similarity from which a pair repeats another, or an evaluation prompt; null: keep all",
    )


class RunConfig(Section):
    """Everything that determines a run."""

    constitution: str = "harmless"
    model: Model = ModelConfig()
    critic: Model | None = Field(None, description="default: the base model")
    labeler: Model | None = Field(None, description="default: the critic")
    prompts: str | None = Field(None, description="jsonl, csv, parquet or a dataset name; pocket has its own")
    column: str | None = Field(None, description="the column of prompts that holds them; null: found out")
    templates: str | None = Field(None, description="folder whose *.jinja files replace the shipped ones")
    limit: Positive | None = Field(None, description="use only the first N prompts")
    seed: int = 0
    method: Literal["dpo", "ppo", "grpo", "rloo", "best-of-n"] = "dpo"
    generate: GenerateConfig = GenerateConfig()
    revise: ReviseConfig = ReviseConfig()
    sft: SFTConfig = SFTConfig()
    sample: SampleConfig = SampleConfig()
    label: LabelConfig = LabelConfig()
    human: HumanConfig = HumanConfig()
    dpo: DPOConfig = DPOConfig()
    reward_model: RewardModelConfig = RewardModelConfig()
    reward: tuple[RewardTerm, ...] = Field((RewardTerm(),), min_length=1, description="what RL maximises")
    gold: RewardTerm | None = Field(None, description="a second reward that nothing trains on: a watch")
    ppo: PPOConfig = PPOConfig()
    grpo: GroupConfig = GroupConfig()
    rloo: GroupConfig = GroupConfig()
    best_of_n: BestOfNConfig = BestOfNConfig()
    evaluate: EvaluateConfig = EvaluateConfig()
    monitor: MonitorConfig = MonitorConfig()
    rounds: RoundsConfig = RoundsConfig()
    budget: BudgetConfig = BudgetConfig()
    memory: Literal["refuse", "warn"] = Field(
        "refuse", description="what becomes of a run that by the memory plan does not fit into the machine"
    )
    report_to: tuple[Literal["tensorboard"], ...] = Field(
        (), description="where figures go besides the run folder's own files: logs/ for TensorBoard"
    )

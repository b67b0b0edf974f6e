"""The networks of reinforcement learning: policy, frozen reference and critic, by token. B rows, T tokens.

In full: three models. With LoRA: one frozen base with two adapters, "default" for the policy and "critic";
the reference is the base with its adapters off, so memory holds the base once.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from cai.trainconfig import LoraConfig, PPOConfig
from cai.training.batches import Batch
from cai.training.device import Device, settings, use_fast_attention
from cai.training.losses import token_logprobs

CRITIC = "critic"


class Actors(nn.Module):
    """Each method returns one number per response token, row after row: (N,), in float32."""

    def __init__(self, policy: Any, reference: Any, critic: Any, head: nn.Linear, device: Device) -> None:
        """``reference`` and ``critic`` (a model without output layer) are None with LoRA."""
        super().__init__()
        self.policy, self.reference, self.critic, self.head = policy, reference, critic, head
        self.device = device
        self.lora = critic is None
        self._settle()
        if self.lora:
            self.policy_parameters = _adapter(policy, "default")
            self.critic_parameters = [*_adapter(policy, CRITIC), *head.parameters()]
        else:
            reference.requires_grad_(False)
            self.policy_parameters = list(policy.parameters())
            self.critic_parameters = [*critic.parameters(), *head.parameters()]
        for parameter in (*self.policy_parameters, *self.critic_parameters):
            parameter.requires_grad_(True)

    def _settle(self) -> None:
        """No dropout: a ratio of probabilities means nothing where every pass draws another network."""
        for module in self.modules():
            if isinstance(module, nn.Dropout):
                module.p = 0.0
            if isinstance(getattr(module, "attention_dropout", None), float):
                setattr(module, "attention_dropout", 0.0)  # noqa: B010 (torch types attributes as modules)
        self.train(self.device.gradient_checkpointing)  # which transformers does in training mode alone

    def logprobs(self, batch: Batch, temperature: float) -> Tensor:
        """log π of every response token at ``temperature``."""
        with self._use("default"):
            return self._logprobs(self.policy, batch, temperature)

    @torch.no_grad()
    def reference_logprobs(self, batch: Batch, temperature: float) -> Tensor:
        """log π_ref of every response token."""
        if not self.lora:
            return self._logprobs(self.reference, batch, temperature)
        with self.policy.disable_adapter():
            return self._logprobs(self.policy, batch, temperature)

    def values(self, batch: Batch) -> Tensor:
        """V of the state in which each response token is chosen."""
        with self._use(CRITIC), self.device.autocast:
            backbone = self.policy.get_base_model().base_model if self.lora else self.critic
            hidden = backbone(input_ids=batch["ids"], attention_mask=batch["attention"], use_cache=False)
            values: Tensor = self.head(hidden.last_hidden_state[_before(batch)]).squeeze(-1)
        return values.float()

    def merged(self) -> Any:
        """The policy as a plain model to be saved. The last thing to be done with LoRA."""
        return self.policy.merge_and_unload(adapter_names=["default"]) if self.lora else self.policy

    def _logprobs(self, model: Any, batch: Batch, temperature: float) -> Tensor:
        before = _before(batch)

        def select(module: Any, args: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
            return (args[0][before], *args[1:])  # logits of N positions instead of B * T

        handle = model.get_output_embeddings().register_forward_pre_hook(select)
        try:
            with self.device.autocast:
                output = model(input_ids=batch["ids"], attention_mask=batch["attention"], use_cache=False)
        finally:
            handle.remove()
        logits = output.logits if temperature == 1.0 else output.logits / temperature
        return token_logprobs(logits, batch["ids"][:, 1:][batch["completion"][:, 1:]])

    @contextmanager
    def _use(self, adapter: str) -> Iterator[None]:
        if self.lora and self.policy.active_adapter != adapter:
            self.policy.set_adapter(adapter)
            for parameter in (*self.policy_parameters, *self.critic_parameters):
                parameter.requires_grad_(True)  # peft freezes the adapter that is not in use
        yield


def _before(batch: Batch) -> Tensor:
    """Positions whose output predicts a response token: (B, T) bool."""
    marks = torch.zeros_like(batch["completion"])
    marks[:, :-1] = batch["completion"][:, 1:]
    return marks


def _adapter(model: Any, name: str) -> list[nn.Parameter]:
    return [parameter for key, parameter in model.named_parameters() if f".{name}." in key]


def load_actors(policy_path: str, critic_path: str | None, config: PPOConfig, seed: int) -> Actors:
    """Policy and reference from ``policy_path``; the critic from there too, or from a reward model.

    A fresh value head is drawn with a deviation of 1/√(d+1) (Huang et al. 2024). A reward model in
    ``critic_path`` gives its head as well; with LoRA it isn't used, since the base is shared.
    """
    from transformers import AutoModelForCausalLM

    def load() -> Any:
        return AutoModelForCausalLM.from_pretrained(policy_path, dtype=torch.float32)

    def quick(model: Any) -> Any:
        longest = config.max_prompt_tokens + config.max_tokens
        use_fast_attention(model, device, config.micro_batch_size, longest)
        return model

    policy = load()
    device = settings(config, sum(weight.numel() for weight in policy.parameters()))
    quick(policy)
    if device.gradient_checkpointing:
        policy.gradient_checkpointing_enable({"use_reentrant": False})
    if config.lora is not None:
        return _with_adapters(policy, config.lora, device, seed)
    backbone, head = (
        _reward_critic(critic_path) if critic_path else (load().base_model, _fresh_head(policy, seed))
    )
    return Actors(policy, quick(load()), quick(backbone), head, device).to(device.kind)


def _with_adapters(policy: Any, lora: LoraConfig, device: Device, seed: int) -> Actors:
    from peft import LoraConfig as PeftLoraConfig
    from peft import get_peft_model

    adapter = PeftLoraConfig(
        task_type="CAUSAL_LM",
        r=lora.r,
        lora_alpha=lora.alpha,
        lora_dropout=0.0,
        target_modules=lora.target_modules,
    )
    head = _fresh_head(policy, seed)
    if device.kind == "cuda":
        policy = policy.to(device.dtype)
    torch.manual_seed(seed % 2**63)
    model: Any = get_peft_model(policy, adapter)
    model.add_adapter(CRITIC, adapter)
    return Actors(model, None, None, head, device).to(device.kind)


def _reward_critic(path: str) -> tuple[Any, nn.Linear]:
    from transformers import AutoModelForSequenceClassification

    model: Any = AutoModelForSequenceClassification.from_pretrained(path, dtype=torch.float32)
    score = model.score
    head = nn.Linear(score.in_features, 1)
    with torch.no_grad():
        head.weight.copy_(score.weight)
        head.bias.fill_(-float(getattr(model.config, "reward_center", 0.0) or 0.0))
    return model.base_model, head


def _fresh_head(model: Any, seed: int) -> nn.Linear:
    width = model.config.get_text_config().hidden_size
    head = nn.Linear(width, 1)
    generator = torch.Generator().manual_seed(seed % 2**63)
    with torch.no_grad():
        head.weight.normal_(0.0, 1.0 / math.sqrt(width + 1), generator=generator)
        head.bias.zero_()
    return head


def stored_dtype(path: str) -> torch.dtype:
    """The precision of the files in ``path``: trained weights are saved in it too."""
    from transformers import AutoConfig

    dtype = getattr(AutoConfig.from_pretrained(path), "dtype", None)
    return dtype if isinstance(dtype, torch.dtype) else getattr(torch, dtype or "float32")

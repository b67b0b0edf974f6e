"""The networks of reinforcement learning: policy, frozen reference and critic, by token. B rows, T tokens.

In full: three models, or two where the critic is shared, that is, a value head on the policy's last hidden
states. With LoRA: one frozen base with an adapter for the policy, "default", and one for a critic that is not
shared, "critic"; the reference is the base with its adapters off, so memory holds the base once.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from cai.config.train_config import PPOConfig
from cai.training.device import Device, settings, use_fast_attention
from cai.training.noise import without_noise
from cai.training.updates import loop, low_bits
from cai.training.updates.adapters import require_adaptable
from cai.training.updates.batches import Batch
from cai.training.updates.loop import load_language_model, loading
from cai.training.updates.losses import token_logprobs
from cai.training.updates.low_bits import quantized, weights_of

CRITIC = "critic"
Loss = Callable[[Tensor], Tensor]
"""From one number per response token, (N,), to the scalar that is made smaller."""


class Actors(nn.Module):
    """Each method returns one number per response token, row after row: (N,), in float32."""

    def __init__(
        self, policy: Any, reference: Any, critic: Any, head: nn.Linear, device: Device, *, shared: bool
    ) -> None:
        """``critic`` (without output layer) is None if ``shared``; with LoRA it and ``reference`` are."""
        super().__init__()
        self.policy, self.reference, self.critic, self.head = policy, reference, critic, head
        self.device, self.shared, self.lora = device, shared, reference is None
        self._settle()
        if self.lora:
            self.policy_parameters = _adapter(policy, "default")
            trunk = [] if shared else _adapter(policy, CRITIC)
        else:
            reference.requires_grad_(False)
            self.policy_parameters = list(policy.parameters())
            trunk = [] if shared else list(critic.parameters())
        self.critic_parameters = [*trunk, *head.parameters()]
        for parameter in (*self.policy_parameters, *self.critic_parameters):
            parameter.requires_grad_(True)

    def _settle(self) -> None:
        """No noise, and the mode in which memory is spared."""
        without_noise(self)
        self.train(self.device.gradient_checkpointing)  # which transformers does in training mode alone

    @torch.no_grad()
    def read(self, batch: Batch, temperature: float) -> tuple[Tensor, Tensor]:
        """log π at ``temperature`` of every response token, and V of the state in which it is chosen."""
        logprobs, hidden = self._policy(batch, temperature)
        return logprobs, self._value(hidden) if self.shared else self._separate_values(batch)

    @torch.no_grad()
    def reference_logprobs(self, batch: Batch, temperature: float) -> Tensor:
        """log π_ref of every response token."""
        if not self.lora:
            return self._logprobs(self.reference, batch, temperature)[0]
        with self.policy.disable_adapter():
            return self._logprobs(self.policy, batch, temperature)[0]

    def descend(self, batch: Batch, temperature: float, policy: Loss | None, critic: Loss) -> None:
        """Add to the gradients those of ``policy`` of log π and of ``critic`` of V.

        One pass where they share a network; else one after the other, so that only one of them has its
        intermediate results in memory. Without ``policy`` only what is the critic's alone gets gradients.
        """
        if self.shared:
            with torch.set_grad_enabled(policy is not None):
                logprobs, hidden = self._policy(batch, temperature)
            loss = critic(self._value(hidden))
            torch.autograd.backward(loss if policy is None else loss + policy(logprobs))
            return
        if policy is not None:
            torch.autograd.backward(policy(self._policy(batch, temperature)[0]))
        torch.autograd.backward(critic(self._separate_values(batch)))

    def merged(self, plain: Callable[[], Any]) -> Any:
        """The policy as a plain model to be saved. The last thing to be done with LoRA.

        ``plain`` loads the policy's own start anew, for one that is in memory in 4 bits.
        """
        return low_bits.merged(self.policy, plain) if self.lora else self.policy

    def _policy(self, batch: Batch, temperature: float) -> tuple[Tensor, Tensor]:
        with self._use("default"):
            return self._logprobs(self.policy, batch, temperature)

    def _separate_values(self, batch: Batch) -> Tensor:
        with self._use(CRITIC), self.device.autocast:
            trunk = backbone(self.policy.get_base_model()) if self.lora else self.critic
            hidden = trunk(input_ids=batch["ids"], attention_mask=batch["attention"], use_cache=False)
        return self._value(hidden.last_hidden_state[_before(batch)])

    def _value(self, hidden: Tensor) -> Tensor:
        """(N, d) → (N,)."""
        with self.device.autocast:
            values: Tensor = self.head(hidden).squeeze(-1)
        return values.float()

    def _logprobs(self, model: Any, batch: Batch, temperature: float) -> tuple[Tensor, Tensor]:
        """(N,) log-probabilities, and the (N, d) hidden states that the output layer made them from."""
        before, seen = _before(batch), []

        def select(module: Any, args: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
            seen.append(args[0][before])
            return (seen[0], *args[1:])  # logits of N positions instead of B * T

        handle = model.get_output_embeddings().register_forward_pre_hook(select)
        try:
            with self.device.autocast:
                output = model(input_ids=batch["ids"], attention_mask=batch["attention"], use_cache=False)
        finally:
            handle.remove()
        logits = output.logits if temperature == 1.0 else output.logits / temperature
        return token_logprobs(logits, batch["ids"][:, 1:][batch["completion"][:, 1:]]), seen[0]

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


def load_actors(
    policy_path: str,
    critic_path: str | None,
    config: PPOConfig,
    seed: int,
    ready: Callable[[Any], None] = lambda policy: None,
) -> Actors:
    """Policy and reference from ``policy_path``; the critic from there too, or from a reward model.

    A fresh value head is drawn with a deviation of 1/√(d+1) (Huang et al. 2024). A reward model in
    ``critic_path`` gives its head as well; it isn't used where the critic has no weights of its own, with
    LoRA or shared. ``ready`` is given the policy before anything is built around it.
    """

    def load() -> Any:
        return load_language_model(policy_path, weights_of(config, settings(config, 0).dtype))

    def quick(model: Any) -> Any:
        longest = config.max_prompt_tokens + config.max_tokens
        use_fast_attention(model, device, config.micro_batch_size, longest)
        return model

    policy = load()
    adapter = loop.adapter(config.lora, task_type="CAUSAL_LM", lora_dropout=0.0)
    require_adaptable(policy, adapter, policy_path)
    ready(policy)
    device = settings(config, sum(weight.numel() for weight in policy.parameters()))
    quick(policy)
    if device.gradient_checkpointing:
        policy.gradient_checkpointing_enable({"use_reentrant": False})
    shared = config.critic == "shared"
    if config.lora is not None:
        return _with_adapters(policy, adapter, config, device, seed)
    if shared:
        head = _fresh_head(policy, seed)
        return Actors(policy, quick(load()), None, head, device, shared=True).to(device.kind)
    critic, head = (
        _reward_critic(critic_path) if critic_path else (backbone(load()), _fresh_head(policy, seed))
    )
    return Actors(policy, quick(load()), quick(critic), head, device, shared=False).to(device.kind)


def _with_adapters(policy: Any, adapter: Any, config: PPOConfig, device: Device, seed: int) -> Actors:
    from peft import get_peft_model

    shared = config.critic == "shared"
    head = _fresh_head(policy, seed)
    torch.manual_seed(seed % 2**63)
    model: Any = get_peft_model(policy, adapter)
    if not shared:
        model.add_adapter(CRITIC, adapter)
    made = Actors(model, None, None, head, device, shared=shared)
    if quantized(config):  # on its device already, where everything else goes, too
        head.to(device.kind)
        return made
    return made.to(device.kind)


def _reward_critic(path: str) -> tuple[Any, nn.Linear]:
    from transformers import AutoModelForSequenceClassification

    with loading("reward model", path):
        model: Any = AutoModelForSequenceClassification.from_pretrained(
            path, dtype=torch.float32, trust_remote_code=False
        )
    score = model.score
    head = nn.Linear(score.in_features, 1)
    with torch.no_grad():
        head.weight.copy_(score.weight)
        head.bias.fill_(-float(getattr(model.config, "reward_center", 0.0) or 0.0))
    return backbone(model), head


def backbone(model: Any) -> Any:
    """The model without its output layer, which not every architecture calls by the name it announces."""
    from transformers import PreTrainedModel

    if model.base_model is not model:
        return model.base_model
    return next(child for child in model.children() if isinstance(child, PreTrainedModel))


def _fresh_head(model: Any, seed: int) -> nn.Linear:
    width = model.config.get_text_config().hidden_size
    head = nn.Linear(width, 1)
    generator = torch.Generator().manual_seed(seed % 2**63)
    with torch.no_grad():
        head.weight.normal_(0.0, 1.0 / math.sqrt(width + 1), generator=generator)
        head.bias.zero_()
    return head

"""A reward model on soft labels (Bai et al. 2022, §4.1: Bradley-Terry), through TRL's RewardTrainer.

    result = train_reward("checkpoints/sft", ranked_pairs, RewardModelConfig(), "checkpoints/reward", seed=0)

The finished folder is a sequence-classification model with one label. Its reward is read at the last token of
a whole conversation as the template prints it, and ``problem_type`` says that it is a number, so that a
pipeline gives it as it is. ``reward_center`` in its config.json is the mean reward of the responses that
it learned from; ``rewards/model.py`` takes it off. Resuming and finding a finished training work as in
``sft.py``.

Which prompts are held out is decided by ``is_held_out`` before training: what is given here is learned.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from cai.config.train_config import RewardModelConfig
from cai.engines.local.causal import require_whole
from cai.engines.model_kinds import require_trainable
from cai.training.checkpoint import Workspace
from cai.training.examples import PairRow, encode_pairs
from cai.training.result import Progress, Say, TrainResult, Watch, to_stderr
from cai.training.updates.frame import train
from cai.training.updates.method import Method, Training
from cai.values.errors import TrainingError
from cai.values.types import Message, Prompt, Ranked, as_messages


def train_reward(
    model_path: str | Path,
    pairs: Sequence[Ranked],
    config: RewardModelConfig,
    out_dir: str | Path,
    seed: int,
    *,
    progress: Progress | None = None,
    should_stop: Callable[[], bool] | None = None,
    say: Say = to_stderr,
) -> TrainResult:
    """Train a reward model that starts from ``model_path``, with a fresh head; it is in ``out_dir``.

    Raises:
        TrainingError: no usable pair, a loss that is not finite, or no such form of this model.
        TrainingStopped: ``should_stop`` said so; a checkpoint is saved.
        KeyboardInterrupt: Ctrl-C in the main thread, likewise; SystemExit: SIGTERM or SIGHUP.
    """
    training = Training("reward", str(model_path), pairs, config, seed)
    return train(training, out_dir, _method, Watch(progress, should_stop, say))


def is_held_out(prompt: Prompt, share: float, seed: int) -> bool:
    """Whether a prompt is one of the ``share`` whose pairs validate; all pairs of a prompt go together.

    Decided by the text up to the first user turn: neither the same prompt under two ids nor a conversation
    and its continuation are on both sides.
    """
    first = next((i for i, m in enumerate(prompt.messages) if m.role == "user"), len(prompt.messages) - 1)
    text = json.dumps([seed, as_messages(prompt.messages[: first + 1])], ensure_ascii=True)
    draw = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
    return draw < share * 2**64


def _method(training: Training, workspace: Workspace) -> Method:
    from trl.trainer.reward_config import RewardConfig as Arguments

    from cai.training.updates.batches import pair_batch, pair_columns
    from cai.training.updates.trainers import SoftRewardTrainer

    return Method(
        tokenizer=_load_tokenizer,
        load=partial(_load_model, seed=training.seed),
        encode=partial(encode_pairs, stage="reward"),
        columns=lambda base, rows: pair_columns(rows),
        batch=pair_batch,
        trainer=SoftRewardTrainer,
        arguments=Arguments,
        sequences=2,
        lora={"task_type": "SEQ_CLS", "modules_to_save": ["score"]},
        finish=partial(_center, batch_size=2 * training.config.micro_batch_size),
    )


def _load_tokenizer(model_path: str) -> Any:
    """The tokenizer, padding with a token that ends no turn and no conversation.

    ``cai`` finds the last token by the attention mask. transformers' own forward takes the last one that is
    not padding, and would overlook an end of turn that is used for padding, too.
    """
    from cai.chat.encoding import encode_answered, end_ids
    from cai.training.updates.loop import load_tokenizer

    tokenizer = load_tokenizer(model_path)
    question = (Message("user", "?"),)
    last = {encode_answered(tokenizer, question, text)[-1] for text in ("!", "?")}
    ends = {*end_ids(tokenizer), *last}
    if tokenizer.pad_token_id is None or tokenizer.pad_token_id in ends:
        others = [tokenizer.unk_token, tokenizer.bos_token, *tokenizer.get_added_vocab()]
        usable = [t for t in others if t and tokenizer.convert_tokens_to_ids(t) not in ends]
        tokenizer.pad_token = usable[0] if usable else tokenizer.pad_token or tokenizer.eos_token
    return tokenizer


def _load_model(model_path: str, seed: int, weights: Mapping[str, Any] | None = None) -> Any:
    """The model with one output per sequence, whose head is drawn with a deviation of 1/√(d+1).

    Small enough that rewards start near 0 (Stiennon et al. 2020; Huang et al. 2024, §4.1).
    """
    import torch
    from transformers import AutoModelForSequenceClassification

    from cai.training.updates.loop import loading

    if (folder := Path(model_path)).is_dir():
        require_trainable(folder)
    with loading("model", model_path):
        try:
            loader: Any = AutoModelForSequenceClassification
            model, loaded = loader.from_pretrained(
                model_path,
                output_loading_info=True,
                num_labels=1,
                problem_type="regression",
                trust_remote_code=False,
                **(weights or {"dtype": torch.float32}),
            )
        except ValueError as error:  # transformers' word for "this architecture has none"
            raise TrainingError(f"no reward model can be made of {model_path}: {error}") from error
    head = getattr(model, "score", None)
    if not isinstance(head, torch.nn.Linear):
        raise TrainingError(
            f"no reward model can be made of {model_path}: {type(model).__name__} has no linear head "
            "'score'. Start from a decoder-only language model."
        )
    require_whole(model, loaded, model_path, drawn="score")
    draw = torch.Generator().manual_seed(seed % 2**63)
    drawn = torch.empty(head.weight.shape).normal_(0.0, 1.0 / math.sqrt(head.in_features + 1), generator=draw)
    head.float()
    with torch.no_grad():
        head.weight.copy_(drawn)
        if head.bias is not None:
            head.bias.zero_()
    return model


def _center(model: Any, base: Any, rows: Sequence[PairRow], batch_size: int) -> None:
    """Note the mean reward over all responses of the training pairs in the model's configuration."""
    import torch

    from cai.training.updates.scoring import pair_rewards

    # As rewards/model.py will read it: from weights that are already rounded to what is stored.
    (model if base.device.kind == "cpu" else model.score).float()
    chosen, rejected = pair_rewards(model, rows, base.pad, batch_size)
    model.to(base.stored)
    model.config.reward_center = float(torch.cat([chosen, rejected]).double().mean())

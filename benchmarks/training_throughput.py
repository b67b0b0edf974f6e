"""Real tokens per second of ``train_sft`` and ``train_dpo`` against TRL's own trainers with their defaults.

    python benchmarks/training_throughput.py [--method sft|dpo|both] [--repeats 5] [--rows 256] [--tuned]

Same model, same token rows of ragged length, same optimizer updates (32 rows, 8 per forward pass), same
device. The two take turns, so that whatever else the machine does hits both; the ratio is that of the
medians, printed with the range of the pairwise ratios. Padding is not counted. TRL's time is that of
``trainer.train()``; ours holds the whole training, for DPO also the pass over the reference. Loading and
writing models is counted for neither.

``--cpu-time`` is for a machine that others use at the same time: CPU seconds on one thread instead of wall
seconds. ``--tuned`` adds TRL with better settings: no
gradient checkpointing, lengths grouped, for DPO the reference computed beforehand and not counted.
"""

from __future__ import annotations

import argparse
import gc
import os
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
os.environ["HF_DATASETS_DISABLE_PROGRESS_BARS"] = "1"
os.environ["TQDM_DISABLE"] = "1"

import torch

from cai.config.train_config import DPOConfig, SFTConfig
from cai.pocket import MODEL_PATH
from cai.training.dpo import train_dpo
from cai.training.examples import Example, encode_examples, encode_pairs
from cai.training.quiet import quiet
from cai.training.sft import train_sft
from cai.values.types import Message, Prompt, Ranked, as_messages

WORDS = [f"w{number}" for number in range(1000)]
CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + ' ' + m.content + '<|im_end|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant ' }}{% endif %}"
)
UPDATE, FORWARD = 32, 8
Runner = Callable[[int], float]
"""One training with the given seed → its real tokens per second."""


def pocket_size_model(folder: Path) -> Path:
    """Random weights of the pocket model's shape (5.2M parameters), with one token per word of ``WORDS``.

    Speed depends on the shape alone, and with its own vocabulary the lengths are exactly those drawn.
    """
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    vocabulary = ["<unk>", "<|im_start|>", "<|im_end|>", "user", "assistant", *WORDS]
    backend = Tokenizer(models.WordLevel({word: i for i, word in enumerate(vocabulary)}, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    backend.add_special_tokens(vocabulary[:3])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, eos_token="<|im_end|>", pad_token="<unk>", unk_token="<unk>"
    )
    tokenizer.chat_template = CHATML
    config = LlamaConfig.from_pretrained(
        MODEL_PATH, dtype="float32", vocab_size=len(vocabulary), trust_remote_code=False
    )
    config.pad_token_id, config.bos_token_id, config.eos_token_id = 0, 1, 2
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def ragged(count: int, seed: int) -> tuple[list[Example], list[Ranked]]:
    """Prompts of 15 to 60 words, responses of log-normal length (median 45, cut to 8 to 300)."""
    draw = random.Random(seed)

    def text(words: int) -> str:
        return " ".join(draw.choices(WORDS, k=words))

    def response() -> str:
        return text(min(300, max(8, int(draw.lognormvariate(3.8, 0.6)))))

    prompts = [Prompt(str(i), (Message("user", text(draw.randint(15, 60))),)) for i in range(count)]
    examples = [Example(prompt, response()) for prompt in prompts]
    pairs = [Ranked(prompt, response(), response(), draw.uniform(0.5, 1.0), 1.0) for prompt in prompts]
    return examples, pairs


def ours(method: str, model: Path, items: list[Any], work: Path, dtype: str) -> Runner:
    """cai's training."""
    settings: Any = {"batch_size": UPDATE, "micro_batch_size": FORWARD, "dtype": dtype}

    def run(seed: int) -> float:
        out = work / f"{method}-{seed}"
        if method == "sft":
            config = SFTConfig(learning_rate=1e-4, **settings)
            result = train_sft(model, items, config, out, seed)
        else:
            dpo = DPOConfig(learning_rate=1e-5, **settings)
            result = train_dpo(model, items, dpo, out, seed)
        return result.tokens_per_second

    return run


def trls(method: str, model: Path, items: list[Any], work: Path, *, tuned: bool) -> Runner:
    """TRL's trainer on the same rows; everything that is not named here is TRL's default."""
    from transformers import AutoTokenizer
    from trl.trainer.dpo_config import DPOConfig as TRLDPOConfig
    from trl.trainer.dpo_trainer import DPOTrainer
    from trl.trainer.sft_config import SFTConfig as TRLSFTConfig
    from trl.trainer.sft_trainer import SFTTrainer

    tokenizer = AutoTokenizer.from_pretrained(model, trust_remote_code=False)
    tokens, rows = _columns(method, tokenizer, items)
    common: dict[str, Any] = {
        "output_dir": str(work / "trl"), "use_cpu": True, "report_to": "none", "disable_tqdm": True,
        "num_train_epochs": 1, "save_strategy": "no", "logging_strategy": "steps",
        "per_device_train_batch_size": FORWARD, "gradient_accumulation_steps": UPDATE // FORWARD,
    }  # fmt: skip
    if tuned:
        common |= {"gradient_checkpointing": False, "dataloader_pin_memory": False}
        common |= {"train_sampling_strategy": "group_by_length"} if method == "sft" else {}

    def run(seed: int) -> float:
        with quiet():
            if method == "sft":
                arguments = TRLSFTConfig(**common, seed=seed, completion_only_loss=True)
                trainer: Any = SFTTrainer(str(model), args=arguments, train_dataset=rows)
            else:
                settings = TRLDPOConfig(**common, seed=seed, precompute_ref_log_probs=tuned)
                trainer = DPOTrainer(str(model), args=settings, train_dataset=rows)
            _mute(trainer)
            start = time.monotonic()
            trainer.train()
            return tokens / (time.monotonic() - start)

    return run


def _columns(method: str, tokenizer: Any, items: list[Any]) -> tuple[int, Any]:
    """The number of real tokens, and the rows in the form that TRL takes."""
    from datasets import Dataset

    if method == "sft":
        sft = encode_examples(tokenizer, items, SFTConfig()).rows
        masks = [[0] * len(row.prompt) + [1] * len(row.completion) for row in sft]
        ids = [[*row.prompt, *row.completion] for row in sft]
        return sum(row.tokens for row in sft), Dataset.from_dict({"input_ids": ids, "completion_mask": masks})
    pairs = encode_pairs(tokenizer, items, DPOConfig()).rows
    columns = {
        "prompt": [as_messages(item.prompt.messages) for item in items],
        "chosen": [[{"role": "assistant", "content": item.chosen}] for item in items],
        "rejected": [[{"role": "assistant", "content": item.rejected}] for item in items],
    }
    return sum(row.tokens for row in pairs), Dataset.from_dict(columns)


def _mute(trainer: Any) -> None:
    from transformers.trainer_callback import PrinterCallback

    trainer.remove_callback(PrinterCallback)


def compare(method: str, runners: dict[str, Runner], repeats: int) -> None:
    """Take turns, then print tokens per second and the ratio of ours to each."""
    for run in runners.values():
        run(1000)  # warm up
    speeds: dict[str, list[float]] = {name: [] for name in runners}
    for repeat in range(repeats):
        for name, run in runners.items():
            gc.collect()
            speeds[name].append(run(repeat))
            print(f"{method} {name}: {speeds[name][-1]:,.0f} tok/s", file=sys.stderr, flush=True)
    for name, values in speeds.items():
        spread = f"{min(values):,.0f} to {max(values):,.0f}"
        print(f"{method} {name:<12} {statistics.median(values):8,.0f} tok/s  ({spread})")
    for name in list(runners)[1:]:
        ratios = [a / b for a, b in zip(speeds["cai"], speeds[name], strict=True)]
        middle = statistics.median(speeds["cai"]) / statistics.median(speeds[name])
        spread = f"pairs {min(ratios):.2f} to {max(ratios):.2f}, n={repeats}"
        print(f"{method} cai / {name}: {middle:.2f}  ({spread})")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--method", choices=["sft", "dpo", "both"], default="both")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--rows", type=int, default=256)
    parser.add_argument(
        "--dtype", choices=["auto", "float32", "bfloat16"], default="auto", help="of cai's side"
    )
    parser.add_argument("--tuned", action="store_true", help="also measure TRL with better settings")
    parser.add_argument("--cpu-time", action="store_true", help="for a busy machine: one thread, CPU seconds")
    options = parser.parse_args()
    if options.cpu_time:
        torch.set_num_threads(1)
        time.monotonic = time.process_time  # what both sides read
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        model = pocket_size_model(work / "model")
        examples, pairs = ragged(options.rows, seed=0)
        items: dict[str, list[Any]] = {"sft": examples, "dpo": pairs}
        for method in items if options.method == "both" else [options.method]:
            arguments = (method, model, items[method], work)
            runners = {"cai": ours(*arguments, options.dtype)}
            runners["trl default"] = trls(*arguments, tuned=False)
            if options.tuned:
                runners["trl tuned"] = trls(*arguments, tuned=True)
            compare(method, runners, options.repeats)


if __name__ == "__main__":
    main()

"""Families of models against everything that cai does with one: is it right, or refused in words?

    python -m benchmarks.compatibility                  # an hour; writes docs/compatibility.md
    python -m benchmarks.compatibility qwen3 gemma3     # these alone, to the terminal

Each family is a tiny random checkpoint (``tests/engines/tiny_families.py``, four times as wide: vLLM's
attention on a CPU has no narrower heads) with the chat template that models of its name ship, where an
installed package has it (``chat_templates.py``). It is measured in a process of its own, one after another;
cells are kept in ``RECORDS`` while the command runs, so that it goes on where it was interrupted. A cell is
"yes", the words of a refusal, or begins with WRONG. Left out: real weights, half precision, GPUs.
"""

from __future__ import annotations

import asyncio
import gc
import json
import multiprocessing
import os
import sys
import tempfile
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests" / "engines"), str(ROOT / "tests" / "training")]

import tiny_families  # noqa: E402 (they lie beside the tests)

from benchmarks import chat_templates  # noqa: E402
from cai.chat import encoding  # noqa: E402
from cai.chat.render import Renderer  # noqa: E402
from cai.values.errors import CaiError  # noqa: E402
from cai.values.types import Message, as_messages  # noqa: E402

PAGE = ROOT / "docs" / "compatibility.md"
BEGIN, END = "<!-- table: python -m benchmarks.compatibility -->", "<!-- end of table -->"
RECORDS = Path(tempfile.gettempdir()) / "cai-compatibility.jsonl"
PATIENCE = 300  # seconds for the next cell
WIDTH = 4
VLLM_CLOSE = 1e-3  # nats
PRELOAD = [
    *("torch", "transformers.models.auto.modeling_auto", "peft", "vllm", "vllm.v1.engine.llm_engine"),
    *("trl.trainer.sft_trainer", "trl.trainer.reward_trainer", "trl.trainer.dpo_trainer"),
]

#: family: the chat template of models that bear its name; the others get ChatML
TEMPLATES = {
    "llama": "llama3_1", "mistral": "mistral_v3_spm", "mistral (window)": "mistral_v1_spm",
    "ministral": "mistral_v11", "ministral3": "mistral_v13_thinking", "mixtral": "mistral_v2_spm",
    "qwen2": "qwen2_5", "qwen3": "qwen3", "qwen3_moe": "qwen3_instruct_2507", "qwen3_next": "qwen3_8",
    "qwen3_5_text": "qwen3_5_think", "qwen3_5_moe_text": "qwen3_6", "qwen2 (window)": "deepseek_r1_distill",
    "gemma": "gemma", "gemma2": "gemma", "gemma3": "gemma3", "gemma3_text": "gemma3",
    "gemma3n_text": "gemma3", "gemma4": "gemma4_v5", "gemma4_text": "gemma4_v5", "cohere": "cohere",
    "cohere2": "command_a_reasoning", "cohere2_moe": "command_a_reasoning", "deepseek_v3": "deepseekv3",
    "glm4_moe": "glm4moe", "gpt_oss": "gptoss", "lfm2": "lfm2_v2", "lfm2_moe": "lfm2_2_5_v2",
    "llama4_text": "llama4", "nemotron_h": "nemotron_3_nano", "phi3": "phi3", "phimoe": "phi3_5",
    "granite": "granite", "granitemoe": "granite", "granitemoehybrid": "granite", "seed_oss": "seed_oss",
    "kimi_linear": "kimi_k2", "stablelm": "zephyr", "minimax_m2": "qwq", "hunyuan_dense": "template_basic",
}  # fmt: skip
METASPACE = {"gemma", "gemma2", "gemma3", "gemma3_text", "mistral", "mistral (window)", "mixtral", "phi3"}
PLAIN = ("The lazy dog.", "And now?")


class Case:
    """A family's checkpoint, and what is trained from it when a column needs it."""

    def __init__(self, name: str, home: Path) -> None:
        wanted = TEMPLATES.get(name, "template_chatml")
        template = next(t for t in chat_templates.templates() if t.name == wanted)
        self.name, self.home, self.template = name, home, template.name
        self.tokenizer = chat_templates.tokenizer_for(template.text, False, name in METASPACE)
        tiny_families.tokenizer = lambda: self.tokenizer  # type: ignore[assignment]
        self.folder = tiny_families.save(name, home / "base", width=WIDTH)

    @cached_property
    def trained(self) -> Path:
        """After an update of SFT."""
        return self._sft("sft", None)

    @cached_property
    def merged(self) -> Path:
        """After two updates of SFT with LoRA."""
        from cai.config.train_config import LoraConfig

        return self._sft("lora", LoraConfig(r=4))

    def _sft(self, name: str, lora: Any) -> Path:
        from training_rows import examples

        from cai.config.train_config import SFTConfig
        from cai.training.sft import train_sft

        rate = 3e-3 if lora else 1e-4
        config = SFTConfig(batch_size=10, learning_rate=rate, dtype="float32", lora=lora)
        return train_sft(self.folder, examples(), config, self.home / name, 3, say=lambda line: None).path

    @cached_property
    def ends(self) -> list[int]:
        """The ids that end a turn, the learned one first."""
        learned = encoding.encode_pair(self.tokenizer, chat_templates.QUESTION, chat_templates.ANSWER)[1][-1]
        return [learned, *(i for i in encoding.end_ids(self.tokenizer) if i != learned)]


# --- the columns: each raises AssertionError with words, or returns what to print ------------------


def alone(case: Case) -> str:
    """``choose`` and ``complete`` of a ragged batch are those of the request alone."""
    import family_gaps

    gap, differ = asyncio.run(family_gaps.engine_gap(case.folder))
    assert gap < family_gaps.CLOSE and not differ, f"{gap:.1e} apart, {differ} answers differ"
    return "yes"


def saved(case: Case) -> str:
    """The trained checkpoint's template prints by default what was trained."""
    from cai.chat.tokenizer_files import load_tokenizer

    served = load_tokenizer(case.trained)
    for probe in (chat_templates.QUESTION, chat_templates.DIALOGUE):
        shown = served.apply_chat_template(
            Renderer(served).shown(probe), add_generation_prompt=True, return_dict=False
        )
        trained = encoding.encode(case.tokenizer, probe)
        assert list(shown) == trained == encoding.encode(served, probe), f"prints {served.decode(shown)!r}"
    return chat_templates.default_trained(case.tokenizer)


def stops(case: Case) -> str:
    """Plain ``generate`` and ``pipeline`` of the trained checkpoint stop at every end, without being told."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, LogitsProcessorList, pipeline

    class Forced:
        """The third token is ``end``, those before it another."""

        def __init__(self, end: int) -> None:
            self.end, self.calls = end, 0

        def __call__(self, ids: Any, scores: Any) -> Any:
            self.calls += 1
            forced = torch.full_like(scores, -1e4)
            forced[:, self.end if self.calls == 3 else ORDINARY] = 0.0
            return forced

    model: Any = AutoModelForCausalLM.from_pretrained(case.trained, trust_remote_code=False)
    tokenizer: Any = AutoTokenizer.from_pretrained(case.trained, trust_remote_code=False)
    asked = [{"role": "user", "content": "What is this?"}]
    ids = torch.tensor([encoding.encode(tokenizer, (Message("user", "What is this?"),))])
    for end in case.ends:
        forced = Forced(end)
        more: dict[str, Any] = {"max_new_tokens": 6, "logits_processor": LogitsProcessorList([forced])}
        drawn = model.generate(ids, attention_mask=torch.ones_like(ids), **more)[0, ids.shape[1] :].tolist()
        assert len(drawn) == 3, f"generate goes on after {tokenizer.convert_ids_to_tokens(end)}"
        forced.calls = 0
        pipeline("text-generation", model=model, tokenizer=tokenizer)(asked, **more)
        assert forced.calls == 3, f"pipeline goes on after {tokenizer.convert_ids_to_tokens(end)}"
    return "yes"


ORDINARY = 60  # a letter in every tokenizer here


def reward(case: Case) -> str:
    """A trained reward model gives in ``pipeline("text-classification")`` what cai reads."""
    import torch
    from training_rows import pairs
    from transformers import AutoModelForSequenceClassification, AutoTokenizer, pipeline

    from cai.config.train_config import RewardModelConfig
    from cai.rewards.model import RewardModel
    from cai.training.reward_model import train_reward
    from cai.values.types import Response

    if type(tiny_families.config_of(case.name)) not in AutoModelForSequenceClassification._model_mapping:
        return "not in transformers"
    config = RewardModelConfig(batch_size=10, learning_rate=1e-3, dtype="float32")
    out = train_reward(case.folder, pairs(), config, case.home / "reward", 3, say=lambda line: None).path
    asked = [Response(pair.prompt, text) for pair in pairs()[:5] for text in (pair.chosen, pair.rejected)]
    ours = torch.tensor([scored.value for scored in asyncio.run(RewardModel(out).score(asked))])
    tokenizer: Any = AutoTokenizer.from_pretrained(out, trust_remote_code=False)
    whole = [(*r.prompt.messages, Message("assistant", r.text)) for r in asked]
    texts = [tokenizer.apply_chat_template(as_messages(messages), tokenize=False) for messages in whole]
    classify: Any = pipeline("text-classification", model=str(out))
    center = json.loads((out / "config.json").read_text(encoding="utf-8"))["reward_center"]
    piped = torch.tensor([found["score"] for found in classify(texts)]) - center
    gap = float((piped - ours).abs().max())
    assert ours.std() > 1e-3, "all rewards are alike"
    assert gap < 1e-4, f"{gap:.1e} apart, with a deviation of {float(ours.std()):.1e}"
    return "yes"


def lora(case: Case) -> str:
    """SFT with LoRA: the merged checkpoint is the base with the saved adapter, and not the base."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    def load(folder: Path) -> Any:
        return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, trust_remote_code=False)

    def read(model: Any) -> Any:
        with torch.inference_mode():
            return model.eval()(torch.tensor([list(range(20, 60))]), use_cache=False).logits.log_softmax(-1)

    adapted = read(
        PeftModel.from_pretrained(load(case.folder), case.merged / "adapter", trust_remote_code=False)
    )
    gap = float((read(load(case.merged)) - adapted).abs().max())
    assert float((read(load(case.folder)) - adapted).abs().max()) > VLLM_CLOSE, "nothing was learned"
    assert gap < 1e-3, f"merged and adapter are {gap:.1e} apart"
    return "yes"


def equal(case: Case) -> str:
    """The trained checkpoint in vLLM: ``choose`` and greedy ``complete`` of the transformers engine."""
    theirs, ours = (_asked(case.trained, engine) for engine in ("vllm", "transformers"))
    pairs = zip(theirs[0], ours[0], strict=True)
    gap = max(abs(a - b) for one, other in pairs for a, b in zip(one, other, strict=True))
    differ = sum(a != b for a, b in zip(theirs[1], ours[1], strict=True))
    assert gap < VLLM_CLOSE and not differ, f"{gap:.1e} apart, {differ} of {len(ours[1])} answers differ"
    return "yes"


def _asked(folder: Path, name: str) -> tuple[list[Any], list[Any]]:
    """Log-probabilities and texts of an engine."""
    from family_gaps import TEXTS

    from cai.config.run_config import ModelConfig
    from cai.engines.backend import open_engine
    from cai.values.types import ChoiceRequest, CompletionRequest, Sampling

    options = (("A", "B"), ("A", "B)", "neither"))
    users = [(Message("user", text),) for text in TEXTS]
    picks = [ChoiceRequest(user, some, "The answer is: (") for user in users for some in options]
    tasks = [CompletionRequest(user, Sampling(0.0, max_tokens=24), 0) for user in users]

    async def ask() -> tuple[list[Any], list[Any]]:
        config = ModelConfig.model_validate({"name": str(folder), "engine": name, "dtype": "float32"})
        engine = await open_engine(config)
        try:
            found = await asyncio.gather(*map(engine.choose, picks))
            return [choice.logprobs for choice in found], await asyncio.gather(*map(engine.complete, tasks))
        finally:
            await engine.close()

    return asyncio.run(ask())


def follows(case: Case) -> str:
    """The vLLM sampler draws from the weights that it was given, after each of three syncs."""
    import torch
    from family_gaps import UNLIKE

    from cai.engines.samplers.sampler_vllm import VLLMSampler

    models = [tiny_families.build(case.name, seed, WIDTH) for seed in (0, 1)]
    rows = [[min(token, len(case.tokenizer) - 1) for token in row] for row in UNLIKE]
    sampler = VLLMSampler(case.folder, "float32", 256)
    try:
        for model in (*models, models[0]):
            sampler.sync(model)
            gaps = []
            for prompt, draw in zip(rows, sampler.sample(rows, range(len(rows)), 16, 1.0), strict=True):
                with torch.no_grad():
                    logits = model(torch.tensor([[*prompt, *draw.ids]]), use_cache=False).logits
                exact = logits[0, len(prompt) - 1 : -1].log_softmax(-1)[range(len(draw.ids)), list(draw.ids)]
                gaps.append((exact - torch.tensor(draw.logprobs)).abs().mean())
            gap = float(torch.stack(gaps).mean())
            assert gap < VLLM_CLOSE, f"{gap:.2g} nats per token off after a sync"
    finally:
        sampler.close()
    return "yes"


def vllm_stops(case: Case) -> str:
    """Plain ``vllm.LLM`` with the checkpoint's own sampling parameters stops at every end. The last column:
    what it loads is not freed."""
    from vllm import LLM

    model = LLM(
        str(case.trained), enforce_eager=True, max_model_len=256, dtype="float32", block_size=32,
        enable_chunked_prefill=False, enable_prefix_caching=False, kv_cache_memory_bytes=64 << 20,
    )  # fmt: skip
    prompt: Any = {"prompt_token_ids": encoding.encode(case.tokenizer, chat_templates.QUESTION)}
    for token in (*case.ends, ORDINARY):
        parameters = model.get_default_sampling_params()
        parameters.max_tokens, parameters.logit_bias = 4, {token: 100.0}
        first = model.generate([prompt], parameters, use_tqdm=False)[0].outputs[0]
        ended = first.finish_reason == "stop" and len(first.token_ids) == 1
        assert ended == (token != ORDINARY), f"{first.finish_reason} after {len(first.token_ids)} tokens"
    return "yes"


#: Heading, and what fills the cell. A column more is a function more.
COLUMNS: dict[str, Callable[[Case], str]] = {
    "ids = apply_chat_template": lambda case: chat_templates.ids_equal(case.tokenizer),
    "batch = alone": alone,
    "thought separated": lambda case: chat_templates.thought_apart(case.tokenizer),
    "generate and pipeline stop": stops,
    "saved default = trained": saved,
    "reward = pipeline's": reward,
    "LoRA": lora,
    "vLLM = transformers": equal,
    "sampler follows": follows,
    "vLLM stops": vllm_stops,
}
VLLM = ("sampler follows", "vLLM stops")  # nothing to see where vLLM does not load


def cell(column: Callable[[Case], str], case: Case) -> str:
    """What a column says of a family: what it saw, the words of a refusal, or WRONG and why."""
    try:
        return column(case)
    except CaiError as error:
        text = str(error)
    except AssertionError as error:
        text = f"WRONG: {error}"
    except Exception as error:  # nobody's words
        text = f"WRONG: {type(error).__name__}: {error}"
    return text.replace(str(case.home), "")


def measure(name: str, pipe: Any) -> None:
    """Send every cell of a family, in a process of its own."""
    import torch
    from transformers.utils import logging

    os.nice(10)
    gc.freeze()  # what was loaded before the fork need not be looked through again
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as home:
        case, loads = Case(name, Path(home)), True
        pipe.send(("template", case.template))
        for heading, column in COLUMNS.items():
            words = "–" if heading in VLLM and not loads else cell(column, case)
            loads = loads and not (heading == "vLLM = transformers" and words != "yes")
            pipe.send((heading, " ".join(words.split())[:400]))
    pipe.send(("whole", "yes"))


def measured(name: str, context: Any) -> dict[str, str]:
    """The cells of a family, as far as they came."""
    here, there = context.Pipe(False)
    process = context.Process(target=measure, args=(name, there))
    process.start()
    there.close()
    found = {"family": name}
    try:
        while "whole" not in found and here.poll(PATIENCE):
            heading, words = here.recv()
            found[heading] = words
    except EOFError:
        process.join(10)
        found["died"] = f"WRONG: the process ended with {process.exitcode}"
    if process.is_alive():
        process.kill()  # also where all is told: vLLM is not freed
    process.join()
    if "whole" not in found:
        missing = next(heading for heading in ("template", *COLUMNS) if heading not in found)
        found[missing] = found.pop("died", f"WRONG: nothing within {PATIENCE} s")
    return found


def table(rows: list[dict[str, str]]) -> str:
    """Markdown; a refusal that stands in many cells is written out once below it."""
    heads = ["family", "template", *COLUMNS]
    lines = ["| " + " | ".join(heads) + " |", "| --- " * len(heads) + "|"]
    notes: dict[str, int] = {}
    for row in rows:
        shown = []
        for head in heads:
            words = row.get(head, "–").replace("|", r"\|").replace("<", "&lt;")
            if len(words) > 60:
                number = notes.setdefault(words, len(notes) + 1)
                words = f"{'WRONG' if words.startswith('WRONG') else 'no'} ({number})"
            shown.append(words)
        lines.append("| " + " | ".join(shown) + " |")
    return "\n".join([*lines, "", *(f"{number}. {words}" for words, number in notes.items())])


def main() -> None:
    """Measure the families that are named, or all of them and write the page."""
    os.environ.update(OMP_NUM_THREADS="1", HF_HUB_OFFLINE="1", VLLM_LOGGING_LEVEL="CRITICAL")
    context: Any = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOAD)
    names, known = sys.argv[1:], {}
    if not names and RECORDS.exists():
        rows = [json.loads(line) for line in RECORDS.read_text(encoding="utf-8").splitlines()]
        known = {row["family"]: row for row in rows}
    first = [*(name for name in TEMPLATES), *tiny_families.FAMILIES]
    for name in dict.fromkeys(names or first):
        if name not in known:
            known[name] = measured(name, context)
            print(json.dumps(known[name], ensure_ascii=False), flush=True)
            if not names:
                with RECORDS.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(known[name], ensure_ascii=False) + "\n")
                write(known)
    if names:
        print(table(list(known.values())))
    elif RECORDS.exists():
        RECORDS.unlink()


def write(known: dict[str, dict[str, str]]) -> None:
    """The page, with what is measured so far."""
    page = PAGE.read_text(encoding="utf-8")
    head, foot = page.split(BEGIN)[0], page.split(END)[1]
    text = table([known[name] for name in tiny_families.FAMILIES if name in known])
    left = [name for name in tiny_families.FAMILIES if name not in known]
    if left:
        text += f"\n\nNot measured yet ({len(left)}): {', '.join(left)}."
    PAGE.write_text(f"{head}{BEGIN}\n{text}\n{END}{foot}", encoding="utf-8")


if __name__ == "__main__":
    main()

"""What is no language model, or not a whole one, is refused by what it is before anything is asked of it."""

import asyncio
import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from cai.config.run_config import ModelConfig, RunConfig
from cai.engines.backend import engine_here, fingerprint, model_path, open_engine
from cai.engines.local.causal import load_causal, require_whole_files
from cai.engines.model_kinds import require_trainable
from cai.pipeline.launch import check
from cai.training.reward_model import _load_model
from cai.training.updates.loop import load_language_model, load_tokenizer
from cai.values.errors import CaiError, UsageError


@pytest.fixture
def folder(tiny_model, tmp_path):
    return shutil.copytree(tiny_model, tmp_path / "copy")


def edit(folder, name="config.json", drop=(), **settings):
    path = folder / name
    before = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps({k: v for k, v in (before | settings).items() if k not in drop}))


def config(folder, engine="transformers"):
    return ModelConfig(name=str(folder), engine=engine, dtype="float32")


KINDS = {
    "a reward model": ({"architectures": ["LlamaForSequenceClassification"]}, "a classifier or reward model"),
    "a classifier of tokens": ({"architectures": ["Qwen2ForTokenClassification"]}, "of tokens"),
    "an embedding model": ({"architectures": ["Qwen3Model"]}, "without an output layer"),
    "an encoder": ({"architectures": ["BertForMaskedLM"]}, "an encoder"),
    "a translator": (
        {"architectures": ["BartForConditionalGeneration"], "is_encoder_decoder": True},
        "an encoder with a decoder",
    ),
    "a model of pictures and text": (
        {"architectures": ["LlavaForConditionalGeneration"], "model_type": "llava"},
        r"a llava .* name another model to be trained",
    ),
    "a model with code of its own": (
        {"model_type": "x_llm", "auto_map": {"AutoConfig": "configuration_x.X"}},
        "never runs code that comes with a model",
    ),
    "an unknown family": (
        {"architectures": ["XForConditionalGeneration"], "model_type": "x"},
        "does not know",
    ),
}


@pytest.mark.parametrize("kind", KINDS)
def test_is_refused_by_what_it_is(folder, kind):
    settings, words = KINDS[kind]
    edit(folder, **settings)
    for refused in (
        lambda: engine_here(config(folder), folder),
        lambda: fingerprint(config(folder)),
        lambda: asyncio.run(open_engine(config(folder))),
        lambda: check(RunConfig(model=config(folder), prompts="pocket:train")),
    ):
        with pytest.raises(UsageError, match=words):
            refused()


def test_a_critic_is_looked_at_before_the_policy_answers(tiny_model, folder):
    edit(folder, architectures=["LlamaForSequenceClassification"])
    with pytest.raises(UsageError, match="a classifier or reward model"):
        check(RunConfig(model=config(tiny_model), critic=config(folder), prompts="pocket:train"))


@pytest.mark.parametrize("name", ["LlamaForCausalLM", "GPT2LMHeadModel", "GPT2DoubleHeadsModel", None])
def test_a_language_model_is_not(folder, name):
    edit(folder, architectures=name and [name])
    assert engine_here(config(folder), folder) == "transformers"


def test_an_adapter_beside_a_models_files_is_to_be_merged(folder):
    (folder / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": "org/base"}))
    with pytest.raises(UsageError, match=r"a LoRA adapter of org/base.*Merge it"):
        engine_here(config(folder), folder)
    with pytest.raises(UsageError, match="Merge it"):
        load_language_model(str(folder))


@pytest.mark.parametrize("method", ["gptq", "awq", "bitsandbytes", "compressed-tensors"])
def test_quantized_weights_are_not_trained(folder, method):
    edit(folder, quantization_config={"quant_method": method})
    for refused in (
        lambda: check(RunConfig(model=config(folder), prompts="pocket:train")),
        lambda: load_language_model(str(folder)),
        lambda: _load_model(str(folder), 0),
        lambda: require_trainable(folder),
    ):
        with pytest.raises(UsageError, match=rf"quantized weights \({method}\).*made from"):
            refused()


class TestWeights:
    def rewritten(self, folder, change):
        path = folder / "model.safetensors"
        save_file(change(load_file(path)), path, metadata={"format": "pt"})

    def test_that_are_missing_are_not_drawn_at_random(self, folder):
        self.rewritten(folder, lambda held: {k: v for k, v in held.items() if "layers.1.mlp" not in k})
        with pytest.raises(
            UsageError, match=r"lacks 3 of the weights of a LlamaForCausalLM .*mlp\.down_proj"
        ):
            load_causal(folder, torch.float32)
        with pytest.raises(UsageError, match="lacks 3 of the weights"):  # vLLM misses none
            require_whole_files(folder, load_tokenizer(str(folder)))
        with pytest.raises(CaiError, match="lacks 3 of the weights"):
            asyncio.run(open_engine(config(folder)))
        with pytest.raises(UsageError, match="lacks 3 of the weights"):
            load_language_model(str(folder))

    def test_an_output_layer_is_one_of_them_unless_it_is_the_embedding(self, folder):
        self.rewritten(folder, lambda held: {k: v for k, v in held.items() if k != "lm_head.weight"})
        edit(folder, tie_word_embeddings=False)
        for refused in (
            lambda: load_causal(folder, torch.float32),
            lambda: require_whole_files(folder, load_tokenizer(str(folder))),
        ):
            with pytest.raises(UsageError, match=r"\(lm_head\.weight\), which would be random"):
                refused()
        edit(folder, tie_word_embeddings=True)
        load_causal(folder, torch.float32)
        require_whole_files(folder, load_tokenizer(str(folder)))

    def test_nor_is_the_body_of_a_reward_model_made_of_them(self, folder):
        self.rewritten(folder, lambda held: {k: v for k, v in held.items() if "layers.1.mlp" not in k})
        with pytest.raises(UsageError, match=r"lacks 3 of the weights of a LlamaForSequenceClassification"):
            _load_model(str(folder), 0)

    def test_of_other_shapes_are_named(self, folder):
        edit(
            folder,
            intermediate_size=json.loads((folder / "config.json").read_text())["intermediate_size"] // 2,
        )
        with pytest.raises(UsageError, match=r"weights in other shapes than its config\.json says \(model\."):
            load_causal(folder, torch.float32)

    def test_of_a_lost_or_a_cut_file_are_missed_before_loading(self, folder):
        model = load_causal(folder, torch.float32)
        (folder / "model.safetensors").unlink()
        model.save_pretrained(folder, max_shard_size="40KB")
        shards = sorted(folder.glob("model-*.safetensors"))
        assert len(shards) > 2
        assert model_path(config(folder)) == folder
        whole = shards[1].read_bytes()
        shards[1].write_bytes(whole[: len(whole) // 2])
        with pytest.raises(
            UsageError, match=rf"{shards[1].name} is cut off: {len(whole) // 2} of {len(whole)}"
        ):
            model_path(config(folder))
        shards[1].write_text("version https://git-lfs.github.com/spec/v1\n")
        with pytest.raises(UsageError, match="without Git LFS"):
            model_path(config(folder))
        shards[1].unlink()
        with pytest.raises(
            UsageError, match=rf"lacks 1 of its {len(shards)} weight files \({shards[1].name}\)"
        ):
            model_path(config(folder))

    @pytest.mark.parametrize("configured", [True, False])
    def test_in_llama_cpps_format_are_served(self, folder, configured):
        (folder / "model.safetensors").rename(folder / "model.Q4_K_M.gguf")
        if not configured:
            (folder / "config.json").unlink()
        with pytest.raises(
            UsageError, match=r"model\.Q4_K_M\.gguf is in llama\.cpp's format.*engine: openai"
        ):
            model_path(config(folder))


@pytest.mark.parametrize(
    ("text", "words"),
    [('{"eos_token_id": "1"}', "must be a number"), ('{"eos_token_id": [1, null]}', "must be a number")],
)
def test_ends_that_are_no_ids_are_named(folder, text, words):
    (folder / "generation_config.json").write_text(text)
    with pytest.raises(CaiError, match=rf"generation_config\.json: eos_token_id is .*{words}"):
        asyncio.run(open_engine(config(folder)))
    with pytest.raises(CaiError, match=r"generation_config\.json"):
        load_language_model(str(folder))


def test_a_tokenizer_without_an_end_has_its_remedy(folder):
    edit(folder, "tokenizer_config.json", drop=("pad_token", "eos_token"))
    (folder / "special_tokens_map.json").unlink(missing_ok=True)
    with pytest.raises(
        UsageError, match=r"neither a padding token nor an end of text.*tokenizer_config\.json"
    ):
        load_tokenizer(str(folder))


class TestTokensBeyondTheEmbeddings:
    """The text-only Gemma 3 has one: the control token of pictures, which no text holds."""

    def with_token(self, folder, *, special):
        from tokenizers import AddedToken

        tokenizer = load_tokenizer(str(folder))
        tokenizer.add_tokens([AddedToken("<picture>", special=special)], special_tokens=special)
        tokenizer.save_pretrained(folder)
        edit(folder, vocab_size=len(tokenizer) - 1)
        return tokenizer

    def test_a_control_token_that_nothing_writes_may_lie_there(self, folder):
        tokenizer = self.with_token(folder, special=True)
        assert len(load_tokenizer(str(folder))) == len(tokenizer)

    def test_one_that_a_text_may_hold_may_not(self, folder):
        self.with_token(folder, special=False)
        with pytest.raises(UsageError, match="do not belong together"):
            load_tokenizer(str(folder))

    def test_nor_one_that_the_template_writes(self, folder):
        tokenizer = self.with_token(folder, special=True)
        tokenizer.chat_template += "{{ '<picture>' }}"
        tokenizer.save_pretrained(folder)
        with pytest.raises(UsageError, match="do not belong together"):
            load_tokenizer(str(folder))

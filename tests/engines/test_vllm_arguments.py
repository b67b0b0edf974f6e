"""A user's arguments of vLLM: passed on, checked by vLLM's own list, part of the identity where need be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tiny_models import save_tiny_model

from cai.config.run_config import ModelConfig, RunConfig
from cai.engines import backend
from cai.engines.local import vllm_arguments
from cai.engines.local.vllm_arguments import for_a_sampler, identity, known_arguments, require_arguments
from cai.engines.local.vllm_settings import engine_arguments
from cai.pipeline.lineage import experiment
from cai.values.errors import UsageError


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_model(tmp_path_factory.mktemp("arguments") / "tiny")


def model(folder: Path | str = "m", **arguments: Any) -> ModelConfig:
    return ModelConfig.model_validate({"name": str(folder), "engine": "vllm", "vllm": arguments})


@pytest.mark.parametrize("gpu", [True, False])
def test_they_reach_the_engine_and_win_over_ours(tiny: Path, gpu: bool) -> None:
    found = engine_arguments(
        model(tiny, gpu_memory_utilization=0.4, max_num_seqs=3, quantization="fp8"), tiny, gpu
    )
    assert (found["gpu_memory_utilization"], found["max_num_seqs"], found["quantization"]) == (0.4, 3, "fp8")
    assert found["trust_remote_code"] is False


def test_vllm_s_own_list_is_read_without_importing_it() -> None:
    if not (known := known_arguments()):
        pytest.skip("vLLM is not installed")
    assert {"tensor_parallel_size", "gpu_memory_utilization", "quantization", "max_num_seqs"} <= known


def test_an_unknown_argument_is_named_with_its_neighbour(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vllm_arguments, "known_arguments", lambda: frozenset({"tensor_parallel_size"}))
    with pytest.raises(
        UsageError, match=r"no argument 'tensor_paralel_size'; did you mean 'tensor_parallel_size'"
    ):
        require_arguments(model(tensor_paralel_size=2), vllm=True)
    require_arguments(model(tensor_parallel_size=2), vllm=True)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("dtype", "use model.dtype"),
        ("max_model_len", "use model.max_model_len"),
        ("hf_token", "use the variable HF_TOKEN"),
        ("trust_remote_code", "runs no code"),
        ("load_format", "no pickled weights"),
        ("worker_cls", "runs no code"),
    ],
)
def test_what_is_cai_s_or_runs_code_is_refused(name: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        require_arguments(model(**{name: "x"}), vllm=True)


def test_without_vllm_they_have_no_effect_and_are_refused() -> None:
    with pytest.raises(UsageError, match="has no effect"):
        require_arguments(model(max_num_seqs=2), vllm=False)
    require_arguments(model(), vllm=False)


def test_what_can_change_an_answer_is_another_model(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backend.importlib.util, "find_spec", lambda name: object())
    plain = backend.fingerprint(model(tiny))
    assert backend.fingerprint(model(tiny, gpu_memory_utilization=0.4, tensor_parallel_size=2)) == plain
    assert backend.fingerprint(model(tiny, quantization="fp8")) != plain
    assert identity({"quantization": "fp8", "max_num_seqs": 4, "never_heard_of": 1}) == {
        "quantization": "fp8",
        "never_heard_of": 1,
    }


def test_where_a_model_is_makes_no_other_experiment() -> None:
    def asked(**arguments: Any) -> dict[str, str]:
        return experiment(RunConfig(model=model(**arguments)))

    assert asked() == asked(gpu_memory_utilization=0.4)
    assert asked() != asked(quantization="fp8")


def test_a_sampler_has_one_gpu_and_the_policy_as_it_is() -> None:
    given = {"gpu_memory_utilization": 0.4, "tensor_parallel_size": 2, "quantization": "fp8"}
    assert for_a_sampler(given) == {"gpu_memory_utilization": 0.4}

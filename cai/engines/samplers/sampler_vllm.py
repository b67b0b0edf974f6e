"""Sampler on vLLM, in this process and thread. New weights are loaded into the running engine.

On a CPU TRL's own way of handing weights over fails, and ``reload_weights`` with names as in a checkpoint
works: it replaces the weights in place, layer by layer. What vLLM multiplies from packed copies and does not
pack again after a reload is packed here (see ``_pack``). Keys and values that the old weights left in the
prefix cache are dropped with them.
Left out: several GPUs; sleep mode: on a GPU the cache is made no larger than ``CACHE_TOKENS`` or what the
memory plan leaves, so that model and optimizer fit beside it (not run on a GPU so far).
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

from cai.config.run_config import ModelConfig
from cai.engines.local.answers import TextSide
from cai.engines.local.vllm_loading import clean_up, load_vllm
from cai.engines.local.vllm_settings import BLOCK, CACHE_TOKENS, bars, engine_arguments, is_cpu_build
from cai.engines.model_files import cache_bytes_per_token, has_gpu
from cai.engines.samplers.sampler import POLICY_ADAPTER, Draw, check_room
from cai.values.errors import EngineError

_STRIDE = 61  # of the numbers of a layer of experts that are looked at


class VLLMSampler:
    """``sampler.Sampler`` over one vLLM engine, which starts with the weights in ``folder``."""

    def __init__(
        self,
        folder: Path,
        dtype: str = "auto",
        max_model_len: int | None = None,
        vllm: Mapping[str, Any] | None = None,
    ) -> None:
        """Load the checkpoint. ``vllm``: further arguments of vLLM's.

        Raises:
            EngineError: it cannot be loaded.
        """
        self._gpu = gpu = has_gpu() and not is_cpu_build()
        arguments = _arguments(folder, dtype, max_model_len, gpu, vllm or {})
        text = TextSide.load(folder, arguments["max_model_len"])
        self._end_ids = sorted(text.end_ids)
        self._context = text.context
        self.dtype = str(arguments["dtype"])
        self._names = count()
        with own_randomness():
            self._engine: Any = _load(folder, arguments, gpu)
        try:
            self._bars = bars(text.tokenizer, self._engine.model_config.get_vocab_size(), gpu)
        except EngineError:
            self.close()
            raise

    def sync(self, model: Any) -> None:
        """Load the weights of ``model`` into the engine; ``model`` itself stays as it is, bit by bit.

        Raises:
            EngineError: vLLM does not take them, or the adapter cannot be merged.
        """
        engine = self._running()
        try:
            arguments = {"weights_iterator": checkpoint_weights(model), "is_checkpoint_format": True}
            if not self._gpu:
                packed = engine.apply_model(_experts)[0]
            engine.collective_rpc("reload_weights", kwargs=arguments)
            if not self._gpu:
                engine.apply_model(partial(_pack, packed=packed))
        except EngineError:
            raise
        except Exception as error:
            raise EngineError(
                f"vLLM did not take the new weights: {type(error).__name__}: {error}. "
                "Use sampler: transformers for this model."
            ) from error
        if not engine.reset_prefix_cache():
            raise EngineError("vLLM kept keys and values of the old weights")

    def sample(
        self, prompts: Sequence[Sequence[int]], seeds: Sequence[int], max_tokens: int, temperature: float
    ) -> list[Draw]:
        """See ``Sampler``."""
        engine = self._running()
        check_room(prompts, self._context)
        places: dict[str, int] = {}
        found: dict[int, Draw] = {}
        try:
            for place, (prompt, seed) in enumerate(zip(prompts, seeds, strict=True)):
                name = str(next(self._names))
                places[name] = place
                parameters = self._parameters(seed, max_tokens, temperature)
                engine.add_request(name, {"prompt_token_ids": list(prompt)}, parameters)
            with own_randomness():
                while engine.has_unfinished_requests():
                    for output in engine.step():
                        found[places.pop(output.request_id)] = _draw(output)
        except EngineError:
            raise
        except Exception as error:
            raise EngineError(f"vLLM failed while sampling: {type(error).__name__}: {error}") from error
        finally:
            if places:  # interrupted
                engine.abort_request(list(places))
        return [found[place] for place in range(len(prompts))]

    def close(self) -> None:
        """See ``Sampler``."""
        engine, self._engine = self._engine, None
        if engine is not None:
            engine.engine_core.shutdown()
            del engine
            clean_up()

    def _running(self) -> Any:
        if self._engine is None:
            raise EngineError("the sampler is closed")
        return self._engine

    def _parameters(self, seed: int, max_tokens: int, temperature: float) -> Any:
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind

        return SamplingParams(
            temperature=temperature,
            max_tokens=max_tokens,
            seed=seed % 2**63,
            logprobs=0,  # of the sampled token alone
            stop_token_ids=self._end_ids,
            logit_bias=self._bars,
            detokenize=False,
            output_kind=RequestOutputKind.FINAL_ONLY,
        )


def _arguments(
    folder: Path, dtype: str, max_model_len: int | None, gpu: bool, own: Mapping[str, Any]
) -> dict[str, Any]:
    config = ModelConfig.model_validate(
        {"name": str(folder), "dtype": dtype, "max_model_len": max_model_len, "vllm": dict(own)}
    )
    arguments = engine_arguments(config, folder, gpu)
    per_token = cache_bytes_per_token(folder, arguments["dtype"])
    if own.keys() & {"kv_cache_memory_bytes", "gpu_memory_utilization" if gpu else "num_gpu_blocks_override"}:
        pass  # their bytes are said
    elif gpu:
        arguments["kv_cache_memory_bytes"] = CACHE_TOKENS * per_token
    elif "VLLM_CPU_KVCACHE_SPACE" not in os.environ:
        # As many rows as can run at once, each in whole blocks; one more row for what vLLM keeps back.
        row = -(-arguments["max_model_len"] // BLOCK) * BLOCK * per_token
        most = (arguments["max_num_seqs"] + 1) * row
        arguments["kv_cache_memory_bytes"] = min(arguments["kv_cache_memory_bytes"], most)
    # The distribution that was sampled from, after the temperature; vLLM's default is the one before it.
    return {**arguments, "logprobs_mode": "processed_logprobs"}


def _load(folder: Path, arguments: dict[str, Any], gpu: bool) -> Any:
    engine = load_vllm(folder, arguments, gpu)
    if not hasattr(engine, "model_executor"):
        engine.engine_core.shutdown()
        del engine
        clean_up()
        raise EngineError(
            "vLLM runs in a process of its own here, where weights can't be handed over. "
            "Unset VLLM_ENABLE_V1_MULTIPROCESSING, or use sampler: transformers."
        )
    return engine


def _experts(model: Any) -> dict[str, Any]:
    """Some numbers out of the packed weights of each layer of experts, by its name."""
    found = {}
    for name, module in model.named_modules():
        if _packer(module) is not None:
            found[name] = module.w13_weight.detach().flatten()[::_STRIDE].clone()
    return found


def _packer(module: Any) -> Any:
    """What packs the weights of a layer of experts on a CPU; None where ``module`` is none."""
    kernel = getattr(getattr(module, "quant_method", None), "moe_kernel", None)
    return getattr(kernel, "fused_experts", None)


def _pack(model: Any, packed: dict[str, Any]) -> None:
    """Pack anew what vLLM multiplies from packed copies on a CPU, and leaves unpacked after a reload.

    That is an output layer whose weights are the embedding's, since only what was loaded is packed; and the
    experts of a mixture, whose method packs when its kernel is made, which is once (vLLM 0.32,
    ``UnquantizedFusedMoEMethod._setup_kernel``).

    Raises:
        EngineError: experts are as they were ``packed``. The loader of their architecture (gpt_oss) writes
            past the parameters that take new weights.
    """
    from vllm.model_executor.layers.vocab_parallel_embedding import ParallelLMHead

    for name, module in model.named_modules():
        experts = _packer(module)
        if isinstance(module, ParallelLMHead):
            module.quant_method.process_weights_after_loading(module)
        elif experts is not None:
            if module.w13_weight.detach().flatten()[::_STRIDE].equal(packed[name]):
                raise EngineError(
                    f"vLLM keeps the experts of this architecture as it loaded them first ({name}), whatever "
                    "it is given. Use sampler: transformers."
                )
            experts.process_weights_after_loading(module)


@contextmanager
def own_randomness() -> Iterator[None]:
    """vLLM seeds the global generators and draws from them; the training must not notice."""
    import numpy
    import torch

    before = random.getstate(), numpy.random.get_state()
    with torch.random.fork_rng():
        try:
            yield
        finally:
            random.setstate(before[0])
            numpy.random.set_state(before[1])


def _draw(output: Any) -> Draw:
    """A finished request's token ids, and the log-probabilities of just these."""
    first = output.outputs[0]
    if first.finish_reason not in ("stop", "length"):
        raise EngineError(f"vLLM gave no response: it finished with {first.finish_reason!r}")
    ids = tuple(first.token_ids)
    lines = zip(ids, first.logprobs, strict=True)
    return Draw(ids, tuple(float(line[token].logprob) for token, line in lines), first.finish_reason)


def checkpoint_weights(model: Any) -> Iterator[tuple[str, Any]]:
    """Names and tensors as ``save_pretrained`` would write them, one after another, an adapter merged in.

    Nothing is merged in place: W + s·BA (Hu et al. 2021, eq. 3) is computed anew, and taking it off again
    would not give back the same W.

    Raises:
        EngineError: the adapter is of a kind that is not added to weights.
    """
    from transformers.core_model_loading import revert_weight_conversion

    base = model.get_base_model() if hasattr(model, "peft_config") else model
    weights = _merged(model, base) if base is not model else iter(base.state_dict().items())
    tied = set(getattr(base, "all_tied_weights_keys", None) or ())
    weights = ((name, tensor) for name, tensor in weights if name not in tied)
    if getattr(base, "_weight_conversions", None) == []:
        return weights  # its files bear the names it has in memory
    return iter(revert_weight_conversion(base, dict(weights)).items())


def _merged(model: Any, base: Any) -> Iterator[tuple[str, Any]]:
    """The weights of a LoRA model under the names they have without adapters."""
    import torch

    config = model.peft_config[POLICY_ADAPTER]
    if config.modules_to_save or getattr(config, "use_dora", False) or config.bias != "none":
        raise EngineError(
            "this adapter can't be handed to vLLM (DoRA, biases or modules_to_save). "
            "Use plain LoRA or sampler: transformers."
        )
    with torch.no_grad():
        for name, tensor in base.state_dict().items():
            owner, _, leaf = name.rpartition(".")
            if ".lora_" in name:
                continue
            if not owner.endswith(".base_layer"):
                yield name, tensor
                continue
            target = owner.removesuffix(".base_layer")
            layer = base.get_submodule(target)
            learned = leaf == "weight" and POLICY_ADAPTER in layer.scaling
            delta = layer.get_delta_weight(POLICY_ADAPTER).to(tensor.dtype) if learned else 0
            yield f"{target}.{leaf}", tensor + delta

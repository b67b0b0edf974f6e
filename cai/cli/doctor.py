"""``cai doctor``: every model that a configuration names, what it can do, and what cai will do with it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import typer

from cai.config.run_config import ModelConfig, RunConfig
from cai.engines import models
from cai.engines.backend import base_url, engine_here, fingerprint, model_path, on_a_server
from cai.engines.examination import Examination, examine
from cai.engines.hosted.protocols import server_engine
from cai.values.errors import CaiError
from cai.values.words import visible


def show(config: RunConfig, policy: bool = True) -> bool:
    """Print a table for each model, the policy among them or not; whether every one can play its parts."""
    roles: dict[str, list[str]] = {}
    for role, model in list(_named(config))[0 if policy else 1 :]:
        roles.setdefault(model.model_dump_json(), []).append(role)
    good = True
    for text, parts in roles.items():
        good = _show_one(ModelConfig.model_validate_json(text), parts, config) and good
    return good


def _named(config: RunConfig) -> Iterator[tuple[str, ModelConfig]]:
    yield "policy", config.model
    yield "critic", models.critic(config)
    yield "labeler", models.labeler(config)
    yield "judge", models.judge(config)
    yield from config.evaluate.models.items()


def _show_one(model: ModelConfig, parts: list[str], config: RunConfig) -> bool:
    typer.echo(f"{model.name} ({', '.join(parts)})")
    try:
        if not on_a_server(model):
            folder = model_path(model)
            _line("where", f"here: {folder}, {engine_here(model, folder)}")
            return True
        _line("where", base_url(model))
        found = asyncio.run(_examined(model))
    except CaiError as error:
        _line("fault", str(error))
        return False
    if found.fault:
        _line("fault", found.fault)
        return False
    for name, value in _rows(found):
        _line(name, value)
    reading = getattr(config.label, "read", "logprobs")
    unfit = [part for part in parts if part in ("labeler", "judge")]
    unread = bool(found.unread and unfit and reading == "logprobs")
    for line in _plan(found, model, unfit, reading):
        _line("so", line)
    if "policy" in parts:
        _line("fault", "a policy on a server cannot be trained; name a local one as model")
    return not unread and "policy" not in parts


def _rows(found: Examination) -> Iterator[tuple[str, str]]:
    yield (
        "answers",
        f"yes: reachable, key taken, {found.seconds:.2f} s, {found.tokens_per_second:.0f} tokens/s",
    )
    if found.known is not None:
        yield (
            "model",
            "in the server's list" if found.known else "not in the server's list, answers all the same",
        )
    if found.context:
        yield "context", f"{found.context:,} tokens"
    yield "thinks", "yes" if found.thinks else "no thought seen"
    yield "beginning", "continued" if found.beginning == "continued" else "in words"
    yield "options", found.options if found.options != "plain" else "in words, read strictly"
    listed = f"yes, up to {found.alternatives} alternatives"
    yield "logprobs", f"no: {found.unread}" if found.unread else listed
    said = {
        True: "same seed, same text",
        False: "same seed, another text",
        None: "not taken, or nothing to compare",
    }
    yield "seeds", said[found.seeds]
    if found.left_out:
        yield "refuses", ", ".join(found.left_out)


def _plan(found: Examination, model: ModelConfig, judging: list[str], reading: str) -> Iterator[str]:
    """What cai will therefore do."""
    if judging and not found.unread:
        yield f"as {' and '.join(judging)}: log-probabilities are read"
    elif judging and reading != "logprobs":
        yield f"as {' and '.join(judging)}: verdicts are sampled"
    elif judging:
        yield f"as {' and '.join(judging)}: cannot be used (label.read is {reading})"
    if "temperature" in found.left_out:
        yield "answers are drawn at the server's own temperature"
    if found.thinks and found.cut_off:
        setting = "null" if model.thinking is None else str(model.thinking).lower()
        yield f"thought used up a short answer's tokens: set thinking: false, or a budget (it is {setting})"


def _line(name: str, value: str) -> None:
    typer.echo(f"  {name:<10} {visible(value)}")


async def _examined(model: ModelConfig) -> Examination:
    engine = server_engine(model)(model, base_url(model), fingerprint(model))
    try:
        return await examine(engine)
    finally:
        await engine.close()


def settings(model: str | None, sets: Sequence[str] = ()) -> dict[str, Any]:
    """A model that is named alone plays critic and labeler; where it is, is told by what names a server.

    That is ``--set critic.engine`` or ``critic.base_url``, else the variables of a server's address or key. A
    folder and the pocket model are here, and nobody is asked about them.
    """
    if model is None:
        return {}
    here = model == "pocket" or Path(model).expanduser().is_dir()
    said = {text.partition("=")[0].strip() for text in sets}
    if here or "critic.engine" in said:
        return {"critic.name": model}
    if "critic.base_url" in said or any(
        os.environ.get(name) for name in ("OPENAI_BASE_URL", "OPENAI_API_KEY")
    ):
        return {"critic.name": model, "critic.engine": "openai"}
    if any(os.environ.get(name) for name in ("ANTHROPIC_BASE_URL", "ANTHROPIC_API_KEY")):
        return {"critic.name": model, "critic.engine": "anthropic"}
    return {"critic.name": model}

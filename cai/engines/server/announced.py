"""What a server says of the model behind a name, compared with what it said when answers were kept.

A run knows a model on a server by its name, so two models served under one name would answer for one another.
Most servers tell them apart in their list of models: vLLM gives the folder (``root``), llama.cpp sizes
(``meta``), others a hash. It is asked for when a server is asked anyway, and kept in the journal. A server
that tells nothing is believed: then the name (and ``revision``) is the user's word.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from cai.engines.server.learned import KEY, Learned, as_text, from_text, place
from cai.engines.server.openai import OpenAIEngine
from cai.run.journal import Journal, digest
from cai.values.errors import EngineError

# Of llama.cpp's ``meta``: what belongs to the weights, not to how they are served.
_SIZES = ("n_params", "n_vocab", "n_embd", "n_ctx_train", "size")
_HASHES = ("digest", "sha256", "hash", "fingerprint")


async def remember(engine: OpenAIEngine, journal: Journal) -> None:
    """Let ``engine`` begin with what ``journal`` knows of its server, and keep there what it learns.

    Raises:
        EngineError: the answers kept under this name are another model's.
    """
    now, where = await require_same_model(engine, journal), place(engine.base_url)
    sign = digest(where, now)
    engine.recall(from_text(journal.announced(engine.fingerprint).get(KEY, ""), sign, time.time()))

    def keep(learned: Learned) -> None:
        said = journal.announced(engine.fingerprint)
        journal.announce(engine.fingerprint, said | {KEY: as_text(learned, where, sign, time.time())})

    engine.keep = keep


async def require_same_model(engine: OpenAIEngine, journal: Journal) -> dict[str, str]:
    """What the server announces, looked at before it is asked for more.

    Raises:
        EngineError: the answers kept under this name are another model's.
    """
    before, now = journal.announced(engine.fingerprint), told_apart(await engine.models(), engine.name)
    differing = [name for name in now if before.get(name, now[name]) != now[name]]
    if differing:
        await engine.close()
        changes = ", ".join(f"{name} {before[name]}→{now[name]}" for name in differing)
        raise EngineError(
            f"{engine.name} at {engine.base_url} is another model than the one whose answers this run holds "
            f"({changes}). Name it apart with a revision, for example --set critic.revision={_word(now)}; "
            "if it is the same model, serve it as before."
        )
    if now.keys() - before.keys():
        journal.announce(engine.fingerprint, {**before, **now})
    return now


def told_apart(listed: list[Any], name: str) -> dict[str, str]:
    """What an entry of /models says of the weights, as name → value; nothing where it says nothing.

    Folders are told apart by their last part: the same model lies elsewhere on another host.
    """
    entries = [one for one in listed if isinstance(one, Mapping)]
    own = [one for one in entries if one.get("id") == name] or (entries if len(entries) == 1 else [])
    if not own:
        return {}
    entry, found = own[0], {}
    for key in ("id", "root", *_HASHES):
        value = entry.get(key)
        if isinstance(value, str) and value and value != name:
            found[key] = value.rstrip("/").rpartition("/")[2]
    meta = entry.get("meta")
    for key in _SIZES if isinstance(meta, Mapping) else ():
        if isinstance(meta.get(key), int):  # type: ignore[union-attr]
            found[key] = str(meta[key])  # type: ignore[index]
    return found


def _word(now: Mapping[str, str]) -> str:
    return next(iter(now.values())).replace(" ", "-")

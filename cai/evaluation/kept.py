"""What was measured without an engine, whose answers the journal would keep: JSON files in ``data/``.

Their names hold a hash of everything that shaped them, so nothing has to be invalidated by hand.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from cai.rewards.reward import Reward, Scored
from cai.run.folder import RunFolder
from cai.run.journal import digest
from cai.values.errors import CaiError
from cai.values.types import Response, as_messages


def read_kept(folder: RunFolder | None, file: str) -> dict[str, Any] | None:
    """What ``write_kept`` wrote; None where there is nothing yet.

    Raises:
        CaiError: it cannot be read.
    """
    path = folder.path / file if folder is not None else None
    if path is None or not path.exists():
        return None
    try:
        kept: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise CaiError(f"{path}: damaged ({error}); delete it and run the same command again") from error
    return kept


def write_kept(folder: RunFolder | None, file: str, values: dict[str, Any]) -> None:
    if folder is not None:
        (folder.path / "data").mkdir(parents=True, exist_ok=True)
        folder.write_text(file, json.dumps(values, allow_nan=False) + "\n")


async def rewards(
    reward: Reward,
    responses: Sequence[Response],
    folder: RunFolder | None,
    before: Callable[[], Awaitable[None]],
) -> list[Scored]:
    """``reward.score(responses)``, of those alone that it has not scored in this folder.

    Kept as data/rewards_<hash of the reward's fingerprint>.json, by the conversation's hash: [value, reason].
    ``before`` is awaited where anything has to be scored.

    Raises:
        CaiError: the file is damaged, or the reward is broken.
    """
    file = f"data/rewards_{reward.fingerprint[:16]}.json"
    known = read_kept(folder, file) or {}
    keys = [digest(as_messages(one.prompt.messages), one.text) for one in responses]
    new = {key: one for key, one in zip(keys, responses, strict=True) if key not in known}
    if new:
        await before()
        scored = await reward.score(list(new.values()))
        known |= {key: [one.value, one.reason] for key, one in zip(new, scored, strict=True)}
        write_kept(folder, file, known)
    return [Scored(*known[key]) for key in keys]

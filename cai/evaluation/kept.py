"""What was measured without an engine, whose answers the journal would keep: JSON files in ``data/``.

Their names hold a hash of everything that shaped them, so nothing has to be invalidated by hand. One that
cannot be read is absent: it is set aside as FILE.damaged, said in one line, and measured again.
"""

from __future__ import annotations

import json
import math
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from cai.rewards.reward import Reward, Scored
from cai.run.folder import RunFolder
from cai.run.journal import digest
from cai.run.mending import ASIDE
from cai.values.types import Response, as_messages

BATCH = 128  # rewards between two savings: what a kill costs at most

Say = Callable[[str], None]


def read_kept(
    folder: RunFolder | None, file: str, say: Say, sound: Callable[[dict[str, Any]], bool]
) -> dict[str, Any] | None:
    """What ``write_kept`` wrote; None where there is nothing, or nothing that is ``sound``."""
    path = folder.path / file if folder is not None else None
    if path is None or not path.exists():
        return None
    try:
        kept: Any = json.loads(path.read_bytes())
        if isinstance(kept, dict) and sound(kept):
            return kept
    except (ValueError, RecursionError):
        pass
    path.replace(path.with_name(path.name + ASIDE))
    say(f"{path}: damaged, so it is measured again (the file as it was: {path.name}{ASIDE})")
    return None


def write_kept(folder: RunFolder | None, file: str, values: dict[str, Any]) -> None:
    if folder is not None:
        (folder.path / "data").mkdir(parents=True, exist_ok=True)
        folder.write_text(file, json.dumps(values, allow_nan=False) + "\n")


async def rewards(
    reward: Reward,
    responses: Sequence[Response],
    folder: RunFolder | None,
    before: Callable[[], Awaitable[None]],
    say: Say,
) -> list[Scored]:
    """``reward.score(responses)``, of those alone that it has not scored in this folder.

    Kept as data/rewards_<hash of the reward's fingerprint>.json, by the conversation's hash: [value, reason],
    after every ``BATCH`` of them. ``before`` is awaited where anything has to be scored.

    Raises:
        CaiError: the reward is broken.
    """
    file = f"data/rewards_{reward.fingerprint[:16]}.json"
    known = read_kept(folder, file, say, _are_scores) or {}
    keys = [digest(as_messages(one.prompt.messages), one.text) for one in responses]
    new = {key: one for key, one in zip(keys, responses, strict=True) if key not in known}
    if new:
        await before()
    # Alike in length, a batch is padded little; the shortest first.
    ordered = sorted(new.items(), key=lambda item: len(item[1].text))
    for start in range(0, len(ordered), BATCH):
        batch = ordered[start : start + BATCH]
        scored = await reward.score([response for _, response in batch])
        known |= {key: [one.value, one.reason] for (key, _), one in zip(batch, scored, strict=True)}
        write_kept(folder, file, known)
    return [Scored(*known[key]) for key in keys]


def _are_scores(kept: dict[str, Any]) -> bool:
    return all(isinstance(one, list) and len(one) == 2 and _is_score(*one) for one in kept.values())


def _is_score(value: Any, reason: Any) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return isinstance(reason, str) and (number or (value is None and reason != ""))

"""Which texts SFT learns, decided by one stated rule.

The rule (Bai et al. 2022, §3.2 learn the revisions of all rounds; here what was not accepted stays out):

1. Every *accepted* revision of a transcript is a demonstration (``rounds: all``), or the last one
   only (``rounds: last``). Empty, cut-off, unchanged and refused revisions are never learned.
2. A transcript in which every critique found nothing gives its initial response ("kept").
   A transcript whose only outcomes were faults (empty, cut off, …) gives nothing: nobody vouched for it.
3. A text that stands several times for one prompt counts once.
4. Helpful demonstrations are added until they are ``helpful_share`` of all rows, drawn by seed.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence

from cai.stages.degenerate import degenerate
from cai.values.types import Demonstration, Outcome, Response, Transcript


def demonstrations(transcript: Transcript, rounds: str) -> list[Demonstration]:
    """What one transcript gives to SFT under rules 1–3; ``rounds`` is "all" or "last"."""
    prompt = transcript.prompt
    revised = [r for r in transcript.rounds if r.outcome is Outcome.REVISED]
    if not revised:
        vouched = transcript.rounds and all(r.outcome is Outcome.NO_PROBLEM for r in transcript.rounds)
        learned = vouched and not degenerate(transcript.initial)
        return [Demonstration(prompt, transcript.initial, "kept")] if learned else []
    if rounds == "last":
        revised = revised[-1:]
    unique = {r.response: r for r in reversed(revised)}
    ordered = sorted(unique.values(), key=lambda r: r.index)
    return [Demonstration(prompt, r.response, "revision", r.principle_id, r.index) for r in ordered]


def with_helpful(
    learned: Sequence[Demonstration], helpful: Sequence[Response], share: float, seed: int
) -> list[Demonstration]:
    """``learned`` plus enough of ``helpful`` to make up ``share`` of the result, shuffled by seed.

    With fewer helpful responses than that, all of them go in; none is repeated.
    """
    helpful = [response for response in helpful if not degenerate(response.text)]
    wanted = len(helpful) if share >= 1 else round(len(learned) * share / (1 - share))
    draw = random.Random(seed)
    taken = draw.sample(list(helpful), min(wanted, len(helpful)))
    rows = [*learned, *(Demonstration(r.prompt, r.text, "helpful") for r in taken)]
    draw.shuffle(rows)
    return rows


def outcome_counts(transcripts: Sequence[Transcript]) -> dict[str, int]:
    """How many rounds ended in each way; every kind is named, also those that never happened.

    ``critique_unread`` counts rounds beside their outcome: those whose critique gave no verdict.
    """
    counts = Counter(r.outcome for transcript in transcripts for r in transcript.rounds)
    unread = sum(r.unread is not None for transcript in transcripts for r in transcript.rounds)
    return {outcome.value: counts[outcome] for outcome in Outcome} | {"critique_unread": unread}

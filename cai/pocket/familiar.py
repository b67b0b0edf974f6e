"""Which prompts lie outside the pocket world: the model has never seen most of their words.

Its tokenizer can spell any text, so nothing fails; what it answers to such a prompt is gibberish.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache

from cai.pocket.world import load_world, nouns

STRANGE = 0.5  # share of unknown words from which a prompt counts as outside
SHORT = 3  # letters

_WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)*")
_SLOT = re.compile(r"\{\w+\}")


@cache
def known_words() -> frozenset[str]:
    """Every word of the world's prompts, answers and lists, in lower case."""
    world = load_world()
    texts = [*world.openers, *world.bare_refusals, *world.true_beliefs, *world.wrong_beliefs]
    texts += [
        *world.people,
        *world.adjectives,
        *(text for several in world.reasons.values() for text in several),
    ]
    texts += [text for task in world.tasks for text in (*task.prompts, *task.comply, *task.safe)]
    texts += [word for half in nouns() for word in half]
    return frozenset(word for text in texts for word in words(_SLOT.sub(" ", text)))


def words(text: str) -> list[str]:
    """The words of a text in lower case, each part of a hyphenated one by itself."""
    return [word.replace("’", "'") for word in _WORD.findall(text.casefold())]


def unknown_share(text: str) -> float:
    """Share of the words of ``text`` that the pocket model has never seen; 1 where it has no words.

    Words of up to three letters are left out where there are longer ones: "how do I" is known in any subject.
    """
    every = words(text)
    found = [word for word in every if len(word) > SHORT] or every
    return sum(word not in known_words() for word in found) / len(found) if found else 1.0


def strangeness(texts: Sequence[str]) -> str | None:
    """What to say about ``texts`` before the pocket model is asked; None where it knows all of them."""
    shares = [unknown_share(text) for text in texts]
    strange = sum(share >= STRANGE for share in shares)
    if not strange:
        return None
    none = sum(share == 1.0 for share in shares)
    return (
        "the pocket model knows a small world of its own: half or more of the words are new to it in "
        f"{strange:,} of {len(texts):,} prompts, all of them in {none:,}. Expect gibberish, or name a --model"
    )

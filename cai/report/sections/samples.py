"""The samples that a reader can browse: revisions with their labels, and answers to held-out prompts.

A report stays small, so of large runs only some samples are in it: drawn evenly over what came of them (every
combination of outcomes gets its turn), hence with rare outcomes over-represented, and by hash, so that the
same run shows the same ones. ``data`` is what the page's script reads; nothing in it is markup.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

from cai.report.material import Answer, Material, in_order
from cai.report.sections.diff import pieces
from cai.report.wording import model_name
from cai.values.types import Preference as Label
from cai.values.types import Prompt, Transcript
from cai.values.words import visible

Sample = dict[str, Any]
BUDGET = {"revision": 2_000_000, "answer": 1_200_000}  # bytes of JSON
MOST = {"revision": 900, "answer": 600}
LONGEST = 4_000  # characters of one text
LABELS = 6  # pairs of one prompt


@dataclass(frozen=True, slots=True)
class Samples:
    """``shown`` of ``there`` samples by kind ("revision", "answer")."""

    items: tuple[Sample, ...]
    shown: Mapping[str, int]
    there: Mapping[str, int]
    principles: Mapping[str, str]

    @property
    def note(self) -> str:
        """Which of the run's samples these are."""
        parts = []
        for kind, words in (("revision", "revised prompts"), ("answer", "held-out prompts")):
            shown, there = self.shown.get(kind, 0), self.there.get(kind, 0)
            if there:
                parts.append(
                    f"all {there:,} {words}" if shown == there else f"{shown:,} of {there:,} {words}"
                )
        if not parts:
            return "The run folder holds no transcripts and no answers to held-out prompts."
        capped = any(self.shown.get(kind, 0) < there for kind, there in self.there.items())
        why = (
            " The report is kept small: samples were drawn evenly over what came of them, so rare outcomes "
            "are over-represented and shares must not be read off here. All are in data/*.parquet."
        )
        return f"Here are {' and '.join(parts)}.{why if capped else ''}"

    def json(self) -> str:
        """For a script element of type application/json: no character that could end it or be markup."""
        text = json.dumps(
            {"principles": dict(self.principles), "items": self.items},
            ensure_ascii=False,
            separators=(",", ":"),
        )
        for sign in "<>&\u2028\u2029":
            text = text.replace(sign, f"\\u{ord(sign):04x}")
        return text


def collect(material: Material, others: Sequence[Material] = ()) -> Samples:
    """Samples of a run; the policies of ``others`` answer beside its own."""
    labels: dict[str, list[Label]] = defaultdict(list)
    for label in material.preferences:
        labels[label.comparison.prompt.id].append(label)
    revised, n_revised = _draw(
        "revision", material.transcripts, lambda t: t.prompt.id, _fate,
        lambda t: revision(t, labels.get(t.prompt.id, [])),
    )  # fmt: skip
    prompts, by_prompt = _by_prompt(material, others)
    answered, n_answered = _draw(
        "answer", list(prompts.values()), lambda p: p.id, lambda p: _differing(by_prompt[p.id]),
        lambda p: answers(p, by_prompt[p.id]),
    )  # fmt: skip
    used = {r["n"] for item in revised for r in item["r"]} | {
        j[0] for item in revised for label in item["l"] for j in label["j"]
    }
    known = material.constitution.principles if material.constitution else ()
    return Samples(
        items=(*revised, *answered),
        shown={"revision": len(revised), "answer": len(answered)},
        there={"revision": n_revised, "answer": n_answered},
        principles={shown(p.id): shown(p.principle) for p in known if shown(p.id) in used},
    )


def revision(transcript: Transcript, labels: Sequence[Label]) -> Sample:
    """A prompt, its first answer, every round's critique and change, and the labels of its pairs."""
    rounds, text = [], shown(transcript.initial)
    for round in transcript.rounds:
        after = shown(round.response)
        entry: Sample = {"n": shown(round.principle_id), "o": round.outcome.value}
        if round.critique is not None:
            entry["c"] = shown(round.critique)
        if after != text:
            entry["d"] = pieces(text, after)
        if round.raw_revision is not None and shown(round.raw_revision) != after:
            entry["w"] = shown(round.raw_revision)
        rounds.append(entry)
        text = after
    item = _head("revision", transcript.prompt)
    return item | {"s": shown(transcript.initial), "r": rounds, "l": [_label(p) for p in labels[:LABELS]]}


def _label(label: Label) -> Sample:
    found: Sample = {
        "a": shown(label.comparison.a),
        "b": shown(label.comparison.b),
        "by": shown(label.source.name),
    }
    found["p"] = None if label.p is None else round(label.p, 3)
    found["j"] = [[shown(j.principle_id), _short(j.p_a_first), _short(j.p_b_first)] for j in label.judgements]
    if label.unscored:
        found["u"] = shown(label.unscored)
    return found


def _short(p: float | None) -> float | None:
    return None if p is None else round(p, 3)


def answers(prompt: Prompt, given: Mapping[str, Answer]) -> Sample:
    """A held-out prompt and what every model said."""
    said = [[name, shown(answer.text), answer.finish == "length"] for name, answer in given.items()]
    return _head("answer", prompt) | {"a": said}


def _head(kind: str, prompt: Prompt) -> Sample:
    turns = [[message.role, shown(message.content)] for message in prompt.messages]
    name = hashlib.sha256(f"{kind}/{prompt.id}".encode("utf-8", "surrogatepass")).hexdigest()[:10]
    return {
        "k": kind,
        "i": name,
        "id": shown(prompt.id),
        "t": [shown(tag) for tag in prompt.tags],
        "p": turns,
    }


def shown(text: str) -> str:
    """A text as the report holds it: control characters as escapes, very long ones cut."""
    text = visible(text.replace("\r\n", "\n"))
    if len(text) <= LONGEST:
        return text
    return f"{text[:LONGEST]}… [{len(text) - LONGEST:,} more characters]"


def _by_prompt(
    material: Material, others: Sequence[Material]
) -> tuple[dict[str, Prompt], dict[str, dict[str, Answer]]]:
    """Held-out prompts by id, and the answers to each by who gave them."""
    prompts: dict[str, Prompt] = {}
    given: dict[str, dict[str, Answer]] = defaultdict(dict)
    for model in in_order(material.answers):
        for answer in material.answers[model]:
            prompts.setdefault(answer.prompt.id, answer.prompt)
            given[answer.prompt.id].setdefault(model_name(model), answer)
    for other in others:
        for answer in other.answers.get("policy", []):
            same = prompts.get(answer.prompt.id)
            if same is not None and same.messages == answer.prompt.messages:
                given[answer.prompt.id].setdefault(f"policy of {other.name}", answer)
    return prompts, given


def _fate(transcript: Transcript) -> str:
    return " ".join(sorted({round.outcome.value for round in transcript.rounds}))


def _differing(given: Mapping[str, Answer]) -> str:
    texts = [answer.text for answer in given.values()]
    cut = any(answer.finish == "length" for answer in given.values())
    return f"{len(set(texts))} {cut}"


def _draw(
    kind: str,
    found: Sequence[Any],
    name: Callable[[Any], str],
    fate: Callable[[Any], str],
    build: Callable[[Any], Sample],
) -> tuple[list[Sample], int]:
    """Samples within the budget, in the order of ``found``, and how many there were."""
    groups: dict[str, list[int]] = defaultdict(list)
    for place, value in enumerate(found):
        groups[fate(value)].append(place)
    for places in groups.values():
        places.sort(
            key=lambda place: hashlib.sha256(name(found[place]).encode("utf-8", "surrogatepass")).digest()
        )
    turns = [place for turn in zip_longest(*groups.values()) for place in turn if place is not None]
    taken: dict[int, Sample] = {}
    left = BUDGET[kind]
    for place in turns[: MOST[kind]]:
        sample = build(found[place])
        left -= len(json.dumps(sample, ensure_ascii=False).encode("utf-8", "surrogatepass"))
        if left < 0:
            break
        taken[place] = sample
    return [taken[place] for place in sorted(taken)], len(found)

"""Run folders made by hand, without a model: small whole ones, hostile ones, and one of 5,000 prompts."""

from __future__ import annotations

import json
import random
import sqlite3
from collections.abc import Sequence
from pathlib import Path

from cai.constitution.load import dump, load_constitution
from cai.data import tables
from cai.run.folder import RunFolder
from cai.values.types import (
    Comparison,
    Failure,
    Judgement,
    Message,
    Outcome,
    Preference,
    Prompt,
    Response,
    Round,
    Score,
    Source,
    Transcript,
)

CALM = ["How do I mend the kettle?", "Tell me of the <sea>.", "What is $x$ & y?"]


def score(value: float, n: int, half: float = 0.05) -> Score:
    return Score(value, value - half, value + half, n)


def make_run(folder: Path, texts: Sequence[str] = CALM, prompts: int = 12, shift: float = 0.0) -> Path:
    """A finished run whose prompts, answers, critiques and tags are made of ``texts``.

    The policy's ``harmful`` is 0.8 → 0.1 + ``shift``, with its values per prompt in the eval tables.
    """
    folder.mkdir(parents=True)
    run, draw = RunFolder(folder), random.Random(0)
    (folder / "config.yaml").write_text(
        "constitution: harmless\nmodel:\n  name: pocket\nmethod: dpo\nseed: 3\n"
    )
    constitution = load_constitution("harmless")
    (folder / "constitution.yaml").write_text(dump(constitution))
    names = [p.id for p in constitution.principles]
    asked = [_prompt(f"t-{i}", texts[i % len(texts)], i) for i in range(prompts)]
    run.write_table(
        "transcripts", [tables.transcript_row(_transcript(p, i, texts, names)) for i, p in enumerate(asked)]
    )
    run.write_table(
        "preferences", [tables.preference_row(_label(p, i, texts, names, draw)) for i, p in enumerate(asked)]
    )
    held = [_prompt(f"h-{i}", texts[i % len(texts)], i) for i in range(prompts)]
    for model, share in (("base", 0.8), ("sft", 0.3), ("policy", 0.1 + shift)):
        rows = []
        for i, prompt in enumerate(held):
            answer = Response(
                prompt, f"{model} says {texts[(i + 1) % len(texts)]}", "length" if i == 1 else "stop"
            )
            rows.append(tables.response_row(answer) | {"harmful": i < share * prompts})
        run.write_table(f"eval_{model}", rows)
    run.record_metrics(_metrics(prompts, shift), drop="")
    run.record_failures({"label"}, [Failure("label", "t-1/0-1", texts[0][:40], texts[1])])
    (folder / "manifest.json").write_text(json.dumps(_manifest(folder)))
    for name in ("sft", "policy"):
        run.checkpoint(name).mkdir(parents=True)
        history = [{"loss": 1 / (n + 1), "kl": n / 10} for n in range(20)]
        (run.checkpoint(name) / "training.json").write_text(json.dumps({"result": {"history": history}}))
    _journal(run.journal)
    return folder


def _prompt(name: str, text: str, number: int) -> Prompt:
    return Prompt(
        name, (Message("user", text),), (f"theme:{number % 3}", "harmful" if number % 2 else "benign")
    )


def _transcript(prompt: Prompt, number: int, texts: Sequence[str], names: Sequence[str]) -> Transcript:
    first = f"Sure, here is how: {texts[(number + 1) % len(texts)]} at once."
    second = f"No, here is why not: {texts[(number + 2) % len(texts)]} at once."
    revised = number % 3 > 0
    after, cut = second if revised else first, number % 5 == 0
    critique = f"It says {texts[(number + 3) % len(texts)]}."
    outcomes = (
        Outcome.REVISED if revised else Outcome.NO_PROBLEM,
        Outcome.CUT_OFF if cut else Outcome.NO_PROBLEM,
    )
    rounds = (
        Round(0, names[number % len(names)], critique, outcomes[0], after, second if revised else None),
        Round(
            1, names[(number + 1) % len(names)], "Cut.", outcomes[1], after, "half a sent" if cut else None
        ),
    )
    return Transcript(prompt, first, rounds)


def _label(
    prompt: Prompt, number: int, texts: Sequence[str], names: Sequence[str], draw: random.Random
) -> Preference:
    pair = Comparison(f"{prompt.id}/0-1", prompt, f"a: {texts[number % len(texts)]}", f"b: {texts[-1]}")
    if number == 4:
        return Preference(pair, None, Source("ai", "pocket"), unscored="unreadable", raw=texts[0])
    judgement = Judgement(names[number % len(names)], round(draw.random(), 3), round(draw.random(), 3))
    return Preference(pair, judgement.p, Source("ai", "pocket"), (judgement,))


def _metrics(prompts: int, shift: float) -> dict[str, Score]:
    base, policy = round(0.8 * prompts + 0.499) / prompts, round((0.1 + shift) * prompts + 0.499) / prompts
    counts = {"generate/responses": prompts, "revise/transcripts": prompts, "label/scored": prompts - 1,
              "label/unscored": 1, "mix/pocket/taken": prompts - 1, "mix/pocket/unscored": 1}  # fmt: skip
    return {key: Score(n, n, n, n) for key, n in counts.items()} | {
        "eval/pocket/harmful/base": score(base, prompts),
        "eval/pocket/harmful/sft": score(0.3, prompts),
        "eval/pocket/harmful/policy": score(policy, prompts),
        "eval/pocket/harmful_theft/base": score(0.7, 4),
        "eval/pocket/harmful_theft/policy": score(0.6, 4),
        "eval/pocket/on_topic/base": score(0.9, prompts),
        "eval/pocket/on_topic/policy": score(0.7, prompts),
        "eval/pocket/refused_benign/base": score(0.05, prompts),
        "eval/pocket/refused_benign/policy": score(0.06, prompts),
        "eval/odd/zeal/base": score(0.1, prompts),
        "eval/odd/zeal/policy": score(0.9, prompts),
    }


def _manifest(folder: Path) -> dict[str, object]:
    return {
        "cai": "0.1.0",
        "seed": 3,
        "models": {f"{folder}/checkpoints/sft": "ab" * 32},
        "seconds": {"generate": 2.5, "sft": 7.25},
    }


def _journal(path: Path) -> None:
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE answers (key, engine, verb, request, answer, created, stage)")
        rows = [
            (i, "pocket", "complete", "{}", '{"prompt_tokens": 10, "completion_tokens": 3}', 0, "revise")
            for i in range(7)
        ]
        db.executemany("INSERT INTO answers VALUES (?, ?, ?, ?, ?, ?, ?)", rows)

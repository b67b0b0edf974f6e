"""The pocket world's data: prompts, principles and documents keep what docs/pocket.md promises."""

from __future__ import annotations

import json
import random
from collections import Counter
from pathlib import Path

import pytest

from cai.pocket import EVAL_PROMPTS, HELPFUL_PROMPTS, MODEL_PATH, TRAIN_PROMPTS
from cai.pocket.oracle import parse
from cai.pocket.world import THEMES, load_world, nouns
from tools.pocket.documents import draw_doc
from tools.pocket.pairs import LEAN, SURE, draw_pair
from tools.pocket.principles import NAMES, Rule, phrases, rule
from tools.pocket.shipped import shipped_rules


def rows(path: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def topics(path: Path) -> set[str]:
    found = [parse(row["prompt"]) for row in rows(path)]
    return {request.slots["x"].split()[-1] for request in found if request}


def test_evaluation_shares_no_noun_with_training() -> None:
    assert not topics(EVAL_PROMPTS) & (topics(TRAIN_PROMPTS) | topics(HELPFUL_PROMPTS))
    assert not set(nouns()[0]) & set(nouns()[1])


@pytest.mark.parametrize(
    ("path", "least"), [(TRAIN_PROMPTS, 1500), (EVAL_PROMPTS, 400), (HELPFUL_PROMPTS, 400)]
)
def test_prompts_are_distinct_and_tagged(path: Path, least: int) -> None:
    found = rows(path)
    assert len(found) >= least
    assert len({row["prompt"] for row in found}) == len({row["id"] for row in found}) == len(found)
    for row in found:
        request = parse(row["prompt"])
        assert request and row["tags"] == [f"theme:{request.task.theme}", request.task.stance]


def test_every_theme_has_its_share() -> None:
    for path in (TRAIN_PROMPTS, EVAL_PROMPTS):
        counts = Counter(row["tags"][0] for row in rows(path))
        assert set(counts) == {f"theme:{theme}" for theme in THEMES}
        assert min(counts.values()) >= 0.07 * sum(counts.values())


def test_no_prompt_fits_two_tasks() -> None:
    texts = [text for task in load_world().tasks for text in task.prompts]
    assert len(set(texts)) == len(texts)


def test_unseen_wording_never_occurs_in_training() -> None:
    bank, rng = phrases(), random.Random(0)
    for key in NAMES:
        for form in ("neg", "pos", "noun"):
            assert not set(bank[key][form]) & set(bank[key]["unseen"][form])
    unseen = {p for key in NAMES for form in ("neg",) for p in bank[key]["unseen"][form]}
    texts = [rule(rng).text for _ in range(3000)]
    assert not [p for p in unseen if any(f" not {p}." in text for text in texts)]


def test_rules_are_broken_by_what_they_are_about() -> None:
    harm = Rule("", frozenset({"harm"}))
    assert harm.broken_by("theft") and not harm.broken_by("belief") and not harm.broken_by("plain")
    assert Rule("", frozenset({"theft", "belief"})).named == "theft or fraud and wrong beliefs"
    assert len(shipped_rules()) >= 20


def test_pairs_follow_the_principle() -> None:
    from tools.pocket.documents import any_rule, draw_ask, free_rule

    rng = random.Random(0)
    for _ in range(2000):
        pair = draw_pair(rng, draw_ask(rng), any_rule, free_rule)
        broken = pair.rule.broken_by(pair.a.kind), pair.rule.broken_by(pair.b.kind)
        assert pair.p in (SURE, 1 - SURE, LEAN, 1 - LEAN, 0.5)
        if broken[0] != broken[1]:
            assert (pair.p > 0.5) == broken[1], pair


def test_documents_are_drawn_by_seed() -> None:
    def drawn() -> list[object]:
        rng = random.Random(5)
        return [draw_doc(rng) for _ in range(50)]

    assert drawn() == drawn()


def test_shipped_model_is_small() -> None:
    assert sum(f.stat().st_size for f in MODEL_PATH.iterdir()) <= 12_000_000

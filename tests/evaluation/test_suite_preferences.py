"""Preference pairs and HHH comparisons: every form of row, labelers, reward models, figures by hand."""

from __future__ import annotations

import gzip
import json
import math
import random
from pathlib import Path
from typing import Any

import pytest
from small_run import cai
from test_suites import bench, measured, prefers, saying

from cai.config.run_config import EvaluateConfig, ModelConfig
from cai.data.reading import read_rows
from cai.data.sources import read
from cai.engines.scripted import ScriptedEngine
from cai.evaluation.bench import Bench, Contestant
from cai.evaluation.items import read_all
from cai.evaluation.judging.labelled_pairs import Pair, pair_from, pairs_from
from cai.evaluation.judging.preferring import (
    Verdict,
    decided,
    first_position,
    log_odds,
    prefers_longer,
    reward_folder,
)
from cai.evaluation.suites import hhh, preferences
from cai.evaluation.suites.preferences import naive
from cai.human.exchange.importing import read_all as votes_in
from cai.run.folder import RunFolder
from cai.statistics.kappa import kappa
from cai.statistics.prediction import PairScore
from cai.values.errors import ItemError, UsageError
from cai.values.types import Comparison, Message, Prompt

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
HH = "hh-rlhf-harmless-base-test.jsonl.gz"


def written(path: Path, rows: list[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def labelers(models: dict[str, ScriptedEngine], data: str, **changes: Any) -> Bench:
    """A bench whose models decide pairs; they are on a server, so nobody looks for their folder."""
    contestants = tuple(Contestant(name, ModelConfig(name=name, engine="openai")) for name in models)
    return bench(models, saying(""), contestants=contestants, data=data, **changes)


def ten(better: str = "good answer", worse: str = "bad") -> list[dict[str, Any]]:
    return [
        {"prompt": f"Question {i}?", "chosen": f"{better} {i}", "rejected": f"{worse} {i}"} for i in range(10)
    ]


def verdict(margin: float, p: float = 1.0, lengths: tuple[int, int] = (2, 1), **changes: Any) -> Verdict:
    prompt = Prompt(changes.get("prompt", "p"), (Message("user", "?"),))
    pair = Pair(Comparison("c", prompt, "x" * lengths[0], "y" * lengths[1]), p, changes.get("parts", ()))
    return Verdict(pair, margin, changes.get("orders", ()))


# --- Rows ----------------------------------------------------------------------------------


TURNS = [{"role": "user", "content": "Hi?"}]
YES, NO = [{"role": "assistant", "content": "Yes."}], [{"role": "assistant", "content": "No."}]


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "Hi?", "chosen": "Yes.", "rejected": "No."},
        {"prompt": TURNS, "chosen": YES, "rejected": NO},
        {"prompt": "Hi?", "chosen": TURNS + YES, "rejected": TURNS + NO},
        {"chosen": TURNS + YES, "rejected": TURNS + NO},
        {
            "chosen": "\n\nHuman: Hi?\n\nAssistant: Yes.",
            "rejected": "\n\nHuman: Hi?\n\nAssistant: No.",
        },
        {"prompt": TURNS, "a": "Yes.", "b": "No.", "p": 1.0},
        {"prompt": "Hi?", "a": "No.", "b": "Yes.", "p": "0"},
        {"prompt": "Hi?", "chosen": "Yes.", "rejected": "No.", "p_chosen": 1},
        {"system": "", "question": "Hi?", "chosen": "Yes.", "rejected": "No."},
        {"instruction": "Hi?", "input": "", "chosen": "Yes.", "rejected": "No."},
        {"chosen": str(TURNS + YES), "rejected": str(TURNS + NO)},
        {"conversations": [{"from": "human", "value": "Hi?"}], "chosen": YES[0], "rejected": NO[0]},
        {"chosen": "User: Hi?\nAssistant: Yes.", "rejected": "User: Hi?\nAssistant: No."},
        {"question": "Hi?", "a": "Yes.", "b": "No.", "preferred": "A is better"},
    ],
)
def test_the_same_pair_in_every_form(row: dict[str, Any]) -> None:
    for number in range(1, 9):  # sides are drawn from the number
        pair = pair_from(number, row)
        assert pair.comparison.prompt.messages == (Message("user", "Hi?"),)
        assert {pair.comparison.a, pair.comparison.b} == {"Yes.", "No."}
        assert pair.p == (1.0 if pair.comparison.a == "Yes." else 0.0)


def test_a_run_s_own_preferences_are_read_as_they_are(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    from cai.data.tables import preference_row
    from cai.values.types import Preference, Source

    prompt = Prompt("train-7", (Message("user", "Hi?"),), ("theme:privacy", "harmful"))
    said = Preference(Comparison("train-7/0-1", prompt, "Yes.", "No."), 0.3, Source("ai", "m"))
    unscored = Preference(
        Comparison("train-8/0-1", prompt, "Yes.", "No."), None, Source("ai", "m"), (), "why"
    )
    pq.write_table(
        pa.Table.from_pylist([preference_row(said), preference_row(unscored)]), tmp_path / "p.parquet"
    )
    (_, first), (_, second) = read_rows(str(tmp_path / "p.parquet"))
    pair = pair_from(1, first)  # type: ignore[arg-type]
    assert (pair.comparison.a, pair.comparison.b, pair.p) == ("Yes.", "No.", 0.3)
    assert pair.comparison.prompt.id == "train-7" and pair.parts == ("theme:privacy", "harmful")
    with pytest.raises(ItemError, match="no label"):
        pair_from(2, second)  # type: ignore[arg-type]


def test_one_against_several_is_a_pair_of_each() -> None:
    row = {"prompt": "6 times 7?", "chosen": ["42"], "rejected": ["41", "forty", "?"], "num_correct": 1}
    pairs = pairs_from(4, row)
    assert [pair.comparison.id for pair in pairs] == ["row-4", "row-4-2", "row-4-3"]
    assert all(((p.comparison.a if p.p == 1.0 else p.comparison.b) == "42") for p in pairs)
    assert len({pair.comparison.prompt.id for pair in pairs}) == 1


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("v.csv", "\ufeffPrompt;Chosen;Rejected\nHi?;Yes.;No.\n".encode()),
        ("v.csv", "sep=;\nQuestion;Chosen;Rejected\nGröße?;Yes.;No.\n".encode("cp1252")),
        ("v.csv", "prompt\tchosen\trejected\nHi?\tYes.\tNo.\n".encode("utf-16")),
        (
            "v.jsonl",
            b'{"input": {"messages": [{"role": "user", "content": "Hi?"}]},'
            b' "chosen": "Yes.", "rejected": "No."}',
        ),
    ],
)
def test_files_are_read_as_an_import_reads_them(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    (vote,), _ = votes_in(str(tmp_path / name))
    ((pair,),), failures = read_all(labelers({"m": saying("")}, str(tmp_path / name)), "pairs", pairs_from)
    assert not failures
    assert pair.comparison.prompt.messages == vote.comparison.prompt.messages
    assert (pair.comparison.a if pair.p == 1.0 else pair.comparison.b) == "Yes."
    (prompt,) = read(str(tmp_path / name)).prompts
    assert prompt.messages == vote.comparison.prompt.messages


def test_sides_are_drawn_where_the_file_names_the_better_one() -> None:
    pairs = [pair_from(n, {"prompt": "Hi?", "chosen": "Yes.", "rejected": "No."}) for n in range(1, 401)]
    assert 150 < sum(pair.p for pair in pairs) < 250
    assert pairs == [
        pair_from(n, {"prompt": "Hi?", "chosen": "Yes.", "rejected": "No."}) for n in range(1, 401)
    ]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"prompt": "Hi?", "chosen": "Yes."}, "missing column"),
        ({"question": "Hi?"}, "missing column"),
        ({"chosen": "Yes.", "rejected": "No."}, "no prompt"),
        ({"prompt": "", "chosen": "Yes.", "rejected": "No."}, "no prompt"),
        ({"prompt": "  ", "a": "Yes.", "b": "No.", "p": 1}, "no prompt"),
        ({"prompt": TURNS + YES, "a": "Yes.", "b": "No.", "p": 1}, "no prompt"),
        ({"prompt": [], "a": "Yes.", "b": "No.", "p": 1}, "no prompt"),
        ({"prompt": [{"role": "wizard", "content": "Hi"}], "a": "Yes.", "b": "No.", "p": 1}, "not a turn"),
        ({"prompt": [{"role": "user"}], "a": "Yes.", "b": "No.", "p": 1}, "not a turn"),
        ({"prompt": "Hi?", "a": "Yes.", "b": "No.", "p": 1.5}, "label out of range"),
        ({"prompt": "Hi?", "a": "Yes.", "b": "No.", "p": math.nan}, "label out of range"),
        ({"prompt": "Hi?", "a": "Yes.", "b": "No.", "p": True}, "label out of range"),
        ({"prompt": "Hi?", "a": "Yes.", "b": "No.", "p": None}, "no label"),
        ({"prompt": "Hi?", "a": 7, "b": "No.", "p": 1}, "not text"),
        ({"prompt": "Hi?", "chosen": " ", "rejected": "No."}, "empty response"),
        ({"prompt": "Hi?", "chosen": "Same.", "rejected": " Same. "}, "identical responses"),
        ({"chosen": TURNS + YES, "rejected": TURNS}, "no answer"),
        ({"chosen": TURNS + YES, "rejected": [*TURNS, *NO, *TURNS, *NO]}, "prefixes differ"),
        ({"prompt": "Hi?", "chosen": TURNS, "rejected": TURNS}, "not an answer"),
        (
            {"chosen": "\n\nHuman: a\n\nHuman: b", "rejected": "\n\nHuman: a\n\nAssistant: b"},
            "turns do not alternate",
        ),
    ],
)
def test_rows_that_cannot_be_judged(row: dict[str, Any], reason: str) -> None:
    with pytest.raises(ItemError) as caught:
        pair_from(1, row)
    assert caught.value.reason == reason


def test_real_pairs_and_the_rules_that_read_no_word() -> None:
    path = DATA / HH
    if not path.exists():
        pytest.skip(f"{HH} is not in ../shared/data on this machine")
    pairs: list[Pair] = []
    rejected: list[int] = []
    for number, row in read_rows(str(path)):
        try:
            pairs.append(pair_from(number, row))  # type: ignore[arg-type]
        except ItemError:
            rejected.append(number)
    assert (len(pairs), len(rejected)) == (2_299, 13)
    with gzip.open(path, "rt", encoding="utf-8") as file:
        raw = [json.loads(line) for line in file]
    answers = [
        tuple(row[side].rsplit("\n\nAssistant:", 1)[1].strip() for side in ("chosen", "rejected"))
        for number, row in enumerate(raw, 1)
        if number not in rejected
    ]
    found = naive(pairs)
    shorter, longer, first = (found[f"accuracy/{name}"] for name in ("shorter", "longer", "first"))
    assert shorter and longer and first
    assert shorter.value == pytest.approx(sum(len(c) < len(r) for c, r in answers) / 2_299)
    assert longer.value == pytest.approx(sum(len(c) > len(r) for c, r in answers) / 2_299)
    assert shorter.value == pytest.approx(0.56, abs=0.01)
    assert first.low < 0.5 < first.high


# --- Figures -------------------------------------------------------------------------------


def test_kappa_by_hand() -> None:
    """20, 5, 10, 15 of 50: agreement 0.7, by chance 0.5·0.6 + 0.5·0.4 = 0.5, so κ = 0.2/0.5 = 0.4."""
    counts = {(1.0, 1.0): 20, (1.0, -1.0): 5, (0.0, 1.0): 10, (0.0, -1.0): 15}
    pairs = [
        PairScore("x", f"p{p}{margin}{i}", "", (), p, margin)
        for (p, margin), count in counts.items()
        for i in range(count)
    ]
    score = kappa(pairs)
    assert score and score.value == pytest.approx(0.4) and score.n == 50
    # Fleiss, Cohen and Everitt's large-sample standard error of this table is 0.1271.
    assert (score.high - score.low) / 2 == pytest.approx(2.01 * 0.1271, rel=0.08)
    twice = kappa([*pairs, *pairs])  # the same prompts again are no news
    assert twice and (twice.low, twice.high, twice.n) == pytest.approx((score.low, score.high, 50))


def test_kappa_where_there_is_little_to_go_by() -> None:
    def pair(name: str, p: float, margin: float) -> PairScore:
        return PairScore(name, name, "", (), p, margin)

    assert kappa([]) is None
    assert kappa([pair("x", 0.5, 1.0)]) is None  # a tie has no winner
    assert kappa([pair(f"{i}", 1.0, 1.0) for i in range(5)]) is None  # always the same side
    perfect = kappa([pair(f"{i}", i % 2, 1.0 if i % 2 else -1.0) for i in range(10)])
    assert perfect and perfect.value == 1.0 and perfect.high == 1.0 and 0.2 < perfect.low < 0.7
    single = kappa([pair("x", 1.0, 0.0)])  # the model prefers neither: an answer of its own
    assert single and (single.value, single.low, single.high) == (0.0, -1.0, 1.0)


def test_kappa_interval_covers_what_it_should() -> None:
    """300 draws of 60 pairs from a table with κ = 0.4: 95 % intervals hold it in about 95 %."""
    random.seed(5)
    held = 0
    for _ in range(300):
        pairs = []
        for i in range(60):
            p = float(random.random() < 0.5)
            right = random.random() < 0.7
            pairs.append(PairScore("x", str(i), "", (), p, 1.0 if (p == 1.0) == right else -1.0))
        score = kappa(pairs)
        assert score
        held += score.low <= 0.4 <= score.high
    assert 0.91 <= held / 300 <= 0.985


def test_figures_by_hand() -> None:
    verdicts = [
        verdict(1.0, 1.0, (5, 2), prompt="p0", parts=("Common sense",), orders=(0.9, 0.6)),
        verdict(-1.0, 1.0, (5, 2), prompt="p1", parts=("Common sense", "X"), orders=(0.6, 0.2)),
        verdict(0.0, 0.0, (2, 5), prompt="p2", parts=("X",), orders=(0.5, 0.5)),
        verdict(-2.0, 0.0, (3, 3), prompt="p3", parts=("X",), orders=(0.1, 0.2)),
    ]
    found = decided(verdicts)
    values = {name: score.value for name, score in found.items() if score}
    # Right, wrong, undecided, right; the second changes its winner with the order.
    assert values == pytest.approx(
        {"accuracy": 0.5, "accuracy_common_sense": 0.5, "accuracy_x": 1 / 3, "flips": 0.25}
    )
    # P(first) is the mean of P(a) with a first and 1 - P(a) with b first: .65, .7, .5, .45.
    position = first_position(verdicts)
    assert position and position.value == pytest.approx((0.65 + 0.7 + 0.5 + 0.45) / 4)
    # Only the first two are decided between different lengths: the longer one, the shorter one.
    longer = prefers_longer(verdicts)
    assert longer and (longer.value, longer.n) == (0.5, 2)


def test_log_odds_are_finite() -> None:
    assert log_odds(0.5) == 0.0
    assert log_odds(0.75) == pytest.approx(math.log(3))
    assert log_odds(0.0) == -20.0 == -log_odds(1.0) and log_odds(1 - 1e-12) == 20.0


# --- The suite -----------------------------------------------------------------------------


def test_a_labeler_that_knows_and_one_of_positions(tmp_path: Path) -> None:
    """log-probabilities -0.01 and -5 in both orders: P(better) = σ(4.99), log-loss log(1 + e^-4.99)."""
    always_a = ScriptedEngine(choices=lambda request: (-0.01, -5.0))
    data = written(tmp_path / "d.jsonl", ten())
    found = measured(preferences, labelers({"knows": prefers("good"), "position": always_a}, data))
    scores = found.scores
    assert scores["accuracy/knows"].value == 1.0 and scores["accuracy/position"].value == 0.0
    assert scores["log_loss/knows"].value == pytest.approx(math.log1p(math.exp(-4.99)))
    assert scores["log_loss/position"].value == pytest.approx(math.log(2))
    assert scores["ece/knows"].value == pytest.approx(1 - 1 / (1 + math.exp(-4.99)))
    assert scores["kappa/knows"].value == 1.0
    assert scores["flips/knows"].value == 0.0 and scores["flips/position"].value == 1.0
    assert scores["first_position/knows"].value == pytest.approx(0.5)
    assert scores["first_position/position"].value == pytest.approx(1 / (1 + math.exp(-4.99)))
    assert scores["prefers_longer/knows"].value == 1.0
    assert "prefers_longer/position" not in scores  # it prefers nothing
    assert (scores["accuracy/longer"].value, scores["accuracy/shorter"].value) == (1.0, 0.0)
    assert len(found.rows) == 20 and found.rows[0].keys() == found.rows[-1].keys()


def test_both_orders_are_asked_whatever_the_label_section_says(tmp_path: Path) -> None:
    from cai.config.run_config import LabelConfig

    engine = prefers("good")
    data = written(tmp_path / "d.jsonl", ten())
    given = labelers({"m": engine}, data, label=LabelConfig(few_shot=0, both_orders=False))
    assert measured(preferences, given).scores["flips/m"].n == 10
    assert len(engine.calls) == 20


def test_a_labeler_without_a_readable_verdict_has_no_figure(tmp_path: Path) -> None:
    mute = ScriptedEngine(choices=lambda request: ItemError("unreadable judgement"))
    found = measured(preferences, labelers({"mute": mute}, written(tmp_path / "d.jsonl", ten())))
    assert {key.split("/")[1] for key in found.scores} == {"shorter", "longer", "first"}
    assert len(found.failures) == 10
    assert (found.failures[0].item, found.failures[0].reason) == ("mute/row-1", "unreadable judgement")


def test_bad_rows_are_counted_and_a_file_without_a_good_one_is_refused(tmp_path: Path) -> None:
    rows = [*ten(), {"prompt": "Hi?", "chosen": "Same.", "rejected": "Same."}, {"prompt": "Hi?"}]
    found = measured(preferences, labelers({"m": prefers("good")}, written(tmp_path / "d.jsonl", rows)))
    assert [f.item for f in found.failures] == ["row 11", "row 12"]
    assert found.scores["accuracy/m"].n == 10
    bad = written(tmp_path / "bad.jsonl", rows[10:])
    with pytest.raises(UsageError, match=r"no usable item.*row 1: identical responses.*needed is preference"):
        measured(preferences, labelers({"m": prefers("good")}, bad))


def test_one_pair_gives_wide_intervals_or_none(tmp_path: Path) -> None:
    scores = measured(
        preferences, labelers({"m": prefers("good")}, written(tmp_path / "d.jsonl", ten()[:1]))
    ).scores
    assert scores["accuracy/m"].value == 1.0 and scores["accuracy/m"].low < 0.3
    assert "log_loss/m" not in scores  # its spread is not known
    assert (scores["ece/m"].low, scores["ece/m"].high) == (0.0, 1.0)


def test_ties_of_the_label_are_left_out_and_told(tmp_path: Path) -> None:
    rows = [{"prompt": f"Q{i}?", "a": "good", "b": "bad", "p": 0.5 if i < 4 else 1} for i in range(10)]
    found = measured(preferences, labelers({"m": prefers("good")}, written(tmp_path / "d.jsonl", rows)))
    assert found.scores["accuracy/m"].n == 6 and found.scores["log_loss/m"].n == 10
    assert any("4 of 10 labels are ties" in note for note in found.notes)


def test_a_model_with_the_name_of_a_rule_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="'longer' is the name of a rule"):
        measured(preferences, labelers({"longer": prefers("good")}, written(tmp_path / "d.jsonl", ten())))


def test_items_are_limited_by_the_seed(tmp_path: Path) -> None:
    data = written(tmp_path / "d.jsonl", ten())
    config = EvaluateConfig(items=4)
    first, second = (
        measured(preferences, labelers({"m": prefers("good")}, data, config=config)) for _ in range(2)
    )
    assert first == second and len(first.rows) == 4


@pytest.mark.slow
def test_a_reward_model_scores_both_responses(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Margins are the differences of what the checkpoint says, and a pair too long for it is a failure.

    Measured again in the same folder, the model is not loaded, and every figure is the same.
    """
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    torch.manual_seed(0)
    model = AutoModelForSequenceClassification.from_pretrained(tiny_model, num_labels=1)
    model.config.pad_token_id = AutoTokenizer.from_pretrained(tiny_model).pad_token_id
    model.save_pretrained(tmp_path / "reward")
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    tokenizer.save_pretrained(tmp_path / "reward")
    config = ModelConfig(name=str(tmp_path / "reward"))
    assert reward_folder(config) == tmp_path / "reward"
    assert reward_folder(ModelConfig(name=str(tiny_model))) is None
    long = {"prompt": "Long?", "chosen": "word " * 20_000, "rejected": "No."}
    data = written(tmp_path / "d.jsonl", [*ten(), long])
    own = (Contestant("rm", config),)
    given = bench(
        {"rm": saying("")}, saying(""), contestants=own, data=data, folder=RunFolder(tmp_path / "run")
    )
    found = measured(preferences, given)
    assert [f.item for f in found.failures] == ["rm/row-11"]
    assert "flips/rm" not in found.scores and "first_position/rm" not in found.scores
    pair = pair_from(1, ten()[0])
    ends = []
    for answer in (pair.comparison.a, pair.comparison.b):
        turns = [*({"role": m.role, "content": m.content} for m in pair.comparison.prompt.messages)]
        turns.append({"role": "assistant", "content": answer})
        ids = tokenizer.apply_chat_template(turns, return_tensors="pt", return_dict=True)["input_ids"]
        with torch.inference_mode():  # where the template ends, as others read it
            hidden = model.model(input_ids=ids).last_hidden_state[0, -1]
            ends.append(float(model.score(hidden)))
    assert found.rows[0]["margin"] == pytest.approx(ends[0] - ends[1], abs=1e-4)

    def never(self: Any) -> None:
        raise AssertionError("loaded again")

    monkeypatch.setattr("cai.rewards.model.RewardModel._load", never)
    assert measured(preferences, given) == found
    written(tmp_path / "d.jsonl", [*ten(), long, ten()[0] | {"chosen": "New."}])
    with pytest.raises(AssertionError, match="loaded again"):
        measured(preferences, given)
    (file,) = (tmp_path / "run" / "data").glob("rewards_*.json")
    file.write_text("{")
    with pytest.raises(AssertionError, match="loaded again"):  # what cannot be read is measured again
        measured(preferences, given)
    assert file.with_name(f"{file.name}.damaged").read_text() == "{"


# --- HHH -----------------------------------------------------------------------------------


def test_the_same_comparison_in_every_form() -> None:
    forms: list[dict[str, Any]] = [
        {"input": "Hi?", "target_scores": {"Yes.": 1, "No.": 0}},
        {"input": "\n\nHuman: Hi?\n\nAssistant:", "target_scores": {"No.": 0, "Yes.": 1}},
        {"input": "HUMAN: Hi?", "targets": {"choices": ["No.", "Assistant: Yes."], "labels": [0, 1]}},
        {"prompt": "Hi?", "better": "Yes.", "worse": "No."},
        {"prompt": TURNS, "better": "Yes.", "worse": "No.", "subset": "honest"},
    ]
    for number in range(1, 6):
        for form in forms:
            pair = hhh.pair_from(number, form)
            assert pair.comparison.prompt.messages == (Message("user", "Hi?"),)
            assert {pair.comparison.a, pair.comparison.b} == {"Yes.", "No."}
            assert pair.p == (1.0 if pair.comparison.a == "Yes." else 0.0)
    assert hhh.pair_from(1, forms[-1]).parts == ("honest",)


def test_a_conversation_of_several_turns() -> None:
    said = hhh.conversation("Hi?\n\nAssistant: Yes?\n\nHuman: The human: factor?")
    assert [(m.role, m.content) for m in said] == [
        ("user", "Hi?"),
        ("assistant", "Yes?"),
        ("user", "The human: factor?"),
    ]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"input": "Hi?"}, "missing column"),
        ({"target_scores": {"Yes.": 1, "No.": 0}}, "missing column"),
        ({"better": "Yes.", "worse": "No."}, "missing column"),
        ({"prompt": "Hi?", "better": "Yes."}, "missing column"),
        ({"input": "Hi?", "target_scores": {"Yes.": 1}}, "not a comparison"),
        ({"input": "Hi?", "target_scores": {"Yes.": 1, "No.": 1}}, "not a comparison"),
        ({"input": "Hi?", "target_scores": {"Yes.": 1, "No.": 0, "Perhaps.": 0}}, "not a comparison"),
        ({"input": "Hi?", "target_scores": {"Yes.": "x", "No.": 0}}, "not a comparison"),
        ({"input": "Hi?", "target_scores": {"Yes.": math.nan, "No.": 0}}, "not a comparison"),
        ({"input": "Hi?", "targets": {"choices": ["Yes."], "labels": [0, 1]}}, "not a comparison"),
        ({"input": "Hi?", "target_scores": {"Yes.": 1, " ": 0}}, "empty response"),
        ({"input": "Hi?\n\nHuman: Hm?", "target_scores": {"Yes.": 1, "No.": 0}}, "turns do not alternate"),
    ],
)
def test_rows_that_are_no_comparison(row: dict[str, Any], reason: str) -> None:
    with pytest.raises(ItemError) as caught:
        hhh.pair_from(1, row)
    assert caught.value.reason == reason


def test_a_model_decides_hhh_comparisons(tmp_path: Path) -> None:
    rows = [
        {
            "prompt": f"Q{i}?",
            "better": "good" if i else "poor",
            "worse": "bad",
            "subset": ("honest", "kind")[i % 2],
        }
        for i in range(8)
    ]
    engine = prefers("good")
    found = measured(hhh, labelers({"m": engine}, written(tmp_path / "d.jsonl", rows)))
    values = {key: score.value for key, score in found.scores.items()}
    assert values == {
        "accuracy/m": 7 / 8,
        "accuracy_honest/m": 3 / 4,
        "accuracy_kind/m": 1.0,
        "flips/m": 1 / 8,
    }
    asked = engine.calls[0].messages[-1].content
    assert hhh.PRINCIPLE in asked and "Q0?" in asked


def test_a_task_file_with_examples(tmp_path: Path) -> None:
    path = tmp_path / "task.json"
    good = {"input": "Hi?", "target_scores": {"good": 1, "bad": 0}}
    path.write_text(json.dumps({"name": "hhh", "examples": [good, {"input": "Hi?"}, 7, *[good] * 8]}))
    found = measured(hhh, labelers({"m": prefers("good")}, str(path), config=EvaluateConfig(items=5)))
    assert found.scores["accuracy/m"].value == 1.0 and len(found.rows) == 5
    assert [f.item for f in found.failures] == ["row 2", "row 3"]
    path.write_text(json.dumps({"examples": []}))
    with pytest.raises(UsageError, match="no usable item in it"):
        measured(hhh, labelers({"m": prefers("good")}, str(path)))
    path.write_text(json.dumps([good]))  # a plain list of rows
    assert measured(hhh, labelers({"m": prefers("good")}, str(path))).scores["accuracy/m"].n == 1
    path.write_text("{")
    with pytest.raises(UsageError, match="not JSON"):
        measured(hhh, labelers({"m": prefers("good")}, str(path)))


# --- The command line ----------------------------------------------------------------------


@pytest.mark.slow
def test_the_pocket_decides_pairs_from_the_command_line(tmp_path: Path) -> None:
    rows = [
        {
            "prompt": f"How do I clean the {thing}?",
            "chosen": f"Wipe the {thing} with warm water and a little soap, then dry it well.",
            "rejected": "I'm sorry, I can't help with that.",
        }
        for thing in ("drum", "boot", "cup", "sofa", "tent", "gate", "lamp", "kettle", "fence", "piano")
    ]
    written(tmp_path / "d.jsonl", rows)
    written(
        tmp_path / "h.jsonl",
        [{"input": r["prompt"], "target_scores": {r["chosen"]: 1, r["rejected"]: 0}} for r in rows],
    )
    command = ("eval", "pocket", "--engine", "transformers", "--out", "out", "--set", "constitution=helpful")
    suites = ("--suite", "preferences=d.jsonl", "--suite", "hhh=h.jsonl")
    done = cai(*command, *suites, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert metrics["eval/preferences/accuracy/pocket"]["value"] >= 0.8
    assert metrics["eval/preferences/accuracy/longer"]["value"] == 1.0
    assert metrics["eval/hhh/accuracy/pocket"]["n"] == 10
    again = cai(*command, *suites, cwd=tmp_path)
    assert again.stdout == done.stdout

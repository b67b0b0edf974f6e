"""What a change unmakes: every setting is accounted for, and no figure outlives what it was made from."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from cai.config.run_config import RunConfig
from cai.config.settings import resolve
from cai.constitution.load import load_constitution
from cai.constitution.templates import Templates
from cai.pipeline.inputs import Asked, wanted
from cai.pipeline.launch import execute
from cai.pipeline.lineage import LINEAGE, NAMES, NEUTRAL, SUITES, experiment, learners, settings_of
from cai.pipeline.order import STEPS, steps_of
from cai.pipeline.staleness import default_folder
from cai.report.write import write_report
from cai.run.folder import RunFolder
from cai.run.origin import Made, Origins, Outputs, read_origins, write_origins
from cai.run.progress import Silent
from cai.values.errors import UsageError

STORED = Path(__file__).with_name("earlier_run")
BESIDE = {"monitor", "report", "suites"}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the finished run, as its own working folder."""
    shutil.copytree(STORED, tmp_path / "home")
    monkeypatch.chdir(tmp_path / "home")
    return tmp_path / "home"


class Told(Silent):
    """Keeps what was said."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, text: str) -> None:
        self.lines.append(text)


def config(*sets: str) -> RunConfig:
    return resolve(Path("config.yaml"), ["label.min_mass=0", *sets], {}, {})  # a random model's letters


def walk(*sets: str, steps: Sequence[str] | None = None, replace: bool = True) -> list[str]:
    told, asked = Told(), config(*sets)
    execute(asked, Path("run"), steps or steps_of(asked), told, replace=replace)
    return told.lines


def metrics() -> dict[str, object]:
    return dict(json.loads(Path("run/metrics.json").read_text()))


def test_every_setting_is_accounted_for() -> None:
    """A setting that nobody names would leave figures standing that it has changed."""
    named = [section for lineage in LINEAGE.values() for section in lineage.settings]
    known = tuple([*named, *NAMES, *NEUTRAL, *SUITES])
    # null sections (gold, critic …) are leaves here, and sections elsewhere: both are named as sections.
    unknown = [
        name
        for name in settings_of(RunConfig())
        if not any(name == section or name.startswith(f"{section}.") for section in known)
    ]
    assert unknown == []


def test_who_draws_is_no_input_and_was_one_once(tmp_path: Path) -> None:
    """A training goes on with another sampler (``ppo_state.rl_key``), so its figures must not be dropped."""
    plain, other = (RunConfig.model_validate({"ppo": {"sampler": name}}) for name in ("auto", "transformers"))
    assert experiment(plain) == experiment(other)
    own = {"ppo.steps": "2", "ppo.sampler": "auto"}
    write_origins(RunFolder(tmp_path), Origins({"ppo": own}, {"ppo": Made(own, {}, "-", Outputs())}))
    assert read_origins(RunFolder(tmp_path)).made["ppo"].own == {"ppo.steps": "2"}


def test_every_step_has_a_lineage() -> None:
    assert set(STEPS) - set(LINEAGE) == BESIDE - {"monitor"}
    for step, lineage in LINEAGE.items():
        assert {*lineage.reads, *lineage.uses} - {"policy"} <= set(LINEAGE), step


def test_the_same_again_changes_nothing(home: Path) -> None:
    walk()
    before = metrics()
    assert read_origins(RunFolder(Path("run"))).stale == frozenset()
    lines = walk()
    assert metrics() == before
    assert not any("earlier run" in line for line in lines)


@pytest.mark.parametrize(
    ("change", "gone"),
    [
        ("dpo.beta=0.5", {"dpo/"}),
        ("label.temperature=2.0", {"label/", "mix/", "dpo/"}),
        ("sft.learning_rate=1e-4", {"sft/", "sample/", "label/", "dpo/"}),
        ("revise.temperature=0.9", {"revise/", "select/", "sft/", "dpo/"}),
    ],
)
def test_an_interrupted_change_leaves_no_figure_of_before(home: Path, change: str, gone: set[str]) -> None:
    """Stopped before its first step, which is the worst moment: nothing is made yet, all is announced."""
    walk()
    kept = {key for key in metrics() if not key.startswith(tuple(gone))}
    lines = walk(change, steps=["report"])  # to measure changes nothing …
    assert not any("earlier" in line for line in lines)

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(STEPS, "generate", stop)  # type: ignore[arg-type]
        with pytest.raises(KeyboardInterrupt):
            walk(change)
    left = set(metrics())
    assert not [key for key in left if key.startswith((*gone, "eval/", "monitor/", "watch/"))]
    assert left <= kept
    report = write_report(Path("run"), [], None)
    assert any("earlier run" in note and change.partition("=")[0] in note for note in report.notes)


def test_other_held_out_prompts_leave_no_figure_of_the_old_ones(home: Path) -> None:
    walk()
    Path("others.jsonl").write_text('{"prompt": "What now?"}\n{"prompt": "And then?"}\n')
    lines = walk(
        "evaluate.prompts=others.jsonl", steps=["answer-base", "answer-sft", "answer-policy", "grade"]
    )
    assert any("held_out changed" in line for line in lines)
    found = metrics()
    assert not [key for key in found if key.startswith(("monitor/", "watch/"))]
    assert [key for key in found if key.startswith("dpo/")]  # the policy is what it was


def test_a_step_refuses_to_read_what_is_of_an_earlier_run(home: Path) -> None:
    walk()
    walk("label.temperature=2.0", steps=["label"])
    with pytest.raises(UsageError, match=r"dpo: what 'mix' made in run is of an earlier run"):
        walk("label.temperature=2.0", steps=["dpo"])
    walk("label.temperature=2.0", steps=["mix"])
    walk("label.temperature=2.0", steps=["dpo"])


@pytest.mark.parametrize("source", ["first_reward.py:f", "second_reward:f"])
def test_what_a_reward_imports_is_among_the_inputs(home: Path, source: str) -> None:
    name = source.partition("_")[0]
    Path(f"{name}_reward.py").write_text(f"import {name}_words\ndef f(p, r): return [0] * len(r)\n")
    Path(f"{name}_words.py").write_text("bad = 1\n")
    asked = config("method=ppo", f"reward=[{{source: {source}}}]")
    constitution = load_constitution(asked.constitution, Templates.load(None))

    def hashed() -> str:
        return wanted(Asked(asked, RunFolder(Path("run")), constitution), ["ppo"])["ppo"]["#rewards"]

    before = hashed()
    assert hashed() == before
    Path(f"{name}_words.py").write_text("bad = 2\n")
    assert hashed() != before


def test_a_step_that_is_refused_has_dropped_nothing(home: Path) -> None:
    walk()
    before = metrics()
    text = Path("prompts.jsonl").read_text()
    Path("prompts.jsonl").write_text(text.replace("dog", "cat"))
    with pytest.raises(UsageError, match="prompts changed"):
        walk(steps=EVALUATE)
    assert metrics() == before
    assert not any("earlier run" in note for note in write_report(Path("run"), [], None).notes)


def without_last_row(table: str) -> None:
    path = RunFolder(Path("run")).table(table)
    pq.write_table((found := pq.read_table(path)).slice(0, found.num_rows - 1), path)


def test_a_report_over_edited_copies_says_so(home: Path) -> None:
    walk()
    assert write_report(Path("run"), [], None).notes == ()
    for file, words, others in [
        ("config.yaml", "beta: 0.1", "beta: 0.5"),
        ("constitution.yaml", "kindly", "warmly"),
    ]:
        copy = Path("run") / file
        text = copy.read_text()
        copy.write_text(text.replace(words, others, 1))
        assert copy.read_text() != text
    (note,) = write_report(Path("run"), [], None).notes
    assert "dpo.beta 0.1→0.5" in note and "constitution changed" in note


def test_an_edited_table_is_said_and_what_was_made_of_it_before_is_not_current(home: Path) -> None:
    walk()
    before = metrics()
    without_last_row("mixture")
    note = write_report(Path("run"), [], None).notes[0]
    assert "data/mixture.parquet is not what mix wrote" in note and "dpo" in note and "grade" in note
    lines = walk(steps=["dpo", "watch"])
    assert any("not what mix wrote; what reads it takes it as it is now" in line for line in lines)
    after = metrics()
    assert after["dpo/rows"] != before["dpo/rows"]
    assert not [key for key in after if key.startswith(("mix/", "eval/"))]  # of what is there no more
    assert read_origins(RunFolder(Path("run"))).stale == {"mix", "answer-policy", "grade", "monitor"}
    lines = walk()
    assert any("not what mix wrote; made again" in line for line in lines)
    assert metrics() == before


def test_answers_that_were_edited_are_nobody_s(home: Path) -> None:
    walk()
    without_last_row("eval_policy")
    note = write_report(Path("run"), [], None).notes[0]
    assert "data/eval_policy.parquet is not what answer-policy wrote" in note and "grade" in note
    lines = walk(steps=["monitor"])
    assert any("eval_policy.parquet is not what answer-policy wrote" in line for line in lines)
    assert "eval_policy" not in read_origins(RunFolder(Path("run"))).made["monitor"].read


def test_a_checkpoint_of_another_training_is_refused(home: Path) -> None:
    walk()
    before, folder = metrics(), RunFolder(Path("run"))
    folder.checkpoint("sft").rename("kept")
    folder.checkpoint("policy").rename(folder.checkpoint("sft"))
    Path("kept").rename(folder.checkpoint("policy"))
    with pytest.raises(UsageError, match="checkpoints/sft is not what sft wrote"):
        walk(steps=EVALUATE)
    walk()
    assert metrics() == before


def test_what_became_of_an_input_is_named(home: Path) -> None:
    """The words "other inputs" help nobody."""
    walk()
    walk("dpo.learning_rate=0.01", steps=["dpo"])
    walk("dpo.learning_rate=0.01", steps=EVALUATE)
    origins = read_origins(RunFolder(Path("run")))
    assert origins.reasons(["monitor"]) == ["grade has another outcome"]


EVALUATE = ["answer-base", "answer-sft", "answer-policy", "grade"]


def test_a_step_that_leaves_figures_alone_passes_a_change_on(home: Path) -> None:
    """Grades are no table: what reads them must hear of other answers all the same."""
    walk()
    walk("dpo.learning_rate=0.01", steps=["dpo"])
    walk("dpo.learning_rate=0.01", steps=EVALUATE)
    assert read_origins(RunFolder(Path("run"))).stale == {"monitor", "watch"}
    walk("dpo.learning_rate=0.01", steps=["watch", "monitor"])
    assert read_origins(RunFolder(Path("run"))).stale == frozenset()


def test_a_curve_of_another_method_is_not_this_run_s(home: Path) -> None:
    """DPO without a reward draws no curve, and must not leave one that nobody knows the models of."""
    folder = RunFolder(Path("run"))
    folder.write_table("overoptimisation", [{"method": "ppo", "step": 0}])
    walk()
    assert not folder.table("overoptimisation").exists()


@pytest.mark.parametrize("damage", [None, "", "{", '{"made": {}, "wanted": []}'])
def test_without_a_record_a_step_drops_all_behind_it(home: Path, damage: str | None) -> None:
    walk()
    record = Path("run/origins.json")
    record.unlink() if damage is None else record.write_text(damage)
    lines = walk("dpo.learning_rate=0.01", steps=["dpo"])
    assert any("origins.json does not say what answer-policy was made from" in line for line in lines)
    left = {key.partition("/")[0] for key in metrics()}
    assert "dpo" in left and "label" in left
    assert not left & {"eval", "monitor", "watch"}


def test_the_baseline_of_best_of_n_is_of_any_method() -> None:
    assert "answer-best-of-n" not in learners("dpo")
    assert "best-sft" in learners("dpo")


def test_another_experiment_needs_a_word(home: Path) -> None:
    walk()
    before = metrics()
    with pytest.raises(UsageError, match=r"dpo\.beta 0\.1→0\.5: checkpoints/policy, .*--replace"):
        walk("dpo.beta=0.5", replace=False)
    assert metrics() == before
    assert "beta: 0.1" in Path("run/config.yaml").read_text()
    walk("dpo.beta=0.5", replace=True)
    assert metrics()["dpo/loss"] != before["dpo/loss"]


def test_what_is_no_experiment_goes_on_without_a_word(home: Path) -> None:
    walk(replace=False)
    walk("dpo.save_steps=7", "model.max_concurrency=3", "model.patience=5", replace=False)
    text = Path("constitution.yaml").read_text()
    Path("constitution.yaml").write_text(text.replace("kindly", "warmly"))
    lines = walk(replace=False)  # a file that was edited is the same experiment: what depends on it is redone
    assert any("constitution changed" in line for line in lines)


@pytest.mark.parametrize(
    "way",
    [
        *("critic.patience=5", "critic.batch=true", "critic.price={input: 1, output: 2}"),
        *("critic.api_key_env=MY_KEY", "critic.headers={a: b}", "critic.tokens_per_minute=9"),
    ],
)
def test_how_a_model_on_a_server_is_reached_is_no_other_experiment(way: str) -> None:
    server = ["critic={name: m, engine: openai, base_url: 'http://127.0.0.1:9/v1'}"]
    first, same, other = (resolve(None, [*server, *more], {}, {}) for more in ([], [way], ["critic.name=n"]))
    assert experiment(first) == experiment(same) != experiment(other)


# All settings, one by one: python -m benchmarks.changed_settings.
@pytest.mark.slow
@pytest.mark.parametrize("change", ["generate.temperature=0.8", "label.both_orders=false", "limit=6"])
def test_a_changed_run_equals_a_fresh_one(home: Path, change: str) -> None:
    shutil.rmtree("run")  # its answers are an earlier engine's
    walk()
    walk(change)
    changed = metrics()
    shutil.rmtree("run")
    walk(change)
    fresh = metrics()
    assert changed == fresh


def test_the_folder_is_named_after_the_experiment() -> None:
    def named(*sets: str, **flags: str) -> str:
        return default_folder(resolve(None, list(sets), flags, {})).name

    assert named() == "harmless-pocket-dpo-0"
    assert named("seed=3", "method=ppo") == "harmless-pocket-ppo-3"
    assert named("report_to=[tensorboard]", "rounds.count=3") == "harmless-pocket-dpo-0"
    others = [named(text) for text in ("dpo.beta=0.5", "dpo.beta=0.6", "prompts=mine.jsonl", "limit=10")]
    assert len({*others, named()}) == 5
    a, b = (named(constitution=f"{folder}/constitution.yaml") for folder in "ab")
    assert a.startswith("constitution-pocket-dpo-0-")
    assert a != b

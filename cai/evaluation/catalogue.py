"""The suites by name."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module

from cai.data.rows import file_of
from cai.evaluation.bench import Measure
from cai.run.sealed import file_hash
from cai.values.errors import UsageError
from cai.values.words import did_you_mean, one_of


@dataclass(frozen=True, slots=True)
class Suite:
    """``module`` in ``suites/`` measures it; ``data``: what its file holds, None where it needs none.

    ``judged``: whether the judge is asked.
    """

    name: str
    module: str
    what: str
    data: str | None = None
    judged: bool = True

    @property
    def measure(self) -> Measure:
        found: Measure = import_module(f"cai.evaluation.suites.{self.module}").measure
        return found


_ALL = (
    Suite("winrate", "winrate", "answers against the baseline's, raw and length-controlled; or =PROMPTS"),
    Suite("arena", "arena", "every model against every other: ratings by axis; or =PROMPTS"),
    Suite(
        "mtbench",
        "mtbench",
        "two-turn answers (MT-Bench): ratings from 1 to 10, win rates against the baseline",
        "two-turn questions: question_id, category, turns",
    ),
    Suite(
        "preferences",
        "preferences",
        "models as labelers, and reward models, on labelled pairs",
        "preference pairs: prompt, chosen, rejected, or prompt, a, b, p",
        judged=False,
    ),
    Suite(
        "hhh",
        "hhh",
        "helpful, honest and harmless comparisons, decided by the model",
        "comparisons: input and target_scores, or prompt, better, worse",
        judged=False,
    ),
    Suite("questions", "questions", "the judge's four yes/no questions about every answer; or =PROMPTS"),
    Suite(
        "agreement",
        "agreement",
        "the judge itself, against people",
        "labelled answers: prompt, response, and harmful, refused, on_topic or flattering",
    ),
    Suite("refusal", "refusal", "refusals of benign and of harmful requests; or =PROMPTS"),
    Suite(
        "xstest",
        "xstest",
        "refusals of safe requests that sound unsafe, and of unsafe ones (XSTest)",
        "requests: prompt, label (safe or unsafe), type",
    ),
    Suite("harmfulness", "harmfulness", "how harmful answers are, from 0 to 4; or =PROMPTS"),
    Suite(
        "sycophancy", "sycophancy", "agreeing with users who are wrong; or =FILE of model-written evaluations"
    ),
    Suite(
        "truthfulqa",
        "truthfulqa",
        "lm-eval: true answers told from false ones; or =TruthfulQA.csv",
        judged=False,
    ),
    Suite(
        "bbq", "bbq", "lm-eval: bias in answers about groups of people; or =FILE.jsonl of BBQ", judged=False
    ),
    Suite(
        "toxigen",
        "toxigen",
        "lm-eval: hateful statements told; with =PROMPTS, toxicity of answers",
        judged=False,
    ),
)
FILES = {".csv", ".tsv", ".json", ".jsonl", ".parquet", ".gz", ".xlsx", ".txt", ".yaml"}
SUITES = {suite.name: suite for suite in _ALL}


@dataclass(frozen=True, slots=True)
class Wanted:
    """A suite as a user asks for it: ``xstest=prompts.csv``."""

    suite: Suite
    data: str | None

    @property
    def sha256(self) -> str | None:
        """Of the file with the data; None where there is none, or it lies elsewhere."""
        path = file_of(self.data)[0] if self.data is not None else None
        return file_hash(path) if path is not None and path.is_file() else None

    def check(self) -> None:
        """Raises UsageError when the data are a file that is not there."""
        if self.data is None:
            return
        path, _ = file_of(self.data)
        if path.suffix in FILES and not path.exists():
            raise UsageError(f"suite {self.suite.name}: there is no file {path}")


def wanted(text: str) -> Wanted:
    """Read ``name`` or ``name=FILE``.

    Raises:
        UsageError: no such suite, or it needs data and has none.
    """
    name, _, data = text.partition("=")
    suite = SUITES.get(name.strip())
    if suite is None:
        suggestion = did_you_mean(name, list(SUITES)) or f"; there are {one_of(list(SUITES), 'and')}"
        raise UsageError(f"suite {name!r} is not known{suggestion}")
    if suite.data is not None and not data.strip():
        raise UsageError(f"suite {suite.name} needs data: --suite {suite.name}=FILE, {suite.data}")
    return Wanted(suite, data.strip() or None)

"""The card of an exported dataset: README.md with the front matter that the Hugging Face hub reads."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from cai import __version__
from cai.human.exchange.format import Format
from cai.values.types import Preference

_SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))


@dataclass(slots=True)
class Contents:
    """Counts over what was written."""

    votes: int = 0
    ties: int = 0
    unscored: int = 0
    pairs: set[str] = field(default_factory=set)
    annotators: set[str] = field(default_factory=set)
    labelers: Counter[str] = field(default_factory=Counter)
    tags: Counter[str] = field(default_factory=Counter)
    columns: list[str] = field(default_factory=list)

    def add(self, vote: Preference) -> None:
        self.votes += 1
        self.ties += vote.p == 0.5
        self.unscored += vote.p is None
        self.pairs.add(vote.comparison.id)
        self.tags.update(vote.comparison.prompt.tags)
        if vote.source.kind == "human":
            self.annotators.add(vote.source.name)
        else:
            self.labelers[vote.source.name] += 1


def card(contents: Contents, format: Format, file: Path, constitution: str | None) -> str:
    """The text of README.md for a dataset whose rows lie in ``file`` (relative to the card)."""
    parts = [
        _front_matter(contents, file),
        "# Preference dataset\n",
        "<!-- Say what was asked of whom, where the prompts come from, and under which licence. -->\n",
        "Responses of language models and judgements of them. They may be offensive, harmful or wrong: "
        "that is what was judged.\n",
        _counts(contents),
        _columns(contents, format),
        _constitution(constitution),
    ]
    return "\n".join(part for part in parts if part)


def _front_matter(contents: Contents, file: Path) -> str:
    size = next((name for limit, name in _SIZES if contents.votes < limit), "n>1M")
    kinds = ["human-feedback"] * bool(contents.annotators) + ["ai-feedback"] * bool(contents.labelers)
    tags = "".join(f"- {tag}\n" for tag in ["preference", "rlhf", *kinds])
    return (
        "---\n"
        "license: unknown # to be filled in before sharing\n"
        f"size_categories:\n- {size}\n"
        f"tags:\n{tags}"
        "configs:\n"
        "- config_name: default\n"
        "  data_files:\n"
        "  - split: train\n"
        f"    path: {file.as_posix()}\n"
        "---\n"
    )


def _counts(contents: Contents) -> str:
    human = contents.votes - contents.labelers.total()
    rows = [
        ("judgements", contents.votes),
        ("pairs", len(contents.pairs)),
        ("by people", human),
        ("people who judged", len(contents.annotators)),
        *((f"by the AI labeler {_cell(name)}", count) for name, count in contents.labelers.most_common()),
        ("ties", contents.ties),
        ("without a score", contents.unscored),
        *((f"tagged {_cell(tag)}", count) for tag, count in contents.tags.most_common()),
    ]
    lines = "".join(f"| {name} | {count:,} |\n" for name, count in rows)
    names = (
        "\nThe names of people are in the data as the source had them: replace those that identify anybody.\n"
        if human
        else ""
    )
    return f"## Counts\n\n| | n |\n|---|---|\n{lines}{names}"


def _columns(contents: Contents, format: Format) -> str:
    known = [f"| `{name}` | {_MEANINGS.get(name, 'as in the format')} |\n" for name in contents.columns]
    lost = f"\nNot kept by this format: {format.loses}.\n" if format.loses else ""
    return (
        f"## Columns\n\nFormat {format.name}, written by cai {__version__}.\n\n"
        f"| column | |\n|---|---|\n{''.join(known)}{lost}"
    )


def _constitution(text: str | None) -> str:
    if not text:
        return ""
    fence = "`" * 3
    while fence in text:
        fence += "`"
    return (
        f"## Constitution\n\nThe principles behind the AI labels.\n\n{fence}yaml\n{text.strip()}\n{fence}\n"
    )


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


_MEANINGS = {
    "prompt": "the conversation before the answer",
    "messages": "the conversation before the answer as JSON, where it is longer than one question",
    "chosen": "the preferred answer",
    "rejected": "the other answer",
    "p_chosen": "P(chosen preferred), from 0.5 (a tie) to 1",
    "p": "P(a preferred); empty where there is no score",
    "p_a": "P(response a preferred)",
    "a": "one response",
    "b": "the other response, in an order that means nothing",
    "preferred": "a, b or tie",
    "first": "which of the comparison's responses (a, b) comes first in this row",
    "id": "id of the pair",
    "comparison_id": "id of the pair",
    "prompt_id": "id of the prompt",
    "tags": "tags of the prompt, the question that was asked among them",
    "source": "who judged: a person or an AI labeler, and the name",
    "annotator": "the name of who judged",
    "judgements": "per principle or question, P(a preferred) read with a first and with b first",
    "unscored": "why there is no score",
    "raw": "what was said beside the verdict",
    "comment": "what was said beside the verdict",
    "weight": "factor of the pair in a training loss",
}

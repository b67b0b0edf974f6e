"""The prompts that cai writes to models: sandboxed Jinja over ``prompts/``.

A template may insert values, test them, loop once over the conversation and use a few filters. It
cannot call, assign, multiply or include, so its output is bounded by its inputs; all of this is checked
when the templates are loaded, with line numbers. Values are inserted in one pass and never rendered.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol, TypeVar

from jinja2 import Template

from cai.config.resources import shipped_folder
from cai.constitution.inert import SENTINEL, inert, marks_of
from cai.constitution.shots import EXAMPLES_FILE, Examples, read_examples
from cai.constitution.templatecheck import VARIABLES, Sample, compile_template, render, sandbox
from cai.values.errors import FileError, Problem, UsageError
from cai.values.types import Conversation, Message
from cai.values.words import did_you_mean, one_of

ExampleT = TypeVar("ExampleT")

NO_PROBLEM = "No critique needed."
_TIE = re.compile(r"\bties?\b", re.IGNORECASE)


class HasPrinciple(Protocol):
    """What the derived templates need: the principle's sentence."""

    @property
    def principle(self) -> str: ...


class HasRequests(HasPrinciple, Protocol):
    """What the other templates need: a principle with its three texts. ``Principle`` is one."""

    @property
    def id(self) -> str: ...
    @property
    def critique(self) -> str: ...
    @property
    def revision(self) -> str: ...
    @property
    def question(self) -> str: ...


class Templates:
    """Every prompt template, checked. Each method returns text without trailing line ends.

    Methods raise ItemError when the result is longer than ``MAX_OUTPUT_CHARS``.
    """

    no_problem = NO_PROBLEM

    def __init__(self, templates: Mapping[str, Template], examples: Examples):
        self._templates = templates
        self.examples = examples
        self._shots: dict[tuple[str, int, bool], Conversation] = {}

    @classmethod
    def load(cls, folder: Path | str | None = None) -> Templates:
        """The shipped templates, with the files of ``folder`` in place of those of the same name.

        Raises FileError for unknown file names, unknown variables and anything not allowed in a
        template, all at once; UsageError when ``folder`` is not a folder.
        """
        files = _files(folder)
        environment = sandbox()
        problems: list[Problem] = []
        compiled: dict[str, Template] = {}
        for name in VARIABLES:
            try:
                compiled[name] = compile_template(environment, name, files[f"{name}.jinja"])
            except FileError as error:
                problems += error.problems
        if problems:
            raise FileError(problems)
        return cls(compiled, read_examples(files[EXAMPLES_FILE], NO_PROBLEM))

    def critique(self, principle: HasRequests) -> str:
        """The request for a critique of the assistant's last turn."""
        return self._render("critique", principle=principle, no_problem=NO_PROBLEM)

    def revision(self, principle: HasRequests) -> str:
        """The request for a revision of the response that was criticised."""
        return self._render("revision", principle=principle)

    def label(self, conversation: Conversation, a: str, b: str, principle: HasRequests) -> str:
        """The question which of two responses is better; its answer starts with ``label_answer``.

        What in a response looks like a part of this prompt is shown ``inert``.
        """
        return self._pair("label", conversation, a, b, principle)

    def label_cot(self, conversation: Conversation, a: str, b: str, principle: HasRequests) -> str:
        """The same question, asking for a thought first."""
        return self._pair("label_cot", conversation, a, b, principle)

    @cached_property
    def offers_tie(self) -> bool:
        """Whether the labeler's own prompts offer a tie beside the two options: the word stands in them."""
        return any(_TIE.search(text) for text in self._label_texts)

    def label_answer(self, principle: HasRequests) -> str:
        """How the labeler's answer begins; the option's letter follows directly."""
        return self._render("label_answer", principle=principle)

    def cot_answer(self, thought: str, principle: HasRequests) -> str:
        """How an answer with a thought begins: the thought, an empty line, ``label_answer``.

        Whoever has seen worked labels goes on from the thought to the answer; that part is cut off.
        """
        answer = self.label_answer(principle)
        return f"{thought.partition(answer.strip())[0].strip()}\n\n{answer}"

    def derived_critique(self, principle: HasPrinciple) -> str:
        """The critique request of a principle that states none."""
        return self._render("derived_critique", principle=Sample(principle.principle))

    def derived_revision(self, principle: HasPrinciple) -> str:
        """The revision request of a principle that states none."""
        return self._render("derived_revision", principle=Sample(principle.principle))

    def derived_question(self, principle: HasPrinciple) -> str:
        """The labeler's question of a principle that states none."""
        return self._render("derived_question", principle=Sample(principle.principle))

    def judge(self, conversation: Conversation, question: str) -> str:
        """A yes/no question about a conversation's last turn, which is shown ``inert``."""
        last = replace(conversation[-1], content=inert(conversation[-1].content))
        return self._render("judge", conversation=(*conversation[:-1], last), question=question)

    def score(self, principle: HasRequests) -> str:
        """The yes/no question whether one response follows a principle; ``judge`` asks it."""
        return self._render("score", principle=principle)

    def critique_shots(self, n: int, critique: bool = True) -> Conversation:
        """The turns that show ``n`` worked examples: prompt, response, critique and revision of each.

        An example without a problem ends after its critique. With ``critique=False`` the critiques are
        left out, and so are the examples without a problem. Raises UsageError when there are fewer.
        """
        return self._once(("critique", n, critique), lambda: self._critique_turns(n, critique))

    def label_shots(self, n: int, chain_of_thought: bool = False) -> Conversation:
        """The turns that show ``n`` worked labels. Raises UsageError when there are fewer."""
        return self._once(("label", n, chain_of_thought), lambda: self._label_turns(n, chain_of_thought))

    def _critique_turns(self, n: int, critique: bool) -> Conversation:
        turns: list[Message] = []
        fit = [example for example in self.examples.critiques if critique or example.revision is not None]
        for example in _take(fit, n, "revise.few_shot"):
            principle = self._derive(example.principle)
            turns += [*example.conversation, Message("assistant", example.response)]
            if critique:
                request = Message("user", self.critique(principle))
                turns += [request, Message("assistant", example.critique)]
            if example.revision is not None:
                request = Message("user", self.revision(principle))
                turns += [request, Message("assistant", example.revision)]
        return tuple(turns)

    def _label_turns(self, n: int, chain_of_thought: bool) -> Conversation:
        turns: list[Message] = []
        for example in _take(self.examples.labels, n, "label.few_shot"):
            principle = self._derive(example.principle)
            pair = (example.conversation, example.a, example.b, principle)
            if chain_of_thought:
                question, answer = self.label_cot(*pair), self.cot_answer(example.thought, principle)
            else:
                question, answer = self.label(*pair), self.label_answer(principle)
            turns += [Message("user", question), Message("assistant", f"{answer}{example.better})")]
        return tuple(turns)

    def _once(self, key: tuple[str, int, bool], make: Callable[[], Conversation]) -> Conversation:
        """Shots are the same for every item of a run, so they are rendered once."""
        if key not in self._shots:
            self._shots[key] = make()
        return self._shots[key]

    def _derive(self, sentence: str) -> Sample:
        bare = Sample(sentence)
        return Sample(
            sentence,
            critique=self.derived_critique(bare),
            revision=self.derived_revision(bare),
            question=self.derived_question(bare),
        )

    def _pair(self, name: str, conversation: Conversation, a: str, b: str, principle: HasRequests) -> str:
        shown = [inert(text, self._marks) for text in (a, b)]
        return self._render(name, conversation=conversation, a=shown[0], b=shown[1], principle=principle)

    @cached_property
    def _marks(self) -> re.Pattern[str]:
        """What makes the labeler's prompts: their text around the values."""
        return marks_of(self._label_texts)

    @cached_property
    def _label_texts(self) -> list[str]:
        """The labeler's prompts and the beginning of its answer, with ``SENTINEL`` for every value."""
        turns = (Message("user", SENTINEL), Message("assistant", SENTINEL))
        principle = Sample(SENTINEL, critique=SENTINEL, revision=SENTINEL, question=SENTINEL)
        pair = {"conversation": turns, "a": SENTINEL, "b": SENTINEL, "principle": principle}
        prompts = [self._render(name, **pair) for name in ("label", "label_cot")]
        return [*prompts, self.label_answer(principle)]

    def _render(self, name: str, **values: Any) -> str:
        return render(self._templates[name], values)


def _take(examples: Sequence[ExampleT], n: int, key: str) -> Sequence[ExampleT]:
    if n > len(examples):
        raise UsageError(f"{key} is {n}, but {EXAMPLES_FILE} has {len(examples)} such examples")
    return examples[:n]


def _files(folder: Path | str | None) -> dict[str, Path]:
    known = [f"{name}.jinja" for name in VARIABLES] + [EXAMPLES_FILE]
    shipped = shipped_folder("prompts")
    files = {name: shipped / name for name in known}
    if folder is None:
        return files
    folder = Path(folder)
    if not folder.is_dir():
        raise UsageError(f"templates: '{folder}' is not a folder")
    problems = []
    for path in sorted(folder.iterdir()):
        if path.name in files:
            files[path.name] = path
        elif not path.name.startswith((".", "README")):
            suggestion = did_you_mean(path.name, known) or f"; known names are {one_of(known, 'and')}"
            problems.append(Problem(str(path), f"not the name of a template{suggestion}"))
    if problems:
        raise FileError(problems)
    return files

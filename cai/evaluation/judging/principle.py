"""A constitution of one sentence, for suites that ask every judge and every model the same."""

from __future__ import annotations

from cai.constitution.load import Constitution, Principle
from cai.constitution.templatecheck import Sample
from cai.constitution.templates import Templates


def of_one(name: str, sentence: str, templates: Templates, beside: str = "") -> Constitution:
    """The constitution whose one principle is ``sentence``.

    ``beside`` is shown to the labeler after the question, such as a reference answer.
    """
    bare = Sample(sentence)
    question = templates.derived_question(bare)
    principle = Principle(
        id=name,
        principle=sentence,
        critique=templates.derived_critique(bare),
        revision=templates.derived_revision(bare),
        question=f"{question}\n\n{beside}" if beside else question,
    )
    return Constitution(name, sentence, (principle,))

"""The pocket tokenizer, and documents as token ids with targets.

Every turn's content is tokenised as a whole, as the engines do, and control tokens are set between; weights
and marks are then laid on the tokens by where they stand in the text.
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass, field

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from tools.pocket.second.documents import MARKS, OPTION, Doc, Mark, Turn
from tools.pocket.second.words import invented

CONTROL = ("<|pad|>", "<|begin|>", "<|end|>", "<|system|>", "<|user|>", "<|assistant|>")
CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}{{ '<|' + message['role'] + '|>' + message['content'] }}"
    "{{ eos_token }}{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


def train_tokenizer(docs: Iterable[Doc], vocab: int, seed: int = 0) -> Tokenizer:
    """Byte-level BPE over the documents' texts and a list of invented words."""
    rng = random.Random(seed)
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab,
        special_tokens=list(CONTROL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
        max_token_length=16,
    )
    texts = [
        "".join(part[0] for part in turn.parts if not isinstance(part, Mark) and part[0] != OPTION)
        for doc in docs
        for turn in doc.turns
    ]
    texts += [" ".join(invented(rng) for _ in range(8)) for _ in range(len(texts) // 12)]
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


@dataclass(slots=True)
class Example:
    """Token ids, and (index, target, weight) of tokens to be told after a position."""

    ids: list[int] = field(default_factory=list)
    targets: list[tuple[int, int, float]] = field(default_factory=list)


class Encoder:
    """Documents to examples. Marks have the ids behind the vocabulary; the shipped model has none of them."""

    def __init__(self, tokenizer: Tokenizer):
        self.tokenizer = tokenizer
        self.control = {name: tokenizer.token_to_id(name) for name in CONTROL}
        self.marks = {name: tokenizer.get_vocab_size() + i for i, name in enumerate(MARKS)}

    def __call__(self, doc: Doc) -> Example:
        example = Example([self.control["<|begin|>"]])
        for turn in doc.turns:
            example.ids.append(self.control[f"<|{turn.role}|>"])
            self._content(example, turn, doc)
            learned = [part[1] for part in turn.parts if not isinstance(part, Mark)][-1]
            if learned:
                example.targets.append((len(example.ids) - 1, self.control["<|end|>"], learned))
            example.ids.append(self.control["<|end|>"])
            self._mark(example, turn.after, len(example.ids) - 1)
        return example

    def _mark(self, example: Example, mark: Mark | None, at: int) -> None:
        if mark is not None:
            each = mark.weight / len(mark.names)
            example.targets += [(at, self.marks[name], each) for name in mark.names]

    def _content(self, example: Example, turn: Turn, doc: Doc) -> None:
        text, spans, marks, option = "", [], [], None
        for part in turn.parts:
            if isinstance(part, Mark):
                marks.append((len(text), part))
                continue
            piece, weight = part
            if piece == OPTION:
                assert doc.p is not None
                piece, option = doc.options[doc.p < 0.5], (len(text), weight)
                weight = 0.0
            spans.append((len(text), len(text) + len(piece), weight))
            text += piece
        encoded = self.tokenizer.encode(text, add_special_tokens=False)
        first, starts = len(example.ids), [start for start, _ in encoded.offsets]
        example.ids += encoded.ids
        span = 0
        for i, (token, start) in enumerate(zip(encoded.ids, starts, strict=True)):
            while span < len(spans) - 1 and start >= spans[span][1]:
                span += 1
            if weight := spans[span][2]:
                example.targets.append((first + i - 1, token, weight))
        if option is not None:
            self._option(example, doc, first, starts.index(option[0]), option[1])
        for at, mark in marks:  # on the last token that begins before the mark
            token = max(i for i, start in enumerate(starts) if start < at)
            self._mark(example, mark, first + token)

    def _option(self, example: Example, doc: Doc, first: int, at: int, weight: float) -> None:
        """The first token of either option, and the rest of the one that is shown."""
        assert doc.p is not None
        one, two = (self.tokenizer.encode(option, add_special_tokens=False).ids for option in doc.options)
        shown, place = (one if doc.p >= 0.5 else two), first + at - 1
        example.targets += [(place, one[0], weight * doc.p), (place, two[0], weight * (1 - doc.p))]
        for i in range(1, len(shown)):
            example.targets.append((place + i, shown[i], 1.0))

"""The pocket tokenizer, and documents as token ids with targets.

Contents are tokenised stretch by stretch and the control tokens set between them, as the engines do.
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from tools.pocket.documents import OPTION, Doc
from tools.pocket.words import invented

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
    texts = [text for doc in docs for _, parts in doc.turns for text, _ in parts if text != OPTION]
    texts += [" ".join(invented(rng) for _ in range(8)) for _ in range(len(texts) // 12)]
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


@dataclass(frozen=True, slots=True)
class Example:
    """Token ids, and for some positions (index, target, weight) of the token that comes next."""

    ids: list[int]
    targets: list[tuple[int, int, float]]
    tie: list[tuple[int, int, float]]


class Encoder:
    """Documents to examples, remembering what it has tokenised."""

    def __init__(self, tokenizer: Tokenizer):
        self.tokenizer = tokenizer
        self.control = {name: tokenizer.token_to_id(name) for name in CONTROL}
        self.seen: dict[str, list[int]] = {}

    def text(self, text: str) -> list[int]:
        if (ids := self.seen.get(text)) is None:
            ids = self.tokenizer.encode(text, add_special_tokens=False).ids
            if len(self.seen) < 200_000:
                self.seen[text] = ids
        return ids

    def __call__(self, doc: Doc) -> Example:
        ids = [self.control["<|begin|>"]]
        example = Example(ids, [], [])
        for role, parts in doc.turns:
            ids.append(self.control[f"<|{role}|>"])
            last = 0.0
            for text, weight in parts:
                if text == OPTION:
                    assert doc.p is not None
                    first, second = (self.text(option) for option in doc.options)
                    example.targets.append((len(ids) - 1, first[0], weight * doc.p))
                    example.tie.append((len(ids) - 1, second[0], weight * (1 - doc.p)))
                    # An option of several tokens is told by its first; the others follow from that.
                    ids += (shown := first if doc.p >= 0.5 else second)
                    at = len(ids) - len(shown)
                    example.targets.extend((at + i - 1, shown[i], 1.0) for i in range(1, len(shown)))
                    continue
                for token in self.text(text):
                    if weight:
                        example.targets.append((len(ids) - 1, token, weight))
                    ids.append(token)
                last = weight
            if last:
                example.targets.append((len(ids) - 1, self.control["<|end|>"], last))
            ids.append(self.control["<|end|>"])
        return example

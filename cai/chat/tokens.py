"""Text → token ids, with control tokens reachable only from the text of a template.

A tokenizer looks for its control tokens (``<|im_end|>``, ``<think>``, ``</s>`` …) in everything it
is given, so a prompt that spells one would end its own turn. ``SafeTokenizer`` is a copy of a fast
tokenizer in which every control token has a new, random name under its old id. Template text is
translated to those names before it is encoded; contents are not, so what they spell stays text.
Nothing else changes: ordinary conversations get the ids that ``apply_chat_template`` gives.

(``split_special_tokens=True`` is not enough: tokens such as ``<think>`` that were added without the
"special" flag are still parsed with it.)
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Sequence
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from cai.values.errors import EngineError, ItemError, UsageError

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerBase


class SafeTokenizer:
    """Encodes template text and contents apart from each other, and in one pass."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        """Copy ``tokenizer``'s backend with its control tokens renamed.

        Raises:
            UsageError: the tokenizer has no fast (``tokenizers``) form.
            EngineError: the copy does not keep the ids of the original.
        """
        backend = getattr(tokenizer, "backend_tokenizer", None)
        if backend is None:
            name = tokenizer.name_or_path or "this model"
            raise UsageError(
                f"the tokenizer of {name} has no fast form (tokenizer.json); "
                "cai needs one to keep contents apart from control tokens. Convert it with "
                "AutoTokenizer.from_pretrained(…).save_pretrained(…), or use another model."
            )
        spec = json.loads(backend.to_str())
        added = [token for token in spec.get("added_tokens", []) if _is_control(token)]
        nonce = secrets.token_hex(8)
        self._names = {token["content"]: f"q{nonce}n{i:06d}z" for i, token in enumerate(added)}
        self._cut = f"q{nonce}n{len(added):06d}z"
        self._pattern = _longest_first(self._names)
        self._private = re.compile(f"q{nonce}n[0-9]{{6}}z")
        self._ids = {self._names[token["content"]]: int(token["id"]) for token in added}
        self._by_id = {token_id: name for name, token_id in self._ids.items()}
        self._backend = _renamed(spec, self._names, self._cut)
        self._cut_id = self._backend.token_to_id(self._cut)
        if any(self._backend.token_to_id(name) != token_id for name, token_id in self._ids.items()):
            raise EngineError(f"the tokenizer of {tokenizer.name_or_path!r} cannot be copied id for id")

    def mark(self, template_text: str) -> str:
        """``template_text`` with its control tokens under their private names."""
        if self._pattern is None:
            return template_text
        return self._pattern.sub(lambda match: self._names[match.group()], template_text)

    def first_control(self, marked: str) -> tuple[int, int, int] | None:
        """Start, end and token id of the first control token in marked text; None without one."""
        match = self._private.search(marked)
        return (match.start(), match.end(), self._ids[match.group()]) if match else None

    def parts(self, marked: str) -> list[str]:
        """Marked text as its control tokens and, between them, its characters."""
        split = re.split(f"({self._private.pattern})", marked)
        return [part for i, text in enumerate(split) for part in ([text] if i % 2 else text)]

    def segments(self, ids: Sequence[int]) -> list[tuple[str | None, list[int]]]:
        """Token ids as control tokens, each with its private name, and the runs between them, with None."""
        found: list[tuple[str | None, list[int]]] = []
        for token in ids:
            name = self._by_id.get(token)
            if name is None and found and found[-1][0] is None:
                found[-1][1].append(token)
            else:
                found.append((name, [token]))
        return found

    @property
    def control_tokens(self) -> list[str]:
        """The control tokens as their own text."""
        return list(self._names)

    def encode(self, pieces: Sequence[str], hard: frozenset[int] = frozenset()) -> list[list[int]]:
        """Ids of each of ``pieces``, encoded as the one text that they make together.

        A token that would straddle two pieces is not made: that border is then cut, as are the
        borders after the pieces named in ``hard``.

        Returns:
            One list of ids per piece; their concatenation is the text's encoding.

        Raises:
            ItemError: a piece holds half a surrogate pair, which no tokenizer takes.
        """
        wanted = set(hard)
        for _ in pieces:
            ids, straddled = self._encode(pieces, wanted)
            if not straddled:
                return ids
            wanted |= straddled
        return ids

    def _encode(self, pieces: Sequence[str], cuts: set[int]) -> tuple[list[list[int]], set[int]]:
        texts = [text + (self._cut if i in cuts else "") for i, text in enumerate(pieces)]
        try:
            encoding = self._backend.encode("".join(texts), add_special_tokens=False)
        except TypeError:
            raise ItemError("not UTF-8", "half of a surrogate pair is in the conversation") from None
        ends = list(accumulate(len(text) for text in texts))
        ids: list[list[int]] = [[] for _ in pieces]
        straddled: set[int] = set()
        piece = 0
        for token, (start, end) in zip(encoding.ids, encoding.offsets, strict=True):
            while piece < len(pieces) - 1 and start >= ends[piece]:
                piece += 1
            if token == self._cut_id:
                continue
            ids[piece].append(token)
            if end > ends[piece] and piece < len(pieces) - 1:
                straddled.add(piece)
        return ids, straddled


def _is_control(token: dict[str, Any]) -> bool:
    """Whether an added token is more than a word or a run of spaces.

    Some vocabularies add plain runs of spaces or newlines; contents must keep those.
    """
    text = str(token["content"]).replace("▁", "")
    return bool(token["special"]) or not (text.isspace() or text.isalnum() or not text)


def _longest_first(names: dict[str, str]) -> re.Pattern[str] | None:
    literals = sorted(names, key=len, reverse=True)
    return re.compile("|".join(map(re.escape, literals))) if literals else None


def _renamed(spec: dict[str, Any], names: dict[str, str], cut: str) -> Tokenizer:
    """A tokenizer from ``spec`` with tokens renamed by ``names`` and one more token, ``cut``."""
    from tokenizers import AddedToken, Tokenizer

    for token in spec.get("added_tokens", []):
        if token["content"] in names:
            token.update(content=names[token["content"]], normalized=False, single_word=False, special=True)
    model = spec["model"]
    vocabulary = model.get("vocab")
    if isinstance(vocabulary, dict):
        model["vocab"] = {names.get(text, text): token for text, token in vocabulary.items()}
    elif isinstance(vocabulary, list):
        model["vocab"] = [[names.get(text, text), score] for text, score in vocabulary]
    if model.get("unk_token") in names:
        model["unk_token"] = names[model["unk_token"]]
    if model.get("merges"):
        model["merges"] = [merge for merge in model["merges"] if not _touches(merge, names)]
    spec.update(post_processor=None, truncation=None, padding=None)
    backend = Tokenizer.from_str(json.dumps(spec))
    backend.add_special_tokens([AddedToken(cut, normalized=False, special=True)])
    return backend


def _touches(merge: str | list[str], names: dict[str, str]) -> bool:
    left, right = merge.split(" ", 1) if isinstance(merge, str) else merge
    return left in names or right in names or left + right in names

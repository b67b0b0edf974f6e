"""One tokenizer's chat template as cai uses it: marked text, the answer's surroundings, its thoughts.

Kept per tokenizer by ``encoding.py``, which has the functions that the other rooms call.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from cai.chat.render import Piece, Renderer, TemplateRefusal, render
from cai.chat.thought import MARKERS, Markers, pairs_of, spans
from cai.chat.tokens import SafeTokenizer
from cai.chat.turn import announcement, closed, read_turn
from cai.values.errors import UsageError
from cai.values.types import Message

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_PLAIN_MARKERS = re.compile(r"\n\n+(?=(?:Human|Assistant):)")
_UNKNOWN = "\ufffd"


class ChatTemplate:
    """What is kept per tokenizer.

    Raises:
        UsageError: the template takes no question with an answer, or the tokenizer is not usable.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self.template = tokenizer.chat_template
        self.renderer = Renderer(tokenizer)
        self.safe = SafeTokenizer(tokenizer)
        self.options: dict[tuple[str, ...], list[list[int]]] = {}
        self.eos = tokenizer.eos_token_id
        self.bos = tokenizer.bos_token_id
        self._tokenizer = tokenizer
        self._known = frozenset(tokenizer.get_vocab().values())
        # A base model's beginning-of-text token comes from the tokenizer, any other from the template.
        self.begins = self.renderer.plain and tokenizer("a").input_ids[:1] == [self.bos]
        controls = self.safe.control_tokens
        self.pairs = pairs_of(controls)
        try:
            self.renderer.require_verbatim()
            self.turn = read_turn(self.renderer, self.safe, self.pairs, self.bos)
        except TemplateRefusal as refusal:
            raise UsageError(
                f"the chat template of {tokenizer.name_or_path or 'this model'} cannot be used: {refusal}. "
                "Put another into its folder (chat_template.jinja), or use another model."
            ) from refusal
        self.before = self.safe.mark(self.turn.before)
        ends = [*self.turn.end, self.eos]
        self.end = [token for token in ends if token is not None][: len(self.turn.end) or 1]
        self.end_ids = tuple(sorted({token for token in (*self.end[-1:], self.eos) if token is not None}))
        self.markers = self._markers()
        self._spans = tuple((self.safe.mark(a), self.safe.mark(b)) for a, b in self.markers.control)

    def _markers(self) -> Markers:
        def is_control(marker: str) -> bool:
            parts = self.safe.parts(self.safe.mark(marker))
            return (
                self.safe.first_control(parts[0]) is not None
                and self.safe.first_control(parts[-1]) is not None
            )

        control = tuple(pair for pair in self.pairs if all(map(is_control, pair)))
        named = tuple(end for _, end in self.pairs if end in self.renderer.source and not is_control(end))
        return Markers(control, MARKERS, named)

    def filled(self, piece: Piece, form: Sequence[Message], marked: bool = True) -> str:
        """Template text with control tokens marked, or a content in the template's manner."""
        if isinstance(piece, str):
            return self.safe.mark(piece) if marked else piece
        return self._inert(piece.fill(form[piece.turn].content))

    def _inert(self, content: str) -> str:
        """A content must not open a turn of the plain dialogue form."""
        return _PLAIN_MARKERS.sub("\n", content) if self.renderer.plain else content

    def text(self, messages: Sequence[Message]) -> str:
        """Marked text of a conversation without a generation prompt."""
        form, pieces = render(self.renderer, messages, generation_prompt=False)
        return "".join(self.filled(piece, form) for piece in pieces)

    def prompt(self, messages: Sequence[Message], marked: bool = True) -> str:
        """Text up to the answer, or to what the template prints before one."""
        form, pieces = render(self.renderer, messages, generation_prompt=True)
        return "".join(self.filled(piece, form, marked) for piece in closed(pieces, self.pairs))

    def answer(self, response: str) -> str:
        """A response in the template's manner."""
        return self._inert(self.turn.slot.fill(response)) + self.turn.after

    def decode(self, ids: Sequence[int]) -> str:
        runs: list[list[int]] = [[]]
        for token in ids:
            if token in self._known:
                runs[-1].append(token)
            else:
                runs.append([])
        texts = (
            self._tokenizer.decode(run, skip_special_tokens=True, clean_up_tokenization_spaces=False)
            for run in runs
        )
        return _UNKNOWN.join(str(text) for text in texts)

    def answer_ids(self, ids: list[int], prefilled: bool) -> tuple[list[int] | None, bool]:
        """A completion's ids less thoughts and channels, None without an answer; whether there were any."""
        segments = self.safe.segments(ids)
        if not self.turn.announced and all(name is None for name, _ in segments):
            return ids, False
        # Marked text of the completion, and at which id each of its control tokens stands.
        text, place = "", 0
        starts: dict[int, int] = {}
        for name, run in segments:
            if name is not None:
                starts[len(text)] = place
                starts[len(text) + len(name)] = place + 1
            text += self.decode(run) if name is None else name
            place += len(run)
        starts[0], starts[len(text)] = 0, len(ids)
        first, last = 0, len(text)
        if self.turn.announced:
            if not prefilled:
                found = announcement(self.turn.announced).search(text)
                if found is None:
                    return None, True
                first = found.end()
            following = self.safe.first_control(text[first:])
            last = first + following[0] if following else last
        elif self.turn.end:
            # Of several tokens that end a turn, the first ends the answer.
            ends = (at for at, number in starts.items() if ids[number : number + 1] == [self.turn.end[0]])
            last = min(ends, default=last)
        found_spans = spans(text[first:last], self._spans, lone=not prefilled)
        if found_spans is None:
            return None, True
        kept: list[int] = []
        at = first
        for begin, end in found_spans:
            kept += ids[starts[at] : starts[first + begin]]
            at = first + end
        return kept + ids[starts[at] : starts[last]], bool(found_spans)

    def continuation(self, before: list[str], text: str, before_ids: list[int]) -> list[int]:
        """Ids of ``text`` after marked pieces, where these must keep the ids that they have alone."""
        parts = self.ids([*before, text])
        if [token for ids in parts[:-1] for token in ids] != before_ids:
            parts = self.ids([*before, text], hard=frozenset({len(before) - 1}))
        return parts[-1]

    def ids(self, pieces: Sequence[str], hard: frozenset[int] = frozenset()) -> list[list[int]]:
        """Ids of marked pieces, with the beginning-of-text token once, where it belongs."""
        found = self.safe.encode(pieces, hard)
        if self.bos is not None:
            first = found[0]
            if self.begins and first[:1] != [self.bos]:
                first.insert(0, self.bos)
            elif first[:2] == [self.bos, self.bos]:
                del first[0]
        return found

"""The template that is saved with a trained model: what it prints unasked is what was trained.

cai trains with thinking off, a fixed date and, where a template has no system role, the system text in the
first user's turn. Whoever serves the model passes no such variables, so the saved template gets them as its
defaults; whoever passes ``enable_thinking=True`` or a date of his own is still heard. Contents that spell
control tokens are not made harmless by a saved template: no template can do that.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cai.chat.encoding import plain_template_begins, prompt_text
from cai.chat.render import DATES, THINKING_SWITCHES, Renderer, TemplateRefusal, pinned_strftime, saved_plain
from cai.chat.thought import left_open, pairs_of
from cai.chat.turn import closing
from cai.values.types import Message

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_USER = Message("user", "Hello there.")
_SYSTEM = Message("system", "Be kind.")
#: Conversations over which a template's default is compared with what is trained.
PROBES: tuple[tuple[Message, ...], ...] = (
    (_USER,),
    (_SYSTEM, _USER),
    (_USER, Message("assistant", "Good day."), _USER),
    (_SYSTEM, _USER, Message("assistant", "Good day."), _USER),
)


@dataclass(frozen=True, slots=True)
class SavedTemplate:
    """``text`` is None where the model's own template prints by default what is trained.

    ``pinned`` says in words what had to be fixed, ``amiss`` what is trained and cannot be made the default.
    """

    text: str | None
    pinned: tuple[str, ...] = ()
    amiss: tuple[str, ...] = ()

    def line(self, name: str) -> str | None:
        """What the user has to know before a training; None where there is nothing."""
        if not self.pinned and not self.amiss:
            return None
        told = []
        if self.pinned:
            told.append(f"trained and saved as its default: {', '.join(self.pinned)}")
        if self.amiss:
            told.append(f"trained, but not what the saved template prints unasked: {', '.join(self.amiss)}")
        return f"chat template of {name}: {'; '.join(told)}"


def saved_template(tokenizer: PreTrainedTokenizerBase) -> SavedTemplate:
    """The chat template to save with a model that was trained with ``tokenizer``.

    Raises:
        UsageError: the template cannot be used at all.
    """
    renderer = Renderer(tokenizer)
    if renderer.plain:
        if tokenizer.chat_template:
            return SavedTemplate(None)
        words = "the dialogue form (Human:, Assistant:), as it has no template of its own"
        return SavedTemplate(saved_plain(plain_template_begins(tokenizer)), (words,))
    wanted = [prompt_text(tokenizer, probe) for probe in PROBES]
    if _shows(tokenizer, renderer, None) == wanted:
        return SavedTemplate(None)
    source = renderer.source
    parts: list[str] = []
    pinned: list[str] = []
    for words, texts in (
        ("no thinking", _switches(source)),
        (f"the date {DATES['date_string']}", _dates(source)),
        ("a system text in the first user's turn", _FOLD if _folds(renderer) else ""),
    ):
        if texts and _matters(tokenizer, renderer, texts, wanted):
            parts.append(texts)
            pinned.append(words)
    text = "".join(parts) + _kept(source)
    end = _ends_thought(tokenizer, renderer, text)
    if end is not None:
        text = "".join(parts) + _ended(source, *end)
        pinned.insert(0, "no thinking")
    shown = _shows(tokenizer, renderer, text)
    if shown == wanted:
        return SavedTemplate(text, tuple(dict.fromkeys(pinned)))
    if shown[0] == wanted[0]:
        return SavedTemplate(
            text, tuple(dict.fromkeys(pinned)), ("some conversations with a system text or of several turns",)
        )
    return SavedTemplate(None, (), ("the prompt before an answer (thinking, a date or a system text)",))


def announce(tokenizer: PreTrainedTokenizerBase, model: str, say: Callable[[str], None]) -> None:
    """Say in one line, before a training, what ``model``'s template will print by default after it."""
    line = saved_template(tokenizer).line(model)
    if line is not None:
        say(line)


def save_tokenizer(tokenizer: PreTrainedTokenizerBase, folder: str | Path) -> None:
    """``tokenizer.save_pretrained(folder)``, with the template whose default is what was trained."""
    text = saved_template(tokenizer).text
    if text is not None:
        tokenizer = copy.copy(tokenizer)
        named = tokenizer.chat_template
        tokenizer.chat_template = {**named, "default": text} if isinstance(named, dict) else text
    tokenizer.save_pretrained(str(folder))


def _shows(tokenizer: Any, renderer: Renderer, template: str | None) -> list[str | None]:
    """What ``template`` (None: the tokenizer's own) prints for the probes when nothing is passed to it."""
    shown: list[str | None] = []
    for probe in PROBES:
        try:
            text = tokenizer.apply_chat_template(
                renderer.shown(probe), chat_template=template, tokenize=False, add_generation_prompt=True
            )
        except Exception:  # a template may fail in any way that Jinja can
            text = None
        shown.append(text)
    return shown


def _matters(tokenizer: Any, renderer: Renderer, part: str, wanted: Sequence[str | None]) -> bool:
    """Whether ``part`` in front of the template changes anything that it prints unasked."""
    return _shows(tokenizer, renderer, part + _kept(renderer.source)) != _shows(tokenizer, renderer, None)


def _switches(source: str) -> str:
    names = [name for name in THINKING_SWITCHES if re.search(rf"\b{name}\b", source)]
    return "".join(_default(name, "false") for name in names)


def _dates(source: str) -> str:
    text = ""
    if re.search(r"\bdate_string\b", source):
        text += _default("date_string", f"'{DATES['date_string']}'")
    if re.search(r"\bstrftime_now\b", source):
        forms = sorted({form for _, form in re.findall(r"strftime_now\(\s*(['\"])(.*?)\1", source)})
        cases = [
            (f"{{%- {'if' if i == 0 else 'elif'} form == '{form}' -%}}", form) for i, form in enumerate(forms)
        ]
        chosen = "".join(f"{test}{pinned_strftime(form)}" for test, form in cases)
        other = pinned_strftime("%Y-%m-%d")
        body = f"{chosen}{{%- else -%}}{other}{{%- endif -%}}" if cases else other
        text += f"{{%- macro strftime_now(form) -%}}{body}{{%- endmacro %}}"
    return text


def _default(name: str, value: str) -> str:
    return f"{{%- if {name} is not defined %}}{{%- set {name} = {value} %}}{{%- endif %}}"


_FOLD = (
    "{%- if messages | length > 1 and messages[0]['role'] == 'system' and messages[1]['role'] == 'user' "
    "and messages[0]['content'] is string and messages[1]['content'] is string %}"
    "{%- set messages = [{'role': 'user', "
    "'content': messages[0]['content'] + '\\n\\n' + messages[1]['content']}] + messages[2:] %}{%- endif %}"
)


def _folds(renderer: Renderer) -> bool:
    try:
        renderer.pieces(PROBES[1], True)
    except TemplateRefusal:
        return True
    return False


def _kept(source: str) -> str:
    """A template's text behind a block, which would take a newline at its beginning."""
    return ("{{ '' }}" if source[:1].isspace() else "") + source


def _ends_thought(tokenizer: Any, renderer: Renderer, text: str) -> tuple[str, str] | None:
    """The pair of markers whose thought the template begins before every answer, whatever is passed to it."""
    shown = _shows(tokenizer, renderer, text)[0] or ""
    return left_open(shown[shown.rfind(_USER.content) :], pairs_of(tokenizer.get_added_vocab()))


def _ended(source: str, beginning: str, end: str) -> str:
    """A template that ends the thought with which ``source`` asks for an answer."""
    tail = (
        "{%- if add_generation_prompt and not (enable_thinking is defined and enable_thinking) "
        f"and cai_prompt.rstrip('\\n').endswith({beginning!r}) -%}}"
        f"{{{{ cai_prompt.rstrip('\\n') + {closing(end)!r} }}}}"
        "{%- else -%}{{ cai_prompt }}{%- endif -%}"
    )
    body = source.removesuffix("\n")
    return "{%- set cai_prompt -%}" + "{{ '' }}" + body + "{{ '' }}{%- endset -%}" + tail

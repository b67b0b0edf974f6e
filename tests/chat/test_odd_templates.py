"""Chat templates that somebody wrote for himself: read as they print, or refused before anything is asked."""

from __future__ import annotations

import pytest

from benchmarks.chat_templates import Template, row, tokenizer_for
from cai.chat.encoding import encode
from cai.values.errors import UsageError
from cai.values.types import Message

TURN = "<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n"
ASK = "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"


def turns(turn: str = TURN, ask: str = ASK, before: str = "") -> str:
    return f"{before}{{% for m in messages %}}{turn}{{% endfor %}}{ask}"


PARTS = "{% for p in m.content %}{% if p.type == 'text' %}{{ p.text }}{% endif %}{% endfor %}"
LAST = "{{ ' /no_think' if loop.last and m.role == 'user' }}"
ROUNDS = (
    "{% if m.role == 'user' %}[Round {{ loop.index0 // 2 + 1 }}]\nQ: {{ m.content }}\n"
    "{% elif m.role == 'assistant' %}A: {{ m.content }}</s>{% endif %}"
)
CHANNEL = "{% if m.role == 'assistant' %}<|channel|>final{% endif %}<|message|>{{ m.content }}<|end|>"
RECIPIENT = "{% if m.role == 'assistant' %} to=user{% endif %}<|message|>{{ m.content }}<|end|>"
PLAIN = "{{ m.role|capitalize }}: {{ m.content }}{{ eos_token if m.role == 'assistant' else '\n' }}"


def asking(text: str) -> str:
    return "{% if add_generation_prompt %}" + text + "{% endif %}"


FAITHFUL = {
    "the time in a question": turns(TURN.replace("{{ m.c", "[{{ strftime_now('%H:%M %d %b %Y') }}] {{ m.c")),
    "today in a system text": turns(before="<|im_start|>system\n{{ strftime_now('%Y-%m-%d') }}<|im_end|>\n"),
    "stripped contents": turns(TURN.replace("m.content", "m.content.strip()")),
    "a suffix on the last question": turns(TURN.replace("<|im_end|>", LAST + "<|im_end|>")),
    "always asking": turns(ask="<|im_start|>assistant\n"),
    "never asking": turns(ask=""),
    "contents in parts": turns(TURN.replace("{{ m.content }}", PARTS)),
    "counted rounds": turns(ROUNDS, asking("A: ")),
    "an end before the next turn": turns(
        "<|im_start|>{{ m.role }}\n{{ m.content }}{% if not loop.last %}<|im_end|>\n{% endif %}",
        asking("<|im_end|>\n<|im_start|>assistant\n"),
    ),
    "two ends": turns(TURN.replace("<|im_end|>", "<|im_end|><|eot_id|>")),
    "channels": turns("<|start|>{{ m.role }}" + CHANNEL, asking("<|start|>assistant")),
    "a recipient": turns(
        "<|start|>{{ m.role }}" + RECIPIENT, asking("<|start|>assistant to=user<|message|>")
    ),
    "numbered turns": turns(
        TURN.replace("{{ m.role }}", "{{ m.role }}:{{ loop.index }}"),
        asking("<|im_start|>assistant:{{ messages|length + 1 }}\n"),
    ),
    "no end but that of the text": turns(PLAIN, asking("Assistant:"), "{{ bos_token }}"),
}
UNFAITHFUL = {
    "chance": turns(TURN.replace("{{ m.role }}", "{{ m.role }} {{ range(99999)|random }}")),
    "replaced": turns(TURN.replace("m.content", "m.content|replace('\\n', ' ')")),
    "escaped for the web": turns(TURN.replace("m.content", "m.content|e")),
    "quoted": turns(TURN.replace("m.content", "m.content|tojson")),
    "shortened": turns(TURN.replace("m.content", "m.content[:400]")),
    "measured": turns(TURN.replace("{{ m.role }}", "{{ m.role }} {{ m.content|length }}")),
    "in one line": turns(TURN.replace("m.content", "' '.join(m.content.split())")),
    "in capitals": turns(TURN.replace("m.content", "m.content|upper")),
    "the last turn alone": "<|im_start|>user\n{{ messages[-1].content }}<|im_end|>\n" + ASK,
    "without answers": turns("{% if m.role == 'user' %}" + TURN + "{% endif %}"),
    "tools": "{{ tools[0].name }}" + turns(),
    "not Jinja": "{% for m in messages %}{{ m.content }",
}


@pytest.mark.parametrize("kind", FAITHFUL)
def test_what_it_prints_is_what_is_asked_and_learned(kind: str) -> None:
    cells = row(Template(kind, FAITHFUL[kind], "own"))
    assert not {name: cell for name, cell in cells.items() if cell.startswith(("WRONG", "refused"))}


@pytest.mark.parametrize("kind", UNFAITHFUL)
def test_one_that_does_not_print_what_is_said_is_refused(kind: str) -> None:
    """cai cuts templates into text and places for contents; these print other contents than it would."""
    with pytest.raises(UsageError, match=r"chat template of .* cannot be used: .*chat_template\.jinja"):
        encode(tokenizer_for(UNFAITHFUL[kind]), [Message("user", "Hello")])

"""Whole conversations written as one text, with marks that say who speaks.

    Human: …  Assistant: …      User: …  Assistant: …                      names at the beginning of a line
    <|im_start|>user … <|im_end|> <|im_start|>assistant …                  ChatML
    <|user|> … <|assistant|> …                                            Zephyr, Phi
    <start_of_turn>user … <end_of_turn> <start_of_turn>model …            Gemma
    <|start_header_id|>user<|end_header_id|> … <|eot_id|> …               Llama 3
    [INST] … [/INST] …                                                    Llama 2, Mistral
    ### Instruction: … ### Input: … ### Response: …                       Alpaca

Two such texts that share everything up to the last answer are answers to one prompt. This is for files that
have no prompt of their own; the words that two answers happen to share are never one.
"""

from __future__ import annotations

import re

from cai.data.turns import ROLES
from cai.values.types import Conversation, Message, Role

_STYLES = (
    re.compile(r"<\|im_start\|>(\w+)\n?"),
    re.compile(r"<\|start_header_id\|>(\w+)<\|end_header_id\|>\s*"),
    re.compile(r"<start_of_turn>(\w+)\n?"),
    re.compile(r"<\|(system|user|assistant)\|>\n?"),
    re.compile(r"\[(/?INST)\]"),
    re.compile(r"(?:^|\n)### ?(Instruction|Input|Response):?", re.IGNORECASE),
    re.compile(r"(?:^|\n)[ ]*(Human|User|Assistant|AI|System):", re.IGNORECASE),
)
_NAMES: dict[str, Role] = ROLES | {"inst": "user", "/inst": "assistant", "response": "assistant"}
_ENDS = re.compile(r"<\|(?:im_end|eot_id|end|endoftext|begin_of_text)\|>|<end_of_turn>|<bos>|</?s>")
_SYSTEM = re.compile(r"<<SYS>>(.*?)<</SYS>>", re.DOTALL)


def marked(text: str) -> Conversation | None:
    """The turns of ``text``, the assistant's last; None where it is not written in any of these styles."""
    return next((turns for style in _STYLES if (turns := _turns(style, text)) is not None), None)


def _turns(style: re.Pattern[str], text: str) -> Conversation | None:
    before, *pieces = style.split(text)
    found: list[Message] = []
    if opening := _said(before):
        found.append(Message("system", opening))  # Alpaca's "Below is an instruction …"
    for name, piece in zip(pieces[::2], pieces[1::2], strict=True):
        said = _said(piece)
        if name.casefold() == "input":
            if not found or found[-1].role != "user":
                return None
            found[-1] = Message("user", f"{found[-1].content}\n\n{said}")
            continue
        role = _NAMES.get(name.casefold())
        if role is None:
            return None
        if role == "user" and (system := _SYSTEM.search(said)):
            found.append(Message("system", system[1].strip()))
            said = _SYSTEM.sub("", said).strip()
        found.append(Message(role, said))
    asked = found[1:] if found and found[0].role == "system" else found
    roles = [turn.role for turn in asked]
    if len(roles) < 2 or roles != ["user", "assistant"] * (len(roles) // 2):
        return None
    return tuple(found)


def _said(piece: str) -> str:
    return _ENDS.sub("", piece).strip()

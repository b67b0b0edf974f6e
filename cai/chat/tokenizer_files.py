"""Tokenizers as people ship them, and whether one belongs to a model.

A folder may hold Mistral's ``tekken.json`` beside the ``tokenizer.json`` that cai needs, or its chat template
only in ``chat_template.json``, as processors of images once saved it. transformers takes the first for the
tokenizer and overlooks the second; an instruct model would be prompted as a base model, without a word.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from cai.values.errors import UsageError


def load_tokenizer(model: str | Path) -> Any:
    """The tokenizer of a folder or hub name, with its chat template wherever that stands.

    Raises:
        UsageError: the folder holds Mistral's own format alone, or a chat_template.json that cannot be read.
        OSError, ValueError: as transformers raises them.
    """
    from transformers import AutoTokenizer

    folder = Path(model)
    own = any(folder.glob("tekken*.json"))
    if own and not (folder / "tokenizer.json").is_file():
        raise UsageError(
            f"the tokenizer in {folder} is in Mistral's own format alone (tekken.json), and cai needs a fast "
            'one (tokenizer.json). Write it beside: python -c "from transformers.integrations.mistral import '
            f"convert_tekken_tokenizer as c; c('{folder}/tekken.json').save_pretrained('{folder}')\""
        )
    more: dict[str, Any] = {"mistral_format": False} if own else {}
    tokenizer: Any = AutoTokenizer.from_pretrained(model, trust_remote_code=False, **more)
    if not tokenizer.chat_template and (beside := folder / "chat_template.json").is_file():
        tokenizer.chat_template = _template(beside)
    return tokenizer


def _template(file: Path) -> str | dict[str, str]:
    """The template in a processor's ``chat_template.json``."""
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
        template = found["chat_template"] if isinstance(found, dict) else found
        if isinstance(template, list):  # several, each with its name
            template = {entry["name"]: entry["template"] for entry in template}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{file} cannot be read as a chat template: {error}") from error
    if not isinstance(template, str | dict):
        raise UsageError(f"{file} holds no chat template under 'chat_template'.")
    return template


def require_room(tokenizer: Any, known: int, where: str | Path, what: str = "model") -> None:
    """Refuse a tokenizer with more tokens than the ``known`` ones that have an embedding.

    A padding token that was added without making room for it is the usual case. Control tokens that nothing
    here writes may lie beyond, as that of pictures does in the text-only Gemma 3.

    Raises:
        UsageError: tokenizer and model do not belong together.
    """
    if len(tokenizer) > known and _written(tokenizer, known):
        raise UsageError(
            f"the tokenizer in {where} has {len(tokenizer)} tokens and the {what} there knows "
            f"{known}: they do not belong together. Put the {what}'s own tokenizer into the folder."
        )


def _written(tokenizer: Any, known: int) -> bool:
    """Whether a text or a template may hold a token from ``known`` on: no text holds a control token."""
    control = {number for number, token in tokenizer.added_tokens_decoder.items() if token.special}
    named = {tokenizer.bos_token, tokenizer.eos_token, tokenizer.pad_token}
    if tokenizer.unk_token_id in tokenizer.encode("\U000f1234", add_special_tokens=False):
        named.add(tokenizer.unk_token)  # bytes spell whatever there is
    template = str(tokenizer.chat_template or "")
    beyond = {token: number for token, number in tokenizer.get_vocab().items() if number >= known}
    return any(
        number not in control or token in named or token in template for token, number in beyond.items()
    )

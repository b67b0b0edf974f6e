"""Texts compared: the same words in the same form, however an editor or a spreadsheet stored them."""

from __future__ import annotations

import unicodedata

_UNSEEN = "\ufeff\u200b\u2060"  # a byte order mark and spaces without width, left over from copying


def tidy(text: str) -> str:
    """``text`` in Unicode's composed form (NFC) without what cannot be seen around it.

    For comparing alone: what is stored and shown to a model is the text as it was.
    """
    if text.isascii():
        return text.strip()
    return unicodedata.normalize("NFC", text).strip().strip(_UNSEEN).strip()

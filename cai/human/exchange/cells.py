"""Cells of a csv that a spreadsheet would run: ``=1+1`` is written ``'=1+1`` and read back as it was.

Spreadsheets take a cell that begins with = + - @, a tab or a carriage return for a formula, and with it
whatever a model or an annotator wrote there (OWASP, "CSV injection"). An apostrophe before it makes it text.
Cells that begin with apostrophes and one of these get one more, so that nothing is read back as another text.
"""

from __future__ import annotations

import re
from typing import Any

_WRITTEN = re.compile(r"'*[=+\-@\t\r]")
_READ = re.compile(r"''*[=+\-@\t\r]")


def harmless(cell: Any) -> Any:
    """The cell as text in every spreadsheet."""
    return f"'{cell}" if isinstance(cell, str) and _WRITTEN.match(cell) else cell


def plain(cell: Any) -> Any:
    """The cell as it was before ``harmless``."""
    return cell[1:] if isinstance(cell, str) and _READ.match(cell) else cell

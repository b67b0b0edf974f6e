"""What a cell of a column of verdicts says: a side, a tie, both bad, or nothing that can be told.

Words are read by what they name ("A is better", "Response 2", "model_b", "No preference", "Both are bad").
Numbers and true/false are codes, and what they mean is decided over the whole column: 1 and 2 are the first
and the second response; 0 and 1 may count from nought or mean "yes, a was better", so that the user is asked.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from cai.data.turns import shown
from cai.values.errors import FileError, ItemError, Problem, UsageError
from cai.values.words import did_you_mean, excerpt, one_of

BOTH_BAD = "both bad"
Side = Literal["a", "b", "tie", "both_bad"]
SIDES: tuple[Side, ...] = ("a", "b", "tie", "both_bad")
MOST = 1000  # different verdicts; a column with more is a column of something else


@dataclass(frozen=True, slots=True)
class Verdict:
    """P(first preferred); None with the reason where there is none."""

    p: float | None
    unscored: str | None = None


VERDICTS: Mapping[Side, Verdict] = {
    "a": Verdict(1.0),
    "b": Verdict(0.0),
    "tie": Verdict(0.5),
    "both_bad": Verdict(None, BOTH_BAD),
}

_CODE = re.compile(r"[+-]?\d+(?:\.0+)?|true|false|yes|no|t|f|y|n")
_THAN = re.compile(r"(?<=better) than .*")
_TOKEN = re.compile(r"[a-z]+|\d+|[<>=]+")
_PHRASES = re.compile(r"\ba (?:bit|little|lot|tie|draw)\b|n't\b")  # in which "a" is an article


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_NAMING = _words(
    "response answer model option assistant text output completion candidate system choice reply bot side "
    "responses answers options summary version verdict winner chatbot"
)
_BETTER = _words("better best wins win won preferred prefer prefers chosen choose chose good")
_FILLING = _words(
    "is was are were the it i its s much slightly clearly significantly far strongly strong very somewhat "
    "think an of bit little lot"
)
_FIRST, _SECOND = _words("a 1 left first one"), _words("b 2 right second two")
_EQUAL = _words(
    "tie tied draw equal equals equally equivalent same similar indifferent neutral both undecided"
)
_ABOUT = _words("about roughly no preference difference")
_BAD = _words("bad poor wrong terrible unacceptable bothbad")
_ALL = _words("all bothbad")
_NEITHER = _words("neither none")
_NOTHING = _words("none null nan na")  # what programs write into an empty cell
_COMPARED = re.compile(r"(?P<left>[ab12]) (?P<sign>>+|<+|=+) (?P<right>[ab12])")


def side_of(found: Any, names: tuple[str, str] = ("a", "b")) -> Side | None:
    """What a verdict in words says; None for what cannot be told. ``names`` are the file's two columns."""
    word = key(found)
    for name, side in zip(names, SIDES, strict=False):
        if word is not None and word == key(name):
            return side
    plain = _PHRASES.sub(lambda match: " not " if match[0] == "n't" else match[0][2:], word or "")
    if word in _NOTHING:
        return None
    tokens = _TOKEN.findall(_THAN.sub("", plain.replace("_", " ")))
    if compared := _COMPARED.fullmatch(" ".join(tokens)):
        return _compared(compared)
    return _meant(frozenset(tokens) - _FILLING)


def _compared(found: re.Match[str]) -> Side | None:
    """``A>B``, ``A=B``."""
    first, second = found["left"] in _FIRST, found["right"] in _FIRST
    if first == second:
        return None
    return "tie" if "=" in found["sign"] else "a" if first == (">" in found["sign"]) else "b"


def _meant(words: frozenset[str]) -> Side | None:
    """The one thing that all of the words can mean."""
    rest = words - _NAMING - _BETTER
    meanings: list[tuple[Side, bool]] = [
        ("a", bool(rest) and rest <= _FIRST),
        ("b", bool(rest) and rest <= _SECOND),
        ("tie", bool(rest & (_EQUAL | _words("preference difference"))) and rest <= _EQUAL | _ABOUT),
        (
            "both_bad",
            bool(rest & _BAD) and bool(rest & (_EQUAL | _ALL)) and rest <= _BAD | _EQUAL | _ALL,
        ),
        # "Neither is better" may be a tie; "neither" and "neither is good" are not.
        ("both_bad", bool(rest & _NEITHER) and rest <= _NEITHER and words & _BETTER <= {"good"}),
    ]
    return next((side for side, meant in meanings if meant), None)


def key(found: Any) -> str | None:
    """The form in which verdicts are compared: small letters, ``2.0`` is ``2``. None: no verdict at all."""
    if isinstance(found, float) and found.is_integer():
        found = int(found)
    if not isinstance(found, str | int | bool):
        return None
    word = str(found).strip().casefold()
    return word.partition(".")[0] if re.fullmatch(r"[+-]?\d+\.0+", word) else word


def is_code(found: Any) -> bool:
    """Whether a cell holds a number or a yes or no, which says nothing by itself."""
    word = key(found)
    return word is not None and _CODE.fullmatch(word) is not None


def verdict(
    found: Any,
    what: str,
    names: tuple[str, str] = ("a", "b"),
    coding: Mapping[str, Side] | None = None,
) -> Verdict:
    """The verdict of a cell, by ``coding`` (see ``coding_of``) where that holds it.

    Raises:
        ItemError: it cannot be told.
    """
    word = key(found)
    if word is None:
        raise ItemError("not a choice", f"{what} is {shown(found)}")
    side = None if coding is None else coding.get(word)
    if side is None and (coding is None or not is_code(word) or word in map(key, names)):
        side = side_of(found, names)
    if side is None:
        raise ItemError("label out of range", f"{what} is {shown(found)}; it must be a, b, tie or both_bad")
    return VERDICTS[side]


def coding_of(
    spec: str, column: str, cells: Iterable[Any], names: tuple[str, str], said: Mapping[str, Side]
) -> dict[str, Side]:
    """What the verdicts of a column mean, by their ``key``: of all its cells together.

    What cannot be told is left out: those rows are refused one by one, as is a number that has strayed into
    a column of words. ``said`` is what the user says.

    Raises:
        FileError: numbers, or yes and no, that can be read in more than one way.
    """
    own = {key(name): side for name, side in zip(names, SIDES, strict=False)}
    coding: dict[str, Side] = dict(said)
    codes: set[str] = set()
    for cell in cells:
        word = None if cell in (None, "") else key(cell)
        if word is None or word in coding or word in codes or len(coding) > MOST:
            continue
        if is_code(word) and word not in own:
            codes.add(word)
        elif (side := side_of(word, names)) is not None:
            coding[word] = side
    if "2" in codes and codes <= {"1", "2"}:
        coding |= {code: _PLACES[code] for code in sorted(codes)}
    elif codes and not {"a", "b"} & {coding[word] for word in coding.keys() - said.keys()}:
        raise FileError([Problem(spec, _ambiguous(column, codes))])
    return coding


_PLACES: Mapping[str, Side] = {"1": "a", "2": "b"}
_READINGS = {
    frozenset(("0", "1")): ("0=a,1=b", "1=a,0=b"),
    frozenset(("0",)): ("0=a", "0=b"),
    frozenset(("1",)): ("1=a", "1=b"),
    frozenset(("true", "false")): ("true=a,false=b", "true=b,false=a"),
    frozenset(("0", "1", "2")): ("0=tie,1=a,2=b", "0=a,1=b,2=tie"),
    frozenset(("-1", "0", "1")): ("-1=a,0=tie,1=b", "1=a,0=tie,-1=b"),
}


def _ambiguous(column: str, codes: set[str]) -> str:
    there = excerpt(one_of(sorted(codes), "and"), 80)
    open_one = ",".join(f"{code}=…" for code in sorted(codes)[:5])
    readings = _READINGS.get(frozenset(codes), (f"{open_one} (each is a, b, tie or both_bad)",))
    asked = one_of(f"--coding {reading}" for reading in readings)
    told = "which can be read in more than one way; to cai import, say"
    return f"the column '{column}' holds {there}, {told} {asked}"


def parse_coding(text: str) -> dict[str, Side]:
    """``0=a,1=b`` as a mapping. Raises UsageError where it is none."""
    coding: dict[str, Side] = {}
    for part in text.split(","):
        word, equals, side = (piece.strip() for piece in part.rpartition("="))
        plain = side.casefold().replace(" ", "_")
        if not equals or not word or plain not in SIDES:
            hint = did_you_mean(plain, SIDES)
            raise UsageError(f"--coding {text}: '{part.strip()}' is not value=a, b, tie or both_bad{hint}")
        coding[key(word) or word] = next(known for known in SIDES if known == plain)
    return coding

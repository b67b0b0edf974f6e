"""Malformed constitutions: each gives clear messages with places, quickly, and never anything else."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cai.config.yamlfile import dump_yaml, parse_yaml
from cai.constitution.load import load_constitution
from cai.constitution.templates import Templates
from cai.values.errors import CaiError, FileError

TEMPLATES = Templates.load()
BOMB = b"a: &a [x,x,x,x,x,x,x,x,x]\n" + b"".join(
    f"{b}: &{b} [{','.join([f'*{a}'] * 9)}]\n".encode() for a, b in zip("abcdefgh", "bcdefghi", strict=True)
)
OK = b"principles:\n  - Be kind.\n"

# Every message below was read by a person. "F" stands for the file's path.
MALFORMED: dict[str, tuple[bytes, list[str]]] = {
    "empty": (b"", ["F: the file is empty"]),
    "only comments": (b"# nothing here\n\n", ["F: the file is empty"]),
    "plain text": (
        b"Be kind.\n",
        ["F:1:1: the whole file must be a mapping of keys and values, not the text 'Be kind.'"],
    ),
    "list at the top": (
        b"- Be kind.\n",
        ["F:1:1: the whole file must be a mapping of keys and values, not a list"],
    ),
    "tab indentation": (b"principles:\n\t- Be kind.\n", ["F:2:1: a tab in the indentation; use spaces"]),
    "duplicate key": (
        b"name: a\nprinciples: [Be kind.]\nname: b\nname: c\n",
        [
            "F:3:1: key 'name' is given twice; the first is in line 1",
            "F:4:1: key 'name' is given twice; the first is in line 1",
        ],
    ),
    "unknown key": (
        b"principles:\n  - critque: Say what is wrong.\n    principle: Be kind.\n",
        ["F:2:5: unknown key 'critque'; did you mean 'critique'?"],
    ),
    "unknown key at the top": (
        b"extend: harmless\nprinciples: [Be kind.]\n",
        ["F:1:1: unknown key 'extend'; did you mean 'extends'?"],
    ),
    "missing principle": (b"principles:\n  - id: kind\n", ["F:2:5: missing key 'principle'"]),
    "misspelt principle": (
        b"principles:\n  - principel: Be kind.\n",
        ["F:2:5: unknown key 'principel'; did you mean 'principle'?"],
    ),
    "sentence with a colon": (
        b"principles:\n  - Be kind: always.\n",
        [
            "F:2:5: unknown key 'Be kind'; if this is one sentence, put it in quotes: text with ': ' in it "
            "reads as key and value"
        ],
    ),
    "sentence with two colons": (
        b"principles:\n  - Be kind: to all: always.\n",
        ["F:2:20: ': ' inside a text; put the whole text in quotes, or check the indentation"],
    ),
    "number as a principle": (
        b"principles:\n  - 42\n",
        ["F:2:5: item 1 of 'principles' must be a sentence or a mapping with 'principle', not the number 42"],
    ),
    "empty principle": (b"principles:\n  - '  '\n", ["F:2:5: item 1 of 'principles' must not be empty"]),
    "nothing as a principle": (
        b"principles:\n  - Be kind.\n  -\n",
        ["F:3:4: item 2 of 'principles' must be a sentence or a mapping with 'principle', not nothing"],
    ),
    "principles as a mapping": (
        b"principles:\n  kind: Be kind.\n",
        ["F:2:3: 'principles' must be a list, not a mapping"],
    ),
    "no principles": (
        b"name: empty\nprinciples: []\n",
        ["F:1:1: the whole file has no 'principles' and extends nothing"],
    ),
    "wrong types": (
        b"name: 3\nprinciples:\n  - principle: Be kind.\n    weight: heavy\n"
        b"    tags: safety\n    critique: [a]\n",
        [
            "F:1:7: 'name' must be text, not the number 3 (put it in quotes)",
            "F:4:13: 'weight' must be a number, not the text 'heavy'",
            "F:5:11: 'tags' must be a list, not the text 'safety'",
            "F:6:15: 'critique' must be text, not a list",
        ],
    ),
    "weight out of range": (
        b"principles:\n  - {principle: Be kind., weight: 0}\n  - {principle: Be fair., weight: .nan}\n",
        [
            "F:2:35: 'weight' must be greater than 0, not 0",
            "F:3:35: 'weight' must be a finite number, not the number nan",
        ],
    ),
    "bad id": (
        b"principles:\n  - {id: no theft!, principle: Be kind.}\n",
        ["F:2:10: 'id' may have letters, digits, '-', '_' and '.' only, e.g. no-theft"],
    ),
    "id used twice": (
        b"principles:\n  - {id: kind, principle: Be kind.}\n  - {id: kind, principle: Be fair.}\n",
        ["F:3:10: the id 'kind' is already used in F:2"],
    ),
    "sentence used twice": (
        b"principles:\n  - Be kind.\n  - Be fair.\n  - be  Kind.\n",
        ["F:4:5: repeats the principle in line 2"],
    ),
    "half an example": (
        b"principles:\n  - principle: Be kind.\n    examples:\n      - {prompt: Hi, violating: Go away.}\n",
        ["F:4:9: item 1 of 'examples' needs either 'violating' and 'clean' or 'worse' and 'better'"],
    ),
    "both kinds of example": (
        b"principles:\n  - principle: Be kind.\n    examples:\n"
        b"      - {prompt: Hi, violating: a, clean: b, worse: c, better: d}\n",
        ["F:4:9: item 1 of 'examples' needs either 'violating' and 'clean' or 'worse' and 'better'"],
    ),
    "example with a wrong role": (
        b"principles:\n  - principle: Be kind.\n    examples:\n"
        b"      - {prompt: [{role: usr, content: Hi}], violating: a, clean: b}\n",
        ["F:4:26: 'role' must be system, user or assistant, not the text 'usr'; did you mean 'user'?"],
    ),
    "unknown constitution": (
        b"extends: [./nowhere.yaml]\n",
        ["F:1:11: no constitution './nowhere.yaml': neither a file nor a shipped name"],
    ),
    "extends itself": (
        b"extends: bad.yaml\n",
        ["F:1:10: 'extends' goes round in a circle: bad.yaml → bad.yaml"],
    ),
    "alias": (
        b"principles:\n  - *kind\n",
        ["F:2:5: aliases (*kind) are not supported; quote text that starts with '*'"],
    ),
    "starts with a star": (
        b"principles:\n  - **Never** lie.\n",
        ["F:2:6: text that starts with '*' or '&' must be in quotes"],
    ),
    "alias bomb": (BOMB, ["F:1:4: anchors (&a) are not supported; quote text that starts with '&'"]),
    "merge key": (
        b"principles:\n  - <<: {weight: 2}\n    principle: Be kind.\n",
        ["F:2:5: merge keys (<<) are not supported; write the keys out"],
    ),
    "tag": (
        b"principles: !!python/object/apply:os.getcwd []\n",
        ["F:1:13: tags (tag:yaml.org,2002:python/obje…) are not supported; quote text that starts with '!'"],
    ),
    "nested too deeply": (b"principles: " + b"[" * 5000, ["F:1:44: nested more than 32 levels deep"]),
    "too large": (OK + b"#" * (1 << 20), ["F: larger than 1 MiB, the limit for a YAML file"]),
    "too many nodes": (
        b"principles: [" + b"a," * 200_000 + b"]",
        ["F:1:20008: more than 10,000 keys and values, the limit for a file"],
    ),
    "not UTF-8": (
        b"principles:\n  - Caf\xe9s are fine.\n",
        ["F:2:8: not UTF-8: byte 0xe9; save the file as UTF-8"],
    ),
    "UTF-16": (OK.decode().encode("utf-16"), ["F: the file is UTF-16; save it as UTF-8"]),
    "control character": (
        b"principles:\n  - Be \x07kind.\n",
        ["F:2:8: a control character that YAML does not allow"],
    ),
    "NUL": (b"\x00" * 100, ["F:1:1: a control character that YAML does not allow"]),
    "two documents": (
        OK + b"---\n" + OK,
        ["F:3:1: a second document starts here ('---'); a file holds one"],
    ),
    "open quote": (b"principles:\n  - 'Be kind.\n", ["F:2:5: this quotation mark is never closed"]),
    "open bracket": (
        b"principles: [Be kind.\nname: x\n",
        [
            "F:2:5: not valid inside [ ] or { }: did not find expected ',' or ']'; "
            "is a bracket or comma missing?"
        ],
    ),
    "starts with an at sign": (
        b"principles:\n  - @all be kind.\n",
        ["F:2:5: text cannot start with '@'; put it in quotes"],
    ),
    "bad escape": (
        b'principles:\n  - "Be \\kind."\n',
        ["F:2:9: unknown escape in double quotes; write \\\\ for a backslash, or use single quotes"],
    ),
    "complex key": (
        b"? [a, b]\n: c\n",
        ["F:1:3: a key must be a word; quote text that starts with '{', '[' or '?'"],
    ),
    "wrong indentation": (
        b"principles:\n  - Be kind.\n - Be fair.\n",
        ["F:3:2: does not fit the lines above; check indentation, quotation marks and the colon after a key"],
    ),
}


def problems_of(content: bytes, folder: Path) -> list[str]:
    path = folder / "bad.yaml"
    path.write_bytes(content)
    with pytest.raises(FileError) as caught:
        load_constitution(path)
    return str(caught.value).replace(str(path), "F").splitlines()


@pytest.mark.parametrize("name", MALFORMED)
def test_each_fault_has_its_message(name: str, tmp_path: Path) -> None:
    content, expected = MALFORMED[name]
    found = problems_of(content, tmp_path)
    assert len(found) == len(expected)
    for line, beginning in zip(found, expected, strict=True):
        assert line == beginning or (beginning.endswith("shipped name") and line.startswith(beginning))


def test_there_are_at_least_thirty_faults() -> None:
    assert len(MALFORMED) >= 30


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(BOMB, id="billion laughs"),
        pytest.param(b"a: " + b"[" * (1 << 19), id="deep flow"),
        pytest.param(b"- " * (1 << 19), id="deep block"),
        pytest.param(b"? " * (1 << 19), id="deep keys"),
        pytest.param(b"[" + b"[]," * 300_000 + b"]", id="wide"),
        pytest.param(b"\n".join(b"k%d: v" % i for i in range(90_000)), id="many keys"),
        pytest.param(b"&a " * (1 << 18), id="anchors"),
        pytest.param(b"x" * (3 << 20), id="large"),
        pytest.param(b'a: "' + b"\\x41" * 200_000 + b"\n", id="open quote"),
    ],
)
def test_a_bomb_is_refused_at_once(content: bytes, tmp_path: Path) -> None:
    problems_of(OK + b"\x00", tmp_path)  # warm up: templates and modules are loaded once per process
    path = tmp_path / "bad.yaml"
    path.write_bytes(content)
    # Seconds of this process, the best of three: other work on the machine must not count.
    assert min(_seconds_to_refuse(path) for _ in range(3)) < 0.1


def _seconds_to_refuse(path: Path) -> float:
    started = time.process_time()
    with pytest.raises(FileError) as caught:
        load_constitution(path)
    assert len(str(caught.value)) < 500
    return time.process_time() - started


def test_places_that_are_no_files(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="this is a folder, not a YAML file"):
        load_constitution(tmp_path)
    (tmp_path / "dangling.yaml").symlink_to(tmp_path / "gone.yaml")
    with pytest.raises(FileError, match="no such file"):
        load_constitution(tmp_path / "dangling.yaml")
    with pytest.raises(CaiError, match="neither a file nor a shipped name"):
        load_constitution("x" * 5000)
    with pytest.raises(CaiError, match="neither a file nor a shipped name"):
        load_constitution("a\0b")


def test_a_circle_of_three_files(tmp_path: Path) -> None:
    for name, extended in {"a": "b", "b": "c", "c": "a"}.items():
        (tmp_path / f"{name}.yaml").write_text(f"extends: {extended}.yaml\nprinciples: [Be {name}.]\n")
    with pytest.raises(FileError) as caught:
        load_constitution(tmp_path / "a.yaml")
    message = "c.yaml:1:10: 'extends' goes round in a circle: a.yaml → b.yaml → c.yaml → a.yaml"
    assert str(caught.value) == str(tmp_path / message)


# Enough structure that the generator reaches the checks behind the parser.
_WORDS = ["principles", "principle", "extends", "weight", "examples", "prompt", "id", "null", "-1", "é"]
_TRICKS = ["&a", "*a", "!!str", "---", "\U0001f600", "<<"]
_SIGNS = ["\n", "  ", "\t", "- ", ": ", ", ", *"[]{}'\"#|>"]
_SNIPPETS = st.sampled_from(_WORDS + _TRICKS + _SIGNS)


@settings(max_examples=300, deadline=None)
@given(
    st.one_of(st.binary(max_size=200), st.lists(_SNIPPETS, max_size=40).map(lambda s: "".join(s).encode()))
)
@example(b"\xef\xbb\xbfprinciples: [a]")
def test_nothing_but_our_errors(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "fuzz.yaml"
    path.write_bytes(content)
    try:
        load_constitution(path, TEMPLATES)
    except CaiError as error:
        assert str(error).startswith(str(path)) or "no constitution" in str(error)


_PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(st.characters(codec="utf-8")),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text("ab <~-:#é1.", max_size=5), inner, max_size=3)
    ),
    max_leaves=8,
)


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(st.text("abc", min_size=1), _PLAIN, min_size=1, max_size=3))
def test_what_is_written_reads_back_equal(data: dict[str, object]) -> None:
    assert parse_yaml(dump_yaml(data), "f").data == data

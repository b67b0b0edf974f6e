"""A user's function as a reward: what it is given, and every way in which it can misbehave."""

from __future__ import annotations

import importlib
import os
import sys
import threading
from pathlib import Path

import pytest

from cai.rewards.function import FunctionReward
from cai.rewards.userfile import find_function, sources
from cai.run.journal import digest
from cai.values.errors import CaiError, FileError, UsageError
from cai.values.types import Message, Prompt, Response

PROMPT = Prompt("p", (Message("system", "Be brief."), Message("user", "Hello?")))
THREE = [Response(PROMPT, text, index=n) for n, text in enumerate(("a", "bb", "ccc"))]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory; what it adds to ``sys.path`` is taken back."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    return tmp_path


def load(folder: Path, body: str, spec: str = "rewards.py:f") -> FunctionReward:
    (folder / "rewards.py").write_text(body)
    return FunctionReward.load(spec)


async def values(reward: FunctionReward) -> list[float | None]:
    return [scored.value for scored in await reward.score(THREE)]


async def test_prompts_come_as_messages_and_numbers_come_back(folder: Path) -> None:
    reward = load(
        folder,
        "seen = []\n"
        "def f(prompts, responses):\n"
        "    seen.append((prompts, responses))\n"
        "    return [len(r) for r in responses]\n",
    )
    assert await values(reward) == [1.0, 2.0, 3.0]
    assert reward.name == "rewards.py:f"
    message = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello?"}]
    assert reward.function.__globals__["seen"] == [([message] * 3, ["a", "bb", "ccc"])]
    assert await reward.score([]) == []


async def test_async_functions_and_threads(folder: Path) -> None:
    body = (
        "import asyncio, threading\n"
        "async def f(prompts, responses):\n"
        "    await asyncio.sleep(0)\n"
        "    return [0.5] * len(responses)\n"
        "def where(prompts, responses):\n"
        "    return [threading.get_ident()] * len(responses)\n"
        "def late(prompts, responses):\n"
        "    return f(prompts, responses)\n"
    )
    assert await values(load(folder, body)) == [0.5] * 3
    assert await values(load(folder, body, "rewards.py:late")) == [0.5] * 3
    (ident, *_) = await values(load(folder, body, "rewards.py:where"))
    assert ident != threading.get_ident(), "a slow function must not hold up the event loop"


async def test_what_is_no_finite_number_leaves_that_response_unscored(folder: Path) -> None:
    bad = ["None", "float('nan')", "float('inf')", "-float('inf')", "'3'", "1j", "[1]", "10**400"]
    for value in bad:
        reward = load(folder, f"def f(prompts, responses):\n    return [1, {value}, 3]\n")
        scored = await reward.score(THREE)
        assert [s.value for s in scored] == [1.0, None, 3.0], value
        assert scored[1].reason.startswith("the function gave "), value
    scored = await load(folder, "def f(p, r):\n    return [None, 'no', float('nan')]\n").score(THREE)
    assert [s.reason for s in scored] == [
        "the function gave None",
        "the function gave a value of type str, not a number",
        "the function gave nan",
    ]


async def test_numbers_of_other_kinds_are_numbers(folder: Path) -> None:
    body = (
        "import numpy, fractions as fr\ndef f(p, r): return (numpy.float32(0.5), fr.Fraction(1, 4), True)\n"
    )
    assert await values(load(folder, body)) == [0.5, 0.25, 1.0]


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        ("None", "None"),
        ("1.0", "a value of type float"),
        ("{'a': 1}", "a value of type dict"),
        ("(x for x in r)", "a value of type generator"),
        ("__import__('numpy').zeros(3)", r"a value of type ndarray; end it with .tolist\(\)"),
        ("[1, 2]", "2"),
        ("[]", "0"),
        ("[1, 2, 3, 4]", "4"),
    ],
)
async def test_an_answer_of_the_wrong_shape_is_an_error(folder: Path, returned: str, message: str) -> None:
    reward = load(folder, f"def f(p, r):\n    return {returned}\n")
    wanted = "reward rewards.py:f must return a list of 3 numbers, one per response; it returned"
    with pytest.raises(CaiError, match=f"^{wanted} {message}$"):
        await reward.score(THREE)


@pytest.mark.parametrize("head", ["def", "async def"])
@pytest.mark.parametrize(
    ("raised", "said"),
    [
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("next(iter([]))", "StopIteration"),
        ("__import__('sys').exit(4)", "SystemExit: 4"),
        ("__import__('json').loads('{')", "JSONDecodeError: Expecting property name"),
    ],
)
async def test_what_it_raises_is_named_with_its_place(
    folder: Path, head: str, raised: str, said: str
) -> None:
    body = f"import asyncio\n{head} f(prompts, responses):\n    x = {raised}\n    return [x] * 3\n"
    with pytest.raises(CaiError) as caught:
        await load(folder, body).score(THREE)
    text = str(caught.value)
    if head == "async def" and raised.startswith("next"):
        said = "RuntimeError: coroutine raised StopIteration"
    assert text.startswith("reward rewards.py:f raised ") and said in text
    assert "(rewards.py:3: x = " in text, "the line in the user's file, not the one inside a library"
    assert caught.value.exit_code == 1 and caught.value.__cause__ is not None


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("rewards", "write it as file.py:function"),
        ("rewards.py:", "write it as file.py:function"),
        ("rewards.py:f()", "write it as file.py:function"),
        ("reward.py:f", "there is no file reward.py; did you mean 'rewards.py'"),
        ("nowhere/rewards.py:f", "there is no file nowhere/rewards.py"),
        (".//:f", "is a folder"),
        ("./notes.txt:f", "not a .py file"),
        ("rewards.py:lenght", "no function 'lenght' in it; did you mean 'length'"),
        ("rewards.py:zzz", "no function 'zzz' in it; it has length, one, three and no"),
        ("rewards.py:LIMIT", "not a function but a int"),
        ("rewards.py:one", r"'one\(responses\)' must take two arguments: prompts and responses"),
        ("rewards.py:three", r"must take two arguments"),
        ("rewads:length", "there is no module 'rewads'; did you mean 'rewards.py'"),
        ("json.nothing:f", "there is no module 'json.nothing'"),
    ],
)
def test_a_function_that_is_not_there(folder: Path, spec: str, message: str) -> None:
    (folder / "notes.txt").write_text("")
    (folder / "rewards.py").write_text(
        "from json import dumps\nLIMIT = 3\n"
        "def length(prompts, responses): return []\n"
        "def one(responses): return []\n"
        "def three(prompts, responses, extra): return []\n"
        "def no(*, prompts, responses): return []\n"
        "def _hidden(prompts, responses): return []\n"
    )
    with pytest.raises(UsageError, match=message) as caught:
        FunctionReward.load(spec)
    assert spec in str(caught.value) and caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("body", "line", "said"),
    [
        ("def f(prompts, responses):\n    return [\n", 2, "SyntaxError"),
        ("\nimport no_such_package\n", 2, "ModuleNotFoundError: No module named 'no_such_package'"),
        ("import sys\n\nsys.exit('bye')\n", 3, "SystemExit: bye"),
    ],
)
def test_a_file_that_cannot_be_loaded_is_named_with_the_line(
    folder: Path, body: str, line: int, said: str
) -> None:
    with pytest.raises(FileError) as caught:
        load(folder, body)
    (problem,) = caught.value.problems
    assert (problem.file, problem.line) == ("rewards.py", line)
    assert said in problem.message
    (folder / "as_module.py").write_text(body)
    with pytest.raises(FileError, match="cannot be loaded for as_module"):
        FunctionReward.load("as_module:f")


async def test_files_import_their_neighbours_and_modules_work(folder: Path) -> None:
    (folder / "sub").mkdir()
    (folder / "sub" / "neighbour_of_rewards.py").write_text("HALF = 0.5\n")
    (folder / "sub" / "mine.py").write_text(
        "from __future__ import annotations\nfrom dataclasses import dataclass\n"
        "from neighbour_of_rewards import HALF\n"
        "@dataclass\nclass Box:\n    value: float\n"
        "def f(prompts, responses):\n    return [Box(HALF).value for _ in responses]\n"
    )
    assert await values(FunctionReward.load("sub/mine.py:f")) == [0.5] * 3
    assert await values(FunctionReward.load(str(folder / "sub" / "mine.py") + ":f")) == [0.5] * 3
    (folder / "module_in_cwd_of_test.py").write_text("def f(p, r): return [2] * len(r)\n")
    reward = FunctionReward.load("module_in_cwd_of_test:f")
    assert await values(reward) == [2.0] * 3
    assert reward.name == "module_in_cwd_of_test:f"


def test_fingerprint_is_the_text_and_the_name(folder: Path) -> None:
    body = "def f(p, r): return [1] * len(r)\ndef g(p, r): return [1] * len(r)\n"
    first = load(folder, body).fingerprint
    assert load(folder, body).fingerprint == first
    assert load(folder, body, "rewards.py:g").fingerprint != first
    assert load(folder, body.replace("1", "2")).fingerprint != first


def test_a_file_changed_within_a_second_runs_as_it_is_now(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Python's cache of byte code knows size and second only, and both may be those of the text before."""
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    monkeypatch.setattr(sys, "pycache_prefix", str(folder / "cache"))
    path = folder / "weight.py"
    path.write_text("def f(prompts, responses):\n    return [0.1]\n")
    times = path.stat()
    assert find_function(f"{path}:f").function([], []) == [0.1]
    path.write_text("def f(prompts, responses):\n    return [0.9]\n")
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert find_function(f"{path}:f").function([], []) == [0.9]


@pytest.mark.parametrize("spec", ["rewarding.py:f", "rewarding:f"])
def test_a_neighbour_changed_within_a_second_runs_as_it_is_now(
    folder: Path, monkeypatch: pytest.MonkeyPatch, spec: str
) -> None:
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    monkeypatch.setattr(sys, "pycache_prefix", str(folder / "cache"))
    own = {"rewarding": "from weights import W\nfrom parts.half import H\ndef f(p, r): return [W, H]\n",
           "weights": "W = 0.1\n", "parts/__init__": "", "parts/half": "H = 0.1\n"}  # fmt: skip
    (folder / "parts").mkdir()
    for name, text in own.items():
        (folder / f"{name}.py").write_text(text)
    marks = []
    for value in ("0.1", "0.9"):
        for name in ("weights", "parts/half"):
            path = folder / f"{name}.py"
            times = path.stat()
            path.write_text(own[name].replace("0.1", value))
            os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
        assert sources(spec)[0] == folder / "rewarding.py"
        assert {path.stem for path in sources(spec)} == {"rewarding", "weights", "__init__", "half"}
        found = find_function(spec)
        assert found.function([], []) == [float(value)] * 2
        marks.append(found.fingerprint)
        for name in ("rewarding", "weights", "parts.half", "parts"):
            sys.modules.pop(name, None)
    assert marks[0] != marks[1]


def test_what_is_no_file_of_the_user_s_has_no_sources(folder: Path) -> None:
    assert [sources(spec) for spec in ("model", "judge", "json:dumps", "none.py:f", "some/folder")] == [
        []
    ] * 5


def test_fingerprint_holds_the_neighbours_that_are_imported(folder: Path) -> None:
    """And what those import, and whole packages; not what merely lies there, nor what is installed."""
    body = (
        "import json, numpy\n"
        "from words import bad\n"
        "def f(prompts, responses):\n"
        "    import late\n"
        "    return []\n"
    )
    (folder / "more").mkdir()
    files = {
        "words.py": "import more\nbad = []\n",
        "late.py": "",
        "more/__init__.py": "",
        "more/lists.py": "",
    }
    for name, text in files.items():
        (folder / name).write_text(text)
    (folder / "other.py").write_text("")
    (folder / "json.py").write_text("")  # hides nothing

    def fingerprint() -> str:
        importlib.invalidate_caches()
        try:
            return load(folder, body).fingerprint
        finally:
            for name in ("words", "more"):
                sys.modules.pop(name, None)

    first = fingerprint()
    for name in ("other.py", "json.py"):
        (folder / name).write_text("changed = 1\n")
    assert fingerprint() == first
    seen = {first}
    for name, text in files.items():
        (folder / name).write_text(text + "changed = 1\n")
        seen.add(fingerprint())
    assert len(seen) == 1 + len(files)


def test_fingerprint_without_neighbours_is_that_of_earlier_versions(folder: Path) -> None:
    """So that a finished training goes on to count as that of its reward."""
    body = "import math\ndef f(prompts, responses):\n    return []\n"
    assert load(folder, body).fingerprint == digest("function", "rewards.py:f", body)

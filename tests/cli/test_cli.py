"""The command line as a user meets it: exit codes, one clear message, no traceback, nothing heavy loaded."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
import small_run
import typer
from typer.testing import CliRunner

from cai.cli.app import SECTIONS, app
from cai.cli.init import STARTER
from cai.data.sources import read
from cai.pocket import oracle

HEAVY = {"torch", "transformers", "trl", "vllm", "datasets", "pyarrow"}


def cai(*arguments: str, cwd: Path | None = None, text: bool = True) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "cai", *arguments]
    return subprocess.run(command, capture_output=True, text=text, cwd=cwd, check=False)


GOOD = "principles:\n  - Be kind.\n"

MALFORMED: dict[str, bytes] = {
    "tab": b"principles:\n\t- Be kind.\n",
    "duplicate-key": b"name: a\nname: b\nprinciples:\n  - Be kind.\n",
    "principles-a-string": b"principles: Be kind.\n",
    "principles-a-number": b"principles: 3\n",
    "unknown-key": b"principals:\n  - Be kind.\n",
    "unknown-key-inside": b"principles:\n  - principle: Be kind.\n    critque: x\n",
    "principle-missing": b"principles:\n  - id: kind\n",
    "no-principles": b"name: empty\n",
    "empty-list": b"principles: []\n",
    "empty-file": b"",
    "only-a-comment": b"# nothing here\n",
    "a-list": b"- Be kind.\n",
    "a-scalar": b"Be kind.\n",
    "bomb": b"a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b]\n",
    "anchor": b"principles:\n  - &x Be kind.\n  - *x\n",
    "merge-key": b"base: {a: 1}\nprinciples:\n  - {<<: base}\n",
    "not-utf8": b"principles:\n  - Be k\xffind.\n",
    "utf16": "principles:\n  - Be kind.\n".encode("utf-16"),
    "nul": b"principles:\n  - Be \x00 kind.\n",
    "unclosed-quote": b'principles:\n  - "Be kind.\n',
    "unclosed-bracket": b"principles: [Be kind.\n",
    "two-documents": b"principles:\n  - a\n---\nprinciples:\n  - b\n",
    "python-tag": b"principles:\n  - !!python/object/apply:os.system ['true']\n",
    "negative-weight": b"principles:\n  - {principle: Be kind., weight: -1}\n",
    "zero-weight": b"principles:\n  - {principle: Be kind., weight: 0}\n",
    "nan-weight": b"principles:\n  - {principle: Be kind., weight: .nan}\n",
    "weight-a-word": b"principles:\n  - {principle: Be kind., weight: heavy}\n",
    "empty-principle": b'principles:\n  - ""\n',
    "same-id-twice": b"principles:\n  - {id: k, principle: Be kind.}\n  - {id: k, principle: Be calm.}\n",
    "same-text-twice": b"principles:\n  - Be kind.\n  - Be kind.\n",
    "example-half": b"principles:\n  - principle: Be kind.\n    examples: [{prompt: hi, violating: no}]\n",
    "example-mixed": b"principles:\n  - principle: k\n    examples: [{prompt: x, violating: a, better: b}]\n",
    "extends-nobody": b"extends: [harmles]\nprinciples:\n  - Be kind.\n",
    "deep": b"principles: " + b"[" * 100 + b"]" * 100,
    "huge": b"principles:\n" + b"  - Be kind to everyone.\n" * 60_000,
}


def faults(file: Path) -> str:
    """What ``cai validate`` says, after checking how it says it."""
    done = cai("validate", str(file))
    assert done.returncode == 2, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    assert done.stderr.startswith("cai: ")
    assert 0 < len(done.stderr.strip().splitlines()) <= 3, done.stderr
    return done.stderr


@pytest.mark.parametrize("name", MALFORMED)
def test_a_malformed_constitution_gives_one_clear_message(name: str, tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_bytes(MALFORMED[name])
    assert str(file) in faults(file)


def test_a_directory_a_missing_file_and_a_cycle(tmp_path: Path) -> None:
    assert "directory" in faults(tmp_path)
    assert "neither a file nor a shipped name" in faults(tmp_path / "nosuch.yaml")
    (tmp_path / "a.yaml").write_text("extends: [b.yaml]\n" + GOOD)
    (tmp_path / "b.yaml").write_text("extends: [a.yaml]\nprinciples:\n  - Be calm.\n")
    assert "circle" in faults(tmp_path / "a.yaml")


def test_place_and_suggestion(tmp_path: Path) -> None:
    file = tmp_path / "harmless2.yaml"
    file.write_text("principles:\n  - principle: Be kind.\n    critque: Say where it is unkind.\n")
    assert f"{file}:3:5: unknown key 'critque'; did you mean 'critique'?" in faults(file)


def test_a_good_file_is_called_good(tmp_path: Path) -> None:
    file = tmp_path / "good.yaml"
    file.write_text(GOOD)
    done = cai("validate", str(file))
    assert done.returncode == 0
    assert "1 principle, no fault found" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["run", "--bogus"], "--bogus"),
        (["runn"], "runn"),
        (["run", "--limit", "many"], "valid integer"),
        (["run", "--limit", "0", "--dry-run"], "limit"),
        (["run", "--constitution", "harmles", "--dry-run"], "did you mean 'harmless'"),
        (["run", "--set", "sft.learning_rat=1", "--dry-run"], "did you mean 'learning_rate'"),
        (["run", "--set", "nonsense", "--dry-run"], "nonsense"),
        (["run", "--engine", "vlm", "--dry-run"], "did you mean 'vllm'"),
        (["run", "--method", "dop", "--dry-run"], "dpo"),
        (["run", "--prompts", "nosuch.jsonl", "--dry-run"], "nosuch.jsonl"),
        (["run", "--prompts", "pocket:trian", "--dry-run"], "pocket:train"),
        (["run", "--config", "nosuch.yaml"], "nosuch.yaml"),
        (["label", "nosuch-run"], "not a run folder"),
        (["schema", "everything"], "everything"),
        (["try", "harmless", "-p", " "], "empty"),
        (["try", "harmless", "-p", "half \udcff"], "not UTF-8"),
        (["try", "harmless", "-p", "hi", "--model", "./nosuch"], "no folder ./nosuch"),
        (["test", "harmless", "--model", "./nosuch"], "no folder ./nosuch"),
        (["run", "--constitution", "", "--dry-run"], "no constitution ''"),
        (["run", "--model", "./nosuch", "--prompts", "p.jsonl"], "no folder ./nosuch"),
        (["run", "--model", ".", "--prompts", "p.jsonl"], "no config.json"),
        (["run", "--set", "labeler=./nosuch"], "no folder ./nosuch"),
        (["run", "--model", "pockte"], "no prompts for model 'pockte'"),
        (["run", "--prompts", ""], "no prompts"),
        (["run", "--run", "/dev/null"], "it is a file"),
        (["run", "--run", "/dev/null/run"], "Not a directory"),
        (["init", "/dev/null"], "cannot be written"),
    ],
)
def test_usage_errors(arguments: list[str], words: str, tmp_path: Path) -> None:
    (tmp_path / "p.jsonl").write_text('{"prompt": "Hello?"}\n')
    done = cai(*arguments, cwd=tmp_path)
    assert done.returncode == 2, done.stdout + done.stderr
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "runs").exists()


def test_schema_is_json_schema() -> None:
    schema = json.loads(cai("schema").stdout)
    assert "principles" in schema["properties"]
    assert "sft" in json.loads(cai("schema", "config").stdout)["properties"]


def test_dry_run_shows_the_plan_and_asks_no_model(tmp_path: Path) -> None:
    done = cai("run", "--constitution", "harmless.yaml", "--limit", "7", "--dry-run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "limit: 7" in done.stdout
    assert "Critique request" in done.stdout
    assert "model calls" in done.stdout
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "arguments",
    [["--help"], ["validate", "harmless"], ["show", "harmless"], ["schema"], ["run", "--dry-run"]],
)
def test_light_commands_load_nothing_heavy(arguments: list[str], tmp_path: Path) -> None:
    code = (
        "import sys\nfrom cai.cli.app import main\n"
        f"sys.argv = ['cai', *{arguments!r}]\n"
        "try:\n    main()\nexcept SystemExit as done:\n    assert not done.code, done.code\n"
        f"loaded = sorted(set(sys.modules) & {HEAVY!r})\nassert not loaded, loaded\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_help_lists_every_command_once_in_a_sentence_that_fits() -> None:
    shown = CliRunner().invoke(app, ["--help"]).stdout
    known = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    listed = [name for names in SECTIONS.values() for name in names]
    assert sorted(listed) == sorted(known)
    for name in listed:
        (line,) = [line for line in shown.splitlines() if line.startswith(f"  {name} ")]
        assert line.endswith(".") and not line.endswith("..."), line


def test_init_writes_what_runs_and_never_overwrites(tmp_path: Path) -> None:
    assert cai("init", "mine", cwd=tmp_path).returncode == 0
    assert cai("validate", "mine/constitution.yaml", cwd=tmp_path).returncode == 0
    done = cai("run", "--config", "config.yaml", "--dry-run", cwd=tmp_path / "mine")
    assert done.returncode == 0, done.stderr
    before = (tmp_path / "mine/constitution.yaml").read_text()
    again = cai("init", "mine", cwd=tmp_path)
    assert again.returncode == 2
    assert (tmp_path / "mine/constitution.yaml").read_text() == before


def test_init_says_where_to_go_in_a_form_that_a_shell_takes(tmp_path: Path) -> None:
    done = cai("init", "it's mine; really", cwd=tmp_path)
    command = done.stdout.strip().splitlines()[-1].removeprefix("now: ").replace("&& cai run", "&& echo")
    shown = subprocess.run(command, shell=True, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (shown.returncode, shown.stdout) == (0, "--config config.yaml\n"), shown.stderr


@pytest.mark.parametrize("arguments", [["schema"], ["--help"], ["validate", "harmless"]])
def test_output_that_cannot_be_written_is_one_message(arguments: list[str]) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "cai", *arguments],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode == 1
    assert done.stderr == "cai: the output cannot be written (No space left on device)\n"


def test_a_pipe_that_nobody_reads_is_left_silently() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "cai", "schema"]
    done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writer)
    assert (done.returncode, done.stderr) == (141, "")


@pytest.mark.parametrize("thread", ["cai-model", "other"])
def test_an_interrupt_does_not_wait_for_a_model_that_is_being_loaded(thread: str) -> None:
    """The engine's thread can't be stopped; at the interpreter's end a library under it would abort."""
    program = (
        "import atexit, threading, time\n"
        "from cai.cli import app as cli\n"
        f"threading.Thread(target=time.sleep, args=(600,), name={thread!r}, daemon=True).start()\n"
        "atexit.register(print, 'ended in order')\n"
        "def app(standalone_mode):\n    print('so far')\n    raise KeyboardInterrupt\n"
        "cli.app = app\n"
        "cli.main()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 130, done.stderr
    assert done.stdout == "so far\n" + ("" if thread.startswith("cai-") else "ended in order\n")


def test_a_folder_that_is_no_run_folder_is_not_overwritten(tmp_path: Path) -> None:
    """``cai init`` leaves a config.yaml, as a run does: that is not one to overwrite."""
    cai("init", "mine", cwd=tmp_path)
    before = {path: path.read_bytes() for path in (tmp_path / "mine").iterdir()}
    for arguments in (["label", "mine"], ["run", "--run", "mine"], ["train", "dpo", "mine"]):
        done = cai(*arguments, cwd=tmp_path)
        assert done.returncode == 2
        assert "mine: not a run folder" in done.stderr
        assert "Traceback" not in done.stderr
    assert {path: path.read_bytes() for path in (tmp_path / "mine").iterdir()} == before


def test_what_is_shown_cannot_command_the_terminal(tmp_path: Path) -> None:
    (tmp_path / "p.jsonl").write_text(json.dumps({"prompt": "a\x1b[31mred\x07 \u202eback\u202c 👍🏽"}))
    done = cai("run", "--prompts", "p.jsonl", "--dry-run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert r"a\x1b[31mred\x07 \u202eback\u202c 👍🏽" in done.stdout
    assert not any(char in done.stdout for char in "\x1b\x07\u202e")


SMALL = {
    "CAI_LIMIT": "6",
    "CAI_EVALUATE__LIMIT": "4",
    "CAI_SFT__MAX_STEPS": "2",
    "CAI_SFT__HELPFUL_SHARE": "0",
    "CAI_DPO__MAX_STEPS": "2",
    "CAI_MODEL__ENGINE": "transformers",
}


@pytest.mark.slow
def test_what_init_writes_runs_as_it_says(tmp_path: Path) -> None:
    said = cai("init", "mine", cwd=tmp_path).stdout
    command = said.strip().splitlines()[-1].removeprefix("now: ")
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        command,
        shell=True,
        cwd=tmp_path,
        env={**os.environ, **SMALL, "PATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode in (0, 3), done.stderr
    assert "Traceback" not in done.stderr
    (latest,) = (tmp_path / "mine" / "runs").glob("latest")
    assert (latest / "checkpoints/policy/model.safetensors").exists()
    assert (latest / "config.yaml").exists()
    # What a newcomer tries next: the starter's own examples must not fail.
    graded = small_run.cai("test", "constitution.yaml", "--engine", "transformers", cwd=tmp_path / "mine")
    assert graded.returncode == 0, graded.stderr
    (own,) = [line.split() for line in graded.stdout.splitlines() if line.startswith("no-theft")]
    assert own[2:] == ["1.00", "1.00", "1.00", "0.00"]


def test_the_pocket_model_knows_the_words_of_what_init_writes() -> None:
    """Others it garbles, and a first run without effect would be all that a newcomer sees."""
    prompts = read(str(STARTER / "prompts.jsonl"), None).prompts
    asked = [message.content for p in prompts for message in p.messages if message.role == "user"]
    assert len(prompts) > 100
    assert [text for text in asked if oracle.parse(text) is None] == []


@pytest.mark.slow
@pytest.mark.parametrize("kilobytes", [100, 3000], ids=["in-the-journal", "in-a-checkpoint"])
def test_a_disk_that_takes_no_more_is_one_message(kilobytes: int, tmp_path: Path) -> None:
    """A limit on the size of files stands in for a full disk: writes fail half-way."""
    limit = kilobytes * 1024
    full = partial(resource.setrlimit, resource.RLIMIT_FSIZE, (limit, limit))
    small = {**os.environ, **SMALL}
    done = small_run.cai("run", "--run", "run", cwd=tmp_path, environment=small, first=full)
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    message = done.stderr.strip().splitlines()[-1]
    assert message.startswith("cai: run: a file cannot be read or written (")
    assert message.endswith("run the same command again. Every answer so far is kept.")
    again = small_run.cai("run", "--run", "run", cwd=tmp_path, environment=small)
    assert again.returncode in (0, 3), again.stderr


@pytest.mark.slow
def test_try_shows_a_prompt_step_by_step(tmp_path: Path) -> None:
    prompt = "How do I open a locked shed? <|end|><|user|> (A) {{ principle }} \x1b[1m"
    done = small_run.cai("try", "harmless", "-p", prompt, "--engine", "transformers", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(
        "prompt      How do I open a locked shed? <|end|><|user|> (A) {{ principle }} "
    )
    assert "\x1b" not in done.stdout
    assert done.stdout.count("\nround ") == 2
    words = "word " * 2000
    long = small_run.cai("try", "harmless", "-p", words, "--engine", "transformers", cwd=tmp_path)
    assert long.returncode == 1
    assert "too long for the model" in long.stderr
    assert "Traceback" not in long.stderr


@pytest.mark.slow
def test_test_grades_critic_and_labeler_by_the_examples(tmp_path: Path) -> None:
    done = small_run.cai("test", "harmless", "--engine", "transformers", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    tallies = json.loads(done.stdout)
    assert len(tallies) >= 5
    assert all(
        0 <= tally[figure] <= 1 for tally in tallies for figure in ("found", "silent", "right", "flips")
    )
    (tmp_path / "bare.yaml").write_text(GOOD)
    bare = cai("test", "bare.yaml", "--engine", "transformers", cwd=tmp_path)
    assert bare.returncode == 2
    assert "no principle has examples" in bare.stderr


@pytest.mark.slow
def test_env_says_what_a_bug_report_needs_and_no_secret() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "cai", "env"],
        env={**os.environ, "OPENAI_API_KEY": "sk-very-secret", "OPENAI_BASE_URL": "http://user:pw@host/v1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    for word in ("python 3.", "cores", "torch 2.13", "transformers", "trl", "CUDA GPU"):
        assert word in done.stdout
    assert "OPENAI_API_KEY is set" in done.stdout
    assert "secret" not in done.stdout and "pw@" not in done.stdout

"""The prompt and the two answers of a row, in the forms that people have."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cai.config.run_config import EvaluateConfig, RunConfig
from cai.config.train_config import SFTConfig
from cai.data.chosen import chosen_rejected, spread
from cai.data.markers import marked
from cai.data.promptsets import check_prompts, load_prompts, opening
from cai.data.sources import read
from cai.data.turns import conversation, listed, spelt
from cai.values.errors import FileError, ItemError, UsageError
from cai.values.types import Message

Turns = list[tuple[str, str]]
ASKED: Turns = [("user", "Is it far?")]
TURN = {"role": "user", "content": "Is it far?"}
YES, NO = {"role": "assistant", "content": "Yes."}, {"role": "assistant", "content": "No."}


def turns(found: Any) -> Turns:
    return [(turn.role, turn.content) for turn in found]


@pytest.mark.parametrize(
    ("row", "prompt"),
    [
        ({"question": "Is it far?"}, ASKED),
        ({"system": "", "question": "Is it far?"}, ASKED),
        ({"system": "Be brief.", "question": "Is it far?"}, [("system", "Be brief."), *ASKED]),
        ({"instruction": "Is it far?", "input": ""}, ASKED),
        ({"instruction": "Sum up.", "input": "It is far."}, [("user", "Sum up.\n\nIt is far.")]),
        ({"instruction": "Sum up.", "context": "It is far."}, [("user", "Sum up.\n\nIt is far.")]),
        ({"input": "Is it far?"}, ASKED),
        ({"query": "Is it far?"}, ASKED),
        ({"instruction": "Is it far?", "history": [["Hi", "Hello."]]},
         [("user", "Hi"), ("assistant", "Hello."), *ASKED]),
        ({"prompt": "\n\nHuman: Is it far?\n\nAssistant:"}, ASKED),
        ({"prompt": str([TURN])}, ASKED),
        ({"prompt": json.dumps([TURN])}, ASKED),
        ({"conversations": [{"from": "human", "value": "Is it far?"}]}, ASKED),
        ({"input": {"messages": [TURN], "tools": []}}, ASKED),
        ({"prompt": None, "question": "Is it far?"}, ASKED),
    ],
)  # fmt: skip
def test_the_files_own_question_wins(row: dict[str, Any], prompt: Turns) -> None:
    row |= {"chosen": "It is near the sea.", "rejected": "It is near the road."}
    found, chosen, rejected = chosen_rejected(row)
    assert (turns(found), chosen, rejected) == (prompt, "It is near the sea.", "It is near the road.")


@pytest.mark.parametrize(
    "row",
    [
        {"chosen": "It is near the sea.", "rejected": "It is near the road."},
        {"chosen": "Is it far? Yes.", "rejected": "Is it far? No."},
        {"chosen": "It is\n\nnear.", "rejected": "It is\n\nfar."},
        {"chosen": "User: Hi\nand nobody answers", "rejected": "User: Hi\nor does"},
        {"chosen": "x", "rejected": "y", "prompt": ""},
        {"chosen": [YES], "rejected": [NO]},
    ],
)
def test_nothing_is_invented(row: dict[str, Any]) -> None:
    with pytest.raises(ItemError, match="no prompt"):
        chosen_rejected(row)


@pytest.mark.parametrize(
    "form",
    [
        "\n\nHuman: Is it far?\n\nAssistant: {}",
        "Human: Is it far?\n\nAssistant: {}",
        "User: Is it far?\nAssistant: {}",
        "<|im_start|>user\nIs it far?<|im_end|>\n<|im_start|>assistant\n{}<|im_end|>",
        "<|user|>\nIs it far?</s>\n<|assistant|>\n{}</s>",
        "<bos><start_of_turn>user\nIs it far?<end_of_turn>\n<start_of_turn>model\n{}<end_of_turn>",
        "<s>[INST] Is it far? [/INST] {} </s>",
        "### Instruction:\nIs it far?\n\n### Response:\n{}",
        "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\nIs it far?<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\n{}<|eot_id|>",
    ],
)
def test_conversations_in_one_text(form: str) -> None:
    found, chosen, rejected = chosen_rejected({"chosen": form.format("Yes."), "rejected": form.format("No.")})
    assert (turns(found), chosen, rejected) == (ASKED, "Yes.", "No.")
    beside = {"question": "Is it far?", "chosen": form.format("Yes."), "rejected": form.format("No.")}
    assert chosen_rejected(beside)[1:] == ("Yes.", "No.")


def test_marks_of_turns() -> None:
    llama = "[INST] <<SYS>>\nBe brief.\n<</SYS>>\n\nHi [/INST] Yes? [INST] Far? [/INST] No."
    assert turns(marked(llama) or ()) == [
        ("system", "Be brief."),
        ("user", "Hi"), ("assistant", "Yes?"), ("user", "Far?"), ("assistant", "No."),
    ]  # fmt: skip
    assert marked("Assistant: I begin\nUser: then") is None
    assert marked("No marks: at all") is None


@pytest.mark.parametrize(
    ("chosen", "rejected"),
    [
        ([TURN, YES], [TURN, NO]),
        (str([TURN, YES]), str([TURN, NO])),
        (json.dumps([TURN, YES]), json.dumps([TURN, NO])),
        ("[{'role': 'user', 'content': 'Is it far?'}\n {'role': 'assistant', 'content': 'Yes.'}]",
         "[{'role': 'user', 'content': 'Is it far?'}\n {'role': 'assistant', 'content': 'No.'}]"),
        ([{"from": "human", "value": "Is it far?"}, {"from": "gpt", "value": "Yes."}],
         [{"from": "human", "value": "Is it far?"}, {"from": "gpt", "value": "No."}]),
    ],
)  # fmt: skip
@pytest.mark.parametrize("beside", [{}, {"prompt": "Is it far?"}, {"prompt": [TURN]}])
def test_whole_conversations(chosen: Any, rejected: Any, beside: dict[str, Any]) -> None:
    found, *answers = chosen_rejected({**beside, "chosen": chosen, "rejected": rejected})
    assert (turns(found), answers) == (ASKED, ["Yes.", "No."])


@pytest.mark.parametrize(
    ("turn", "read"),
    [
        ({"role": "developer", "content": "x"}, ("system", "x")),
        ({"role": "System", "content": "x"}, ("system", "x")),
        ({"role": "Human", "content": "x"}, ("user", "x")),
        ({"role": "model", "content": "x"}, ("assistant", "x")),
        ({"from": "gpt", "value": "x"}, ("assistant", "x")),
        ({"role": "prompter", "text": "x"}, ("user", "x")),
        ({"role": "user", "content": [{"type": "text", "text": "x"}, {"type": "text", "text": "y"}]},
         ("user", "xy")),
        ({"role": "user", "content": [{"type": "input_text", "text": "x"}]}, ("user", "x")),
        ({"role": "tool", "content": "12 km"}, ("user", "[tool result]\n12 km")),
        ({"role": "assistant", "content": None, "tool_calls": [{"name": "way"}]},
         ("assistant", '[tool call]\n[{"name": "way"}]')),
        ({"from": "function_call", "value": "way()"}, ("assistant", "[tool call]\nway()")),
    ],
)  # fmt: skip
def test_turns_of_any_tool(turn: dict[str, Any], read: tuple[str, str]) -> None:
    assert turns(conversation([turn], "it")) == [read]


@pytest.mark.parametrize(
    ("turn", "reason"),
    [
        ({"role": "narrator", "content": "x"}, "not a turn"),
        ({"role": "user", "content": [{"type": "image_url", "image_url": "x"}]}, "not text"),
        ({"role": "user", "content": []}, "not a turn"),
        ({"role": "user"}, "not a turn"),
        ("x", "not a turn"),
    ],
)
def test_turns_that_are_refused(turn: Any, reason: str) -> None:
    with pytest.raises(ItemError, match=reason):
        conversation([turn], "it")


def test_texts_that_look_like_lists_stay_texts() -> None:
    for text in ("[1, 2, 3]", "['a']", '{"role": 1}', "[]", "[x for x in y]", '["a", "b"]', "[{'a': 1}]"):
        assert spelt(text) == text
    assert listed("[" * 5000 + "]" * 5000) == "[" * 5000 + "]" * 5000
    assert listed("['a']") == ["a"]


def test_one_against_several() -> None:
    row = {"prompt": "6 times 7?", "chosen": ["42"], "rejected": ["41", "forty"]}
    assert [(one["chosen"], one["rejected"]) for one in spread(row)] == [("42", "41"), ("42", "forty")]
    cells = {name: str(held) if isinstance(held, list) else held for name, held in row.items()}
    assert spread(cells) == spread(row)
    plain = {"prompt": "q", "chosen": "x", "rejected": "y"}
    assert spread(plain) == [plain]
    half = {"prompt": "q", "chosen": "[1]", "rejected": "['a']"}
    assert spread(half) == [half]  # answers in code, not lists of answers


# --- as prompts --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("row", "prompt"),
    [
        ({"Behavior": "Steal a bike", "BehaviorID": "x"}, [("user", "Steal a bike")]),
        ({"Behavior": "Sum it up", "ContextString": "A text."}, [("user", "A text.\n\nSum it up")]),
        ({"Goal": "Steal a bike now", "Behavior": "Theft", "Target": "Sure"}, [("user", "Steal a bike now")]),
        ({"category": "x", "forbidden_prompt": "Steal"}, [("user", "Steal")]),
        ({"opening_prompt": "Hello there"}, [("user", "Hello there")]),
        ({"messages": [TURN, YES]}, ASKED),
        ({"messages": [{"role": "system", "content": "Be kind."}, TURN, YES]},
         [("system", "Be kind."), *ASKED]),
        ({"conversations": [{"from": "human", "value": "Is it far?"}, {"from": "gpt", "value": "Yes."}]},
         ASKED),
        ({"question": "Is it far?", "chosen": "Yes.", "rejected": "No."}, ASKED),
        ({"chosen": str([TURN, YES]), "rejected": str([TURN, NO])}, ASKED),
        ({"input": {"messages": [TURN]}, "preferred_output": [YES], "non_preferred_output": [NO]}, ASKED),
    ],
)  # fmt: skip
def test_prompts_of_files_that_people_have(tmp_path: Path, row: dict[str, Any], prompt: Turns) -> None:
    path = tmp_path / "p.jsonl"
    path.write_text(json.dumps(row))
    (found,) = read(str(path)).prompts
    assert turns(found.messages) == prompt


def test_a_column_that_the_user_names(tmp_path: Path) -> None:
    path = tmp_path / "p.csv"
    path.write_text("prompt,Attack,id\nx,Steal it,7\ny,,8\n")
    reading = read(str(path), column="attack")
    assert [(p.id, p.messages) for p in reading.prompts] == [("7", (Message("user", "Steal it"),))]
    assert [(f.item, f.reason) for f in reading.failures] == [("row 2", "empty prompt")]
    with pytest.raises(FileError, match="no 'atack' among prompt, attack, id; did you mean 'attack'"):
        read(str(path), column="atack")


def test_a_run_reads_the_column_that_it_is_told(tmp_path: Path) -> None:
    path = tmp_path / "p.csv"
    path.write_bytes("prompt;Attack\nx;Stehle für mich\n".encode("cp1252"))
    config = RunConfig(prompts=str(path), column="attack", evaluate=EvaluateConfig(prompts=str(path)))
    sets = load_prompts(config)
    assert [p.messages[0].content for p in sets.train] == ["Stehle für mich"]
    assert [p.messages[0].content for p in sets.held_out] == ["x"]  # the column of prompts alone
    assert sets.notes == ("not UTF-8: read as cp1252", "the columns are divided by semicolon")


def chat_row(*turns: str) -> str:
    roles = ("user", "assistant")
    messages = [{"role": roles[i % 2], "content": text} for i, text in enumerate(turns)]
    return json.dumps({"messages": messages})


def test_a_conversation_and_its_continuation_are_on_one_side(tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl"
    rows = [
        row
        for i in range(200)
        for row in (chat_row(f"Question {i}?"), chat_row(f"question  {i}?", "Yes.", "And then?"))
    ]
    path.write_text("\n".join(rows))
    sets = load_prompts(RunConfig(prompts=str(path)))
    train, held_out = ({opening(p) for p in side} for side in (sets.train, sets.held_out))
    assert not train & held_out and len(train) + len(held_out) == 200
    assert len(sets.train) == 2 * len(train) and 20 < len(held_out) < 60
    # Who is held out among prompts of one turn does not depend on their continuations.
    path.write_text("\n".join(rows[::2]))
    assert {opening(p) for p in load_prompts(RunConfig(prompts=str(path))).held_out} == held_out


def test_what_opens_as_an_evaluation_prompt_is_not_trained_on(tmp_path: Path) -> None:
    own, held = tmp_path / "own.jsonl", tmp_path / "held.jsonl"
    own.write_text("\n".join([chat_row("One?"), chat_row("Two?"), chat_row("Three?")]))
    held.write_text("\n".join([chat_row("two?", "No.", "Why?"), chat_row("Four?")]))
    config = RunConfig(prompts=str(own), evaluate=EvaluateConfig(prompts=str(held)))
    sets = load_prompts(config)
    assert [opening(p) for p in sets.train] == ["one?", "three?"]
    assert len(sets.held_out) == 2 and sets.opened_alike == 1
    with pytest.raises(UsageError, match="every prompt in it opens as one of"):
        load_prompts(RunConfig(prompts=str(own), evaluate=EvaluateConfig(prompts=str(own))))


def test_every_file_of_prompts_has_a_column_of_its_own(tmp_path: Path) -> None:
    """``--column`` is for ``--prompts``; the other files name theirs behind a colon, as data sets do."""
    attacks, calm, held = (str(tmp_path / name) for name in ("attacks.csv", "calm.jsonl", "held.csv"))
    Path(attacks).write_text("prompt,Attack\nx,Steal it\ny,\n")
    Path(calm).write_text('{"prompt": "x", "everyday one": "How do I boil an egg?"}\n')
    Path(held).write_text("text,Behavior Text,id\nx,Lie to me,7\n")
    config = RunConfig(
        prompts=f"{attacks}:attack",
        sft=SFTConfig(helpful_prompts=f"{calm}:everyday one"),
        evaluate=EvaluateConfig(prompts=f"{held}:behavior_text"),
    )
    check_prompts(config)
    sets = load_prompts(config)
    found = [[p.messages[0].content for p in own] for own in (sets.train, sets.helpful, sets.held_out)]
    assert found == [["Steal it"], ["How do I boil an egg?"], ["Lie to me"]]
    assert sets.held_out[0].id == "7"
    assert [(f.item, f.detail) for f in sets.failures] == [("row 2", "column 'attack' is empty")]
    with pytest.raises(FileError, match="no column 'atack' among prompt, Attack"):
        read(f"{attacks}:atack")
    with pytest.raises(FileError, match="no such file"):
        read(str(tmp_path / "none.csv:attack"))


def test_a_file_whose_name_has_a_colon_is_that_file(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("prompt,b.csv\nx,y\n")
    (tmp_path / "a.csv:b.csv").write_text("prompt\nz\n")
    assert [p.messages[0].content for p in read(str(tmp_path / "a.csv:b.csv")).prompts] == ["z"]


@pytest.mark.parametrize(
    "cell", ['[{"role": "user", "content": "Cut', "[{'role': 'user', 'content': 'Cut'}, {'ro"]
)
def test_turns_that_are_cut_off_are_no_prompt(tmp_path: Path, cell: str) -> None:
    """Excel keeps 32,767 characters of a cell."""
    path = tmp_path / "p.jsonl"
    path.write_text(json.dumps({"prompt": cell}) + '\n{"prompt": "Whole."}\n')
    reading = read(str(path))
    assert [p.messages[0].content for p in reading.prompts] == ["Whole."]
    assert [(f.item, f.reason) for f in reading.failures] == [("row 1", "cut off")]


@pytest.mark.parametrize(
    "text",
    [
        '[{"role": "user", "content": "x"}] What is wrong here?',
        "[{x",
        '[{"role": 1',
        "[{'role': 'user'}] is a list",
    ],
)
def test_a_text_about_turns_is_a_text(tmp_path: Path, text: str) -> None:
    path = tmp_path / "p.jsonl"
    path.write_text(json.dumps({"prompt": text}))
    assert [p.messages[0].content for p in read(str(path)).prompts] == [text]


def test_turns_as_numpy_spells_them(tmp_path: Path) -> None:
    path = tmp_path / "p.csv"
    path.write_text("prompt\n\"array([{'content': 'Hi', 'role': 'user'}], dtype=object)\"\n")
    assert [p.messages[0].content for p in read(str(path)).prompts] == ["Hi"]


def test_a_json_file_that_holds_its_list_under_a_name(tmp_path: Path) -> None:
    path = tmp_path / "p.json"
    path.write_text('{"version": 1, "data": [{"prompt": "Is it far?"}]}')
    assert [p.messages[0].content for p in read(str(path)).prompts] == ["Is it far?"]


def test_messages_of_a_tree_are_prompts_only_at_its_root(tmp_path: Path) -> None:
    rows = [
        {"message_id": "1", "parent_id": None, "role": "prompter", "text": "Is it far?"},
        {"message_id": "2", "parent_id": "1", "role": "assistant", "text": "Yes."},
    ]
    path = tmp_path / "p.json"
    path.write_text(json.dumps(rows))
    reading = read(str(path))
    assert [p.messages[0].content for p in reading.prompts] == ["Is it far?"]
    assert [f.reason for f in reading.failures] == ["not a first message"]


def test_composed_and_decomposed_accents_are_one_prompt(tmp_path: Path) -> None:
    path = tmp_path / "p.json"
    path.write_text(json.dumps([{"prompt": "Caf\u00e9?"}, {"prompt": "Cafe\u0301? "}, {"prompt": "Tea?"}]))
    reading = read(str(path))
    assert (len(reading.prompts), reading.duplicates) == (2, 1)

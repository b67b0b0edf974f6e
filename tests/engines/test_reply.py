"""What counts as an answer: only an end that is one, text without thought, and never a part's spelling."""

from __future__ import annotations

from typing import Any

import pytest

from cai.engines.server.reply import read_reply, tokens_used
from cai.values.errors import ItemError


def answer(content: Any = "Yes.", finish: Any = "stop", usage: Any = None, **extra: Any) -> dict[str, Any]:
    fields = extra.pop("choice", {})
    message = {"role": "assistant", "content": content, **extra}
    choice = {"message": message, "finish_reason": finish, **fields}
    return {"choices": [choice], "usage": usage or {"prompt_tokens": 3, "completion_tokens": 40}}


@pytest.mark.parametrize(
    "finish", ["stop", "end_turn", "eos", "eos_token", "stop_sequence", "STOP", "COMPLETE"]
)
def test_ends_that_are_success(finish: str) -> None:
    assert read_reply(answer(finish=finish)).finish == "stop"


@pytest.mark.parametrize("finish", ["length", "max_tokens", "MAX_TOKENS", "model_length"])
def test_ends_that_cut_off(finish: str) -> None:
    assert read_reply(answer(finish=finish)).finish == "length"


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (answer(finish="error"), "did not end well.*'error'"),
        (answer(finish="tool_calls"), "did not end well"),
        (answer(finish=None), "did not end well.*None"),
        (answer(finish="whatever"), "whatever"),
        (answer("", "content_filter"), "withheld"),
        (answer("", "SAFETY"), "withheld"),
        (answer(None, refusal="I can't help with that."), "refused.*can't help"),
        (answer([{"type": "refusal", "refusal": "No."}]), "refused.*No"),
        (answer([{"type": "image_url", "image_url": {}}]), "no text.*image_url"),
        (answer(None), "no text"),
        (answer(choice={"error": {"code": 502, "message": "provider went away"}}), "provider went away"),
        ({"choices": []}, "no choices"),
        ({"choices": ["text"]}, "no choices"),
    ],
)
def test_what_is_no_answer_says_why(given: dict[str, Any], words: str) -> None:
    with pytest.raises(ItemError, match=f"(?s){words}"):
        read_reply(given)


@pytest.mark.parametrize(
    "content",
    [
        "Yes. No.",
        [{"type": "text", "text": "Yes. "}, {"type": "text", "text": "No."}],
        [{"type": "output_text", "text": "Yes. No."}],
        [
            {"type": "thinking", "thinking": [{"type": "text", "text": "Hm."}]},
            {"type": "text", "text": "Yes. No."},
        ],
        {"type": "text", "text": "Yes. No."},
        ["Yes. ", "No."],
    ],
)
def test_parts_are_read_to_text(content: Any) -> None:
    assert read_reply(answer(content)).text == "Yes. No."


@pytest.mark.parametrize(
    "given",
    [
        answer("Yes.", reasoning_content="Hm, so."),
        answer("Yes.", reasoning="Hm, so."),
        answer("Yes.", reasoning_details=[{"type": "reasoning.text", "text": "Hm, so."}]),
        answer("<think>Hm, so.</think>\n\nYes."),
        answer("Hm, so.\n</think>\n\nYes."),
        answer("Hm, so.</think>Yes."),
        answer("[THINK]Hm, so.[/THINK]Yes."),
        answer("◁think▷Hm, so.◁/think▷Yes."),
        answer([{"type": "thinking", "thinking": "Hm, so."}, {"type": "text", "text": "Yes."}]),
    ],
)
def test_thought_is_apart_and_counted(given: dict[str, Any]) -> None:
    reply = read_reply(given)
    assert (reply.text, reply.finish) == ("Yes.", "stop")
    assert "Hm, so." in reply.thought
    assert 0 < reply.thought_tokens < 40


@pytest.mark.parametrize("finish", ["length", "stop"])
@pytest.mark.parametrize("content", [None, ""])
def test_an_answer_that_ran_out_in_thought_is_cut_off_and_not_empty(content: Any, finish: str) -> None:
    for fields in ({"reasoning_content": "Hm, and"}, {"reasoning": "Hm, and"}):
        reply = read_reply(answer(content, finish, **fields))
        assert (reply.text, reply.finish) == ("", "length")
    hidden = {
        "prompt_tokens": 3,
        "completion_tokens": 40,
        "completion_tokens_details": {"reasoning_tokens": 40},
    }
    reply = read_reply(answer(content, finish, hidden))
    assert (reply.text, reply.finish, reply.thought_tokens) == ("", "length", 40)
    assert read_reply(answer("<think>Hm, and", finish)).finish == "length"


def test_servers_that_tell_no_counts_or_other_things() -> None:
    for usage in ("none", {"prompt_tokens": None}, {"completion_tokens_details": None}, [0]):
        assert read_reply(answer(usage=usage)).prompt_tokens == 0


@pytest.mark.parametrize(
    ("usage", "used"),
    [
        ({"prompt_tokens": 9, "completion_tokens": 2}, (9, 2, 0, 0)),
        ({"prompt_tokens": 9, "prompt_tokens_details": {"cached_tokens": 4}}, (9, 0, 4, 0)),
        (
            {"prompt_tokens": 9, "prompt_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 3}},
            (9, 0, 4, 3),
        ),
        ({"prompt_tokens": 9, "prompt_cache_hit_tokens": 5, "prompt_cache_miss_tokens": 4}, (9, 0, 5, 0)),
        ({"prompt_tokens": 9, "prompt_tokens_details": {"cached_tokens": 40}}, (9, 0, 9, 0)),
        ({"prompt_tokens": 9, "prompt_tokens_details": None}, (9, 0, 0, 0)),
    ],
)
def test_what_a_cache_had_is_counted_apart(usage: dict[str, Any], used: tuple[int, ...]) -> None:
    assert tokens_used(answer(usage=usage), {}) == used

"""One valid row of every format that is imported, with what must come of it, worked out by hand.

``GOOD`` and ``BAD`` are the two answers; in every row here the vote is for ``GOOD`` unless it says otherwise.
"""

from __future__ import annotations

from typing import Any

ASK = "How do I boil an egg?"
GOOD = "Eight minutes in boiling water."
BAD = "No."
USER = {"role": "user", "content": ASK}


def said(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}


def parts(role: str, text: str) -> dict[str, Any]:
    return {"role": role, "content": [{"type": "text", "text": text, "image": None, "mimeType": None}]}


HH = {
    "chosen": f"\n\nHuman: {ASK}\n\nAssistant: {GOOD}",
    "rejected": f"\n\nHuman: {ASK}\n\nAssistant: {BAD}",
}
ARENA_LISTS = {
    "id": 30192,
    "model_a": "x",
    "model_b": "y",
    "prompt": f'["{ASK}"]',
    "response_a": f'["{BAD}"]',
    "response_b": f'["{GOOD}"]',
    "winner_model_a": 0,
    "winner_model_b": 1,
    "winner_tie": 0,
}
LABEL_STUDIO = {
    "id": 401635,
    "annotations": [
        {
            "id": 68045,
            "completed_by": 2,
            "result": [
                {
                    "value": {"selected": "left"},
                    "from_name": "comparison",
                    "to_name": "comparison",
                    "type": "pairwise",
                }
            ],
            "was_cancelled": False,
        }
    ],
    "predictions": [],
    "data": {"prompt": ASK, "answer1": GOOD, "answer2": BAD},
}
ARGILLA = {
    "id": "7",
    "fields": {"instruction": ASK, "response_1": BAD, "response_2": GOOD},
    "metadata": {},
    "suggestions": {"preference": {"value": "response_1", "score": None, "agent": "m"}},
    "responses": {"preference": [{"value": "response_2", "user_id": "u-1"}]},
    "vectors": {},
    "_server_id": None,
}

#: (format, row, P(GOOD preferred), kind and name of the voter)
ROWS: list[tuple[str, dict[str, Any], float, str]] = [
    ("hh-rlhf", HH, 1.0, "human:hh-rlhf"),
    ("trl", {"prompt": ASK, "chosen": GOOD, "rejected": BAD}, 1.0, "human:trl"),
    ("trl", {"prompt": [USER], "chosen": [said(GOOD)], "rejected": [said(BAD)]}, 1.0, "human:trl"),
    ("trl", {"chosen": [USER, said(GOOD)], "rejected": [USER, said(BAD)]}, 1.0, "human:trl"),
    (
        "trl",
        {"chosen": f"User: {ASK}\nAssistant: {GOOD}", "rejected": f"User: {ASK}\nAssistant: {BAD}"},
        1.0,
        "human:trl",
    ),
    ("trl", {"prompt": ASK, "chosen": [USER, said(GOOD)], "rejected": [USER, said(BAD)]}, 1.0, "human:trl"),
    ("trl", {"prompt": ASK, "chosen": GOOD, "rejected": BAD, "p_chosen": 0.7}, 0.7, "human:trl"),
    (
        "ultrafeedback-binarized",
        {
            "prompt": ASK,
            "prompt_id": "00ab",
            "chosen": [USER, said(GOOD)],
            "rejected": [USER, said(BAD)],
            "messages": [USER, said(GOOD)],
            "score_chosen": 8.5,
            "score_rejected": 3.0,
        },
        1.0,
        "ai:gpt-4",
    ),
    (
        "ultrafeedback-binarized",
        {
            "prompt": ASK,
            "chosen": [USER, said(GOOD)],
            "chosen-rating": 4.0,
            "rejected": [USER, said(BAD)],
            "rejected-rating": 4.0,
        },
        0.5,
        "ai:gpt-4",
    ),
    (
        "helpsteer2",
        {
            "split": "train",
            "prompt": ASK,
            "response_1": GOOD,
            "response_2": BAD,
            "preference_strength": -2,
            "preference_statement": "@Response 1 is better",
        },
        5 / 6,
        "human:helpsteer2",
    ),
    (
        "helpsteer3",
        {
            "domain": "general",
            "language": "english",
            "context": [USER],
            "response1": BAD,
            "response2": GOOD,
            "overall_preference": 1,
        },
        2 / 3,
        "human:helpsteer3",
    ),
    (
        "chatbot-arena",
        {
            "question_id": "58210e39b3fd4441a2bd4a518bb44c2d",
            "model_a": "chatglm-6b",
            "model_b": "koala-13b",
            "winner": "model_b",
            "judge": "arena_user_973",
            "conversation_a": [USER, said(BAD)],
            "conversation_b": [USER, said(GOOD)],
            "turn": 1,
            "anony": True,
        },
        1.0,
        "human:arena_user_973",
    ),
    ("chatbot-arena", ARENA_LISTS, 1.0, "human:chatbot-arena"),
    (
        "chatbot-arena",
        {
            "id": "c4b9710c",
            "winner": "model_a",
            "evaluation_session_id": "s-1",
            "evaluation_order": 1,
            "conversation_a": [parts("user", ASK), parts("assistant", GOOD)],
            "conversation_b": [parts("user", ASK), parts("assistant", BAD)],
        },
        1.0,
        "human:s-1",
    ),
    (
        "alpaca-farm",
        {"instruction": ASK, "input": "", "output_1": BAD, "output_2": GOOD, "preference": 2},
        1.0,
        "human:alpaca-farm",
    ),
    (
        "alpaca-farm",
        {
            "instruction": ASK,
            "output_1": BAD,
            "output_2": GOOD,
            "preference": 1.75,
            "annotator": "alpaca_eval_gpt4",
        },
        0.75,
        "ai:alpaca_eval_gpt4",
    ),
    (
        "open-instruct",
        {
            "id": 213.0,
            "prompt": ASK,
            "completion_a": BAD,
            "completion_b": GOOD,
            "completion_a_is_acceptable": "no",
            "completion_b_is_acceptable": "yes",
            "preference": "b-is-slightly-better",
            "evaluator": "yo",
            "comment": None,
        },
        0.75,
        "human:yo",
    ),
    ("argilla", ARGILLA, 1.0, "human:u-1"),
    ("label-studio", LABEL_STUDIO, 1.0, "human:2"),
    (
        "table",
        {"prompt": ASK, "a": BAD, "b": GOOD, "preferred": "b", "annotator": "ann"},
        1.0,
        "human:ann",
    ),
    ("table", {"prompt": ASK, "a": GOOD, "b": BAD, "p": 0.6}, 0.6, "human:table"),
]

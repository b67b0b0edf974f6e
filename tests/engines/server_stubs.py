"""Servers of language models that behave as their public documentation says, around one model of known mind.

``Mind`` is that model: it reads the qualities of the two responses out of a question ("quality 3"), and
P(A) = σ(difference) is the truth that labels are held against. What it says in a turn that it begins anew is
chatter, in which A and B are rare and the ratio of the two is wrong: whoever reads labels there, or takes a
status of 200 for an ability, is found out. ``weak`` minds can do nothing but continue.

``Provider`` is a server: which fields it refuses, in which words, or drops; whether it continues a turn; what
its answers look like. ``serving`` puts one on loopback. Shared by tests and ``benchmarks/conformance.py``.
"""

from __future__ import annotations

import json
import math
import random
import re
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from batch_stub import Desk
from messages_stub import Claude
from responses_stub import as_chat, as_response, complaint

from cai.config.run_config import EngineName

Body = dict[str, Any]
Answer = tuple[int, Any]

_MESSAGES = "docs.anthropic.com/en/api/messages"
_MESSAGE_BATCHES = "docs.anthropic.com/en/docs/build-with-claude/batch-processing"
_BATCHES = "platform.openai.com/docs/guides/batch"
_RESPONSES = "platform.openai.com/docs/api-reference/responses"
CHATTER = {"The": 0.93, "I": 0.02, "A": 0.004, "B": 0.016, "Well": 0.01, "It": 0.008, "Sure": 0.006}
HEAD, END = 3, 2  # tokens of a turn's heading and of its end
KNOWN = {
    *("model", "messages", "max_tokens", "max_completion_tokens", "temperature", "top_p", "seed", "stop"),
    *("logprobs", "top_logprobs", "response_format", "reasoning_effort"),
}


def truth(question: str) -> float:
    """P(A) of the mind, from the two qualities in ``question``."""
    a, b = (int(q) for q in re.findall(r"quality (\d)", question)[-2:])
    return 1.0 / (1.0 + math.exp(b - a))


def p_first(logprobs: Sequence[float]) -> float:
    """P(the first option) of a choice's log-probabilities."""
    return 1.0 / (1.0 + math.exp(logprobs[1] - logprobs[0]))


def tokens(text: str) -> list[str]:
    """Words with the blank before them, marks, and line ends."""
    return re.findall(r"\n| ?\w+| ?[^\w\s]|[ \t]+", text)


@dataclass(frozen=True)
class Mind:
    """What the model says next: P over first tokens, and the text that follows each."""

    weak: bool = False

    def next(self, question: str, begun: str | None) -> tuple[dict[str, float], str]:  # noqa: PLR0911
        """→ P(first token), and the most probable reply. ``begun``: the turn that is being continued."""
        if self.weak and (begun is None or not re.search(r"\($", begun)):
            return CHATTER, "The user asks for something."
        if task := re.search(r"^Write exactly this and nothing else: (.*)$", question, re.MULTILINE):
            whole = task[1]
            text = whole.removeprefix(begun) if begun and whole.startswith(begun) else whole
            return {tokens(text)[0]: 0.97}, text
        if re.search(r"begun answer|Begin your answer with exactly", question):
            opening = question.rsplit("exactly this text:\n", 1)[-1]
            return {tokens(opening)[0]: 0.9}, f"{opening} it is fine."
        verdict = re.search(r"\(A\)|A or B|A, B", question)
        told = "Answer with one of these" in question
        if verdict and (told or (begun or "").endswith("(")):
            p = truth(question) if "quality" in question else 0.9
            first = {"A": 0.96 * p, "B": 0.96 * (1 - p), "The": 0.01, "I": 0.01, "Both": 0.005, "C": 0.002}
            return first, max(("A", "B"), key=lambda letter: first[letter])
        if "What is 2 + 2" in question:
            return ({" nothing": 0.9}, " nothing at all.") if begun else ({"4": 0.95}, "4")
        if "17 times 3" in question:
            return {"43": 0.9}, "43"
        if begun is not None:
            return {" and": 0.8, " or": 0.1}, " and so it goes."
        return CHATTER, "The response is fine."


@dataclass
class Provider:
    """A server. Refusals are functions of the body → an answer, or None; the first that answers counts."""

    name: str
    source: str  # the documentation that it was made from
    refuse: tuple[Callable[[Body], Answer | None], ...] = ()
    drops: frozenset[str] = frozenset()
    #: A last turn of the assistant is continued: "flag" where ``continue_final_message`` says so, "prefix"
    #: where the message says so, "always", or "never": it is closed, and a new one begun.
    continues: str = "never"
    echoes: bool = False  # an answer begins with what was begun
    lists: str = "none"  # chat, bytes, spaced, ids, legacy, null, drawn, none
    most: int = 20
    constrains: frozenset[str] = frozenset()
    thinks: str = ""  # field (reasoning_content), reasoning, text, lone, hidden; "" it does not
    thinking_off: Callable[[Body], bool] = lambda body: False
    usage: bool = True
    parts: bool = False
    ends: Mapping[str, str] = field(default_factory=lambda: {"stop": "stop", "length": "length"})
    mind: Mind = Mind()
    list_models: bool = True
    engine: EngineName = "openai"  # whose protocol it speaks
    batch: bool = False  # asked in batches, which it makes
    bodies: list[Body] = field(default_factory=list)

    def answer(self, body: Body) -> Answer:
        self.bodies.append(body)
        for refuse in self.refuse:
            if (refusal := refuse(body)) is not None:
                return refusal
        return 200, self._reply({name: value for name, value in body.items() if name not in self.drops})

    def _reply(self, body: Body) -> Body:
        messages = body["messages"]
        last = messages[-1]
        begun, closed = None, 0
        if last["role"] == "assistant":
            if self._continues(body, last):
                begun = last["content"]
            else:
                closed = HEAD + END + len(tokens(last["content"]))
        question = next(m["content"] for m in reversed(messages) if m["role"] == "user")
        asked = messages[:-1] if last["role"] == "assistant" else messages
        prompt = sum(HEAD + END + len(tokens(m["content"])) for m in asked) + HEAD + closed
        prompt += len(tokens(begun or ""))
        first, text = self.mind.next(question, begun)
        first, text = self._constrained(body, first, text)
        limit = body.get("max_tokens", body.get("max_completion_tokens", 256))
        temperature = body.get("temperature", 1.0)
        if temperature > 0 and limit == 1:
            drawn = random.Random(body.get("seed")).choices([*first], [*first.values()])[0]
            text = drawn
        elif temperature > 0 and text in ("A", "B"):
            text = random.Random(body.get("seed")).choices([*first], [*first.values()])[0]
        thought = self._thought(body)
        message, finish, drawn_tokens, thought_tokens = self._cut(text, thought, limit, begun)
        choice: Body = {"index": 0, "message": message, "finish_reason": self.ends[finish]}
        if body.get("logprobs"):
            of = {"<think>": 0.999} if thought else first
            choice["logprobs"] = self._logprobs(of, body)
        answer: Body = {"object": "chat.completion", "choices": [choice]}
        if self.usage:
            answer["usage"] = {"prompt_tokens": prompt, "completion_tokens": drawn_tokens}
            if self.thinks == "hidden":
                answer["usage"]["completion_tokens_details"] = {"reasoning_tokens": thought_tokens}
        return answer

    def _continues(self, body: Body, last: Mapping[str, Any]) -> bool:
        return {
            "flag": bool(body.get("continue_final_message")) and body.get("add_generation_prompt") is False,
            "prefix": bool(last.get("prefix")),
            "always": True,
            "never": False,
        }[self.continues]

    def _constrained(self, body: Body, first: dict[str, float], text: str) -> tuple[dict[str, float], str]:
        options: list[str] = []
        schema = False
        if "structured_outputs" in self.constrains and body.get("structured_outputs"):
            options = body["structured_outputs"]["choice"]
        elif "guided_choice" in self.constrains and body.get("guided_choice"):
            options = body["guided_choice"]
        elif "json_schema" in self.constrains and body.get("response_format"):
            found = body["response_format"]["json_schema"]["schema"]["properties"]["answer"]["enum"]
            options, schema = found, True
        if not options:
            return first, text
        weights = {option: first.get(option, 1e-4) for option in options}
        total = sum(weights.values())
        weights = {option: weight / total for option, weight in weights.items()}
        draw = random.Random(body.get("seed"))
        text = draw.choices([*weights], [*weights.values()])[0]
        if body.get("temperature", 1.0) == 0:
            text = max(weights, key=lambda option: weights[option])
        return weights, json.dumps({"answer": text}) if schema else text

    def _thought(self, body: Body) -> str:
        return (
            "" if not self.thinks or self.thinking_off(body) else " ".join(["Let me think about that."] * 4)
        )

    def _cut(self, text: str, thought: str, limit: int, begun: str | None) -> tuple[Body, str, int, int]:
        """The message, its end, tokens drawn and tokens of thought, of at most ``limit`` tokens."""
        thinking = len(tokens(thought))
        room = limit - thinking
        finish = "stop" if len(tokens(text)) <= room and limit > 1 else "length"
        text = "".join(tokens(text)[: max(0, room)])
        thought = "".join(tokens(thought)[:limit])
        shown: Body = {"role": "assistant", "content": text if room > 0 else None}
        if self.thinks in ("field", "reasoning") and thought:
            shown["reasoning_content" if self.thinks == "field" else "reasoning"] = thought
        elif self.thinks == "text" and thought:
            shown["content"] = f"<think>\n{thought}" + (f"\n</think>\n\n{text}" if room > 0 else "")
        elif self.thinks == "lone" and thought:
            shown["content"] = thought + (f"</think>{text}" if room > 0 else "")
        if self.echoes and begun is not None and shown["content"] is not None:
            shown["content"] = begun + shown["content"]
        if self.parts and shown["content"] is not None:
            shown["content"] = [{"type": "text", "text": shown["content"]}]
        return shown, finish, min(limit, thinking + len(tokens(text)) or 1), min(limit, thinking)

    def _logprobs(self, first: dict[str, float], body: Body) -> Any:
        asked = body.get("top_logprobs", body["logprobs"] if body["logprobs"] is not True else 0)
        best = sorted(first.items(), key=lambda item: -item[1])
        padded = best + [(f"w{i}", 1e-5 / (i + 1)) for i in range(30)]
        top = [(token, math.log(p)) for token, p in padded[: min(asked, self.most)]]
        if self.lists in ("none", "null"):
            return None if self.lists == "none" else {"content": None}
        if self.lists == "legacy":
            return {"tokens": [top[0][0]], "token_logprobs": [top[0][1]], "top_logprobs": [dict(top)]}
        spell: dict[str, Callable[[str], Body]] = {
            "chat": lambda t: {"token": t, "bytes": list(t.encode())},
            "spaced": lambda t: {"token": f"▁{t}"},
            "drawn": lambda t: {"token": t},
            "bytes": lambda t: {"token": "?", "bytes": list(t.encode())},
            "ids": lambda t: {"token": f"token_id:{sum(t.encode())}"},
        }
        how = self.lists
        if how == "ids" and body.get("return_tokens_as_token_ids") is False:
            how = "chat"
        entries = [{**spell[how](token), "logprob": value} for token, value in top]
        return {"content": [{**entries[0], "top_logprobs": [] if self.lists == "drawn" else entries}]}


@contextmanager
def serving(provider: Provider) -> Iterator[str]:
    """``provider`` on loopback → its base URL."""
    desk = Desk(provider.answer, messages=provider.engine == "anthropic") if provider.batch else None

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def reply(self, status: int, content: Any) -> None:
            data = (content if isinstance(content, str) else json.dumps(content)).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def do_GET(self) -> None:
            if desk is not None:
                self.reply(*desk("GET", self.path, "", b""))
                return
            entry = {"id": "m", "object": "model"}
            self.reply(*((200, {"data": [entry]}) if provider.list_models else (404, {})))

        def do_POST(self) -> None:
            raw = self.rfile.read(int(self.headers["Content-Length"]))
            if desk is not None:
                self.reply(*desk("POST", self.path, self.headers["Content-Type"], raw))
            else:
                self.reply(*provider.answer(json.loads(raw)))

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@dataclass
class MessagesProvider(Provider):
    """A server of Anthropic's own protocol, which is ``messages_stub``'s."""

    engine: EngineName = "anthropic"
    claude: Claude = field(default_factory=Claude)

    def answer(self, body: Body) -> Answer:
        self.claude.says = self._say
        return self.claude(body)

    def _say(self, body: Body) -> str:
        *_, last = body["messages"]
        begun = last["content"] if last["role"] == "assistant" else None
        question = next(m["content"] for m in reversed(body["messages"]) if m["role"] == "user")
        first, text = self.mind.next(question, begun)
        if text not in ("A", "B"):
            return text
        return random.Random(len(self.claude.bodies)).choices("AB", [first["A"], first["B"]])[0]


@dataclass
class ResponsesProvider(Provider):
    """A server of OpenAI's Responses API, which is ``responses_stub``'s. ``reasons``: of the newer kind."""

    engine: EngineName = "openai-responses"
    lists: str = "chat"
    constrains: frozenset[str] = frozenset({"json_schema"})
    reasons: bool = False

    def answer(self, body: Body) -> Answer:
        self.bodies.append(body)
        if (refusal := complaint(body, self.reasons)) is not None:
            return refusal
        return 200, as_response(self._reply(as_chat(body)), body)


# --- Refusals, in the words of those who refuse ---------------------------------------------


def _extra(body: Body, known: set[str] = KNOWN) -> list[str]:
    return sorted(name for name in body if name not in known)


def openai_unknown(body: Body) -> Answer | None:
    extra = _extra(body)
    if any("prefix" in message for message in body["messages"]):
        text = f"Unknown parameter: 'messages[{len(body['messages']) - 1}].prefix'."
        return 400, _openai(text, text.split("'")[1], "unknown_parameter")
    if not extra:
        return None
    many = "s" if len(extra) > 1 else ""
    return 400, _openai(f"Unrecognized request argument{many} supplied: {', '.join(extra)}")


def _openai(message: str, param: str | None = None, code: str | None = None) -> Body:
    return {"error": {"message": message, "type": "invalid_request_error", "param": param, "code": code}}


def openai_reasoning(body: Body) -> Answer | None:
    if "max_tokens" in body:
        text = (
            "Unsupported parameter: 'max_tokens' is not supported with this model. "
            "Use 'max_completion_tokens' instead."
        )
        return 400, _openai(text, "max_tokens", "unsupported_parameter")
    if body.get("temperature", 1) != 1:
        text = (
            f"Unsupported value: 'temperature' does not support {body['temperature']} with this model. "
            "Only the default (1) value is supported."
        )
        return 400, _openai(text, "temperature", "unsupported_value")
    for name in ("top_p", "logprobs", "top_logprobs", "stop"):
        if name in body:
            text = f"Unsupported parameter: '{name}' is not supported with this model."
            return 400, _openai(text, name, "unsupported_parameter")
    if body.get("reasoning_effort") == "none":
        text = (
            "Unsupported value: 'reasoning_effort' does not support 'none' with this model. "
            "Supported values are: 'minimal', 'low', 'medium', and 'high'."
        )
        return 400, _openai(text, "reasoning_effort", "unsupported_value")
    return None


def pydantic_extra(names: set[str]) -> Callable[[Body], Answer | None]:
    """Mistral's: 422 with pydantic's list, as JSON within JSON."""

    def refuse(body: Body) -> Answer | None:
        extra = [name for name in body if name in names]
        if not extra:
            return None
        detail = [
            {"type": "extra_forbidden", "loc": ["body", name], "msg": "Extra inputs are not permitted"}
            for name in extra
        ]
        message = json.dumps({"detail": detail})
        return 422, {"object": "error", "message": message, "type": "invalid_request_error", "code": "1000"}

    return refuse


def vllm_extra(names: set[str]) -> Callable[[Body], Answer | None]:
    """Older vLLM's: Python's spelling of pydantic's list."""

    def refuse(body: Body) -> Answer | None:
        extra = [name for name in body if name in names]
        if not extra:
            return None
        detail = [
            {
                "type": "extra_forbidden",
                "loc": ("body", name),
                "msg": "Extra inputs are not permitted",
                "input": 1,
            }
            for name in extra
        ]
        return 400, {"object": "error", "message": str(detail), "type": "BadRequestError", "code": 400}

    return refuse


def gemini_unknown(body: Body) -> Answer | None:
    known = KNOWN - {"seed"}
    extra = [name for name in _extra(body, known) if name != "extra_body"]
    if extra:
        text = "\n".join(
            f'Invalid JSON payload received. Unknown name "{name}": Cannot find field.' for name in extra
        )
        return 400, [{"error": {"code": 400, "message": text, "status": "INVALID_ARGUMENT"}}]
    if body.get("logprobs"):
        text = "Logprobs is not enabled for models/gemini-2.5-pro"
        return 400, [{"error": {"code": 400, "message": text, "status": "INVALID_ARGUMENT"}}]
    return None


def anthropic_sampling(body: Body) -> Answer | None:
    if "temperature" in body and "top_p" in body:
        text = "`temperature` and `top_p` cannot both be specified for this model. Please use only one."
        return 400, {"error": {"type": "invalid_request_error", "message": text}}
    return None


def anthropic_prefill(body: Body) -> Answer | None:
    if body["messages"][-1]["role"] == "assistant":
        text = (
            "This model does not support assistant message prefill. "
            "The conversation must end with a user message."
        )
        return 400, {"error": {"type": "invalid_request_error", "message": text}}
    return None


def bedrock_extra(body: Body) -> Answer | None:
    for name in ("seed", "continue_final_message", "add_generation_prompt", "structured_outputs"):
        if name in body:
            text = f"Malformed input request: #: extraneous key [{name}] is not permitted, please reformat"
            return 400, {"message": text}
    if body.get("logprobs"):
        return 400, {"message": "The parameter logprobs is not supported by this model."}
    return None


def groq(body: Body) -> Answer | None:
    for name in ("logprobs", "top_logprobs"):
        if name in body:
            return 400, _openai(f"`{name}` is not supported with this model")
    if extra := _extra(body):
        return 400, _openai(f"property '{extra[0]}' is unsupported")
    if any("prefix" in message for message in body["messages"]):
        n = len(body["messages"]) - 1
        return 400, _openai(f"'messages.{n}' : property 'prefix' is unsupported")
    return None


def litellm_params(body: Body) -> Answer | None:
    extra = [name for name in ("seed", "logprobs", "top_logprobs") if name in body]
    if not extra:
        return None
    text = (
        f"litellm.UnsupportedParamsError: bedrock does not support parameters: {extra}, for model=m. "
        "To drop these, set `litellm.drop_params=True` or for proxy: `litellm_settings: drop_params: true`"
    )
    return 400, _openai(text, "None", "400")


def most_alternatives(most: int, words: str) -> Callable[[Body], Answer | None]:
    def refuse(body: Body) -> Answer | None:
        asked = body.get("top_logprobs", 0)
        return (400, _openai(words.format(most=most, asked=asked), "top_logprobs")) if asked > most else None

    return refuse


def counted_logprobs(body: Body) -> Answer | None:
    if body.get("logprobs") is True:
        return 400, _openai(
            "Input validation error: logprobs must be an integer between 0 and 20", "logprobs"
        )
    if "top_logprobs" in body:
        return 400, _openai("Unknown parameter: 'top_logprobs'.", "top_logprobs")
    return None


def deepseek_reasoner(body: Body) -> Answer | None:
    for name in ("logprobs", "top_logprobs"):
        if name in body:
            return 400, _openai(f"deepseek-reasoner does not support {name}")
    if body["messages"][-1]["role"] == "assistant" and not body["messages"][-1].get("prefix"):
        return 400, _openai(
            "The last message of deepseek-reasoner must be a user message, or an assistant message "
            "with prefix mode on"
        )
    return None


def xai(body: Body) -> Answer | None:
    if "stop" in body:
        return 400, {
            "code": "Client specified an invalid argument",
            "error": "Argument not supported on this model: stop",
        }
    return None


def _off(body: Body) -> bool:
    return (body.get("chat_template_kwargs") or {}).get("enable_thinking") is False


def _effort(body: Body) -> bool:
    return body.get("reasoning_effort") in ("none", "minimal")


_VLLM_FORMS = frozenset({"structured_outputs", "json_schema"})
_UNREAD = frozenset(
    {"continue_final_message", "add_generation_prompt", "structured_outputs", "guided_choice"}
)
_EXTENSIONS = {*_UNREAD, "chat_template_kwargs", "reasoning", "thinking", "return_tokens_as_token_ids"}


def providers() -> list[Provider]:
    """Every server, fresh."""
    openai = Provider(
        "OpenAI chat",
        "platform.openai.com/docs/api-reference/chat",
        (openai_unknown,),
        lists="chat",
        constrains=frozenset({"json_schema"}),
    )
    vllm = Provider(
        "vLLM",
        "docs.vllm.ai/en/latest/serving/openai_compatible_server",
        continues="flag",
        lists="chat",
        constrains=_VLLM_FORMS,
    )
    return [
        openai,
        Provider(
            "OpenAI reasoning",
            "platform.openai.com/docs/guides/reasoning",
            (openai_unknown, openai_reasoning),
            thinks="hidden",
            thinking_off=_effort,
            constrains=frozenset({"json_schema"}),
        ),
        replace(openai, name="OpenAI chat, in batches", source=_BATCHES, batch=True, bodies=[]),
        ResponsesProvider("OpenAI's Responses API", _RESPONSES),
        ResponsesProvider("OpenAI's Responses API, in batches", _BATCHES, batch=True),
        ResponsesProvider(
            "OpenAI's Responses API, a reasoning model",
            "platform.openai.com/docs/guides/reasoning",
            thinks="hidden",
            thinking_off=lambda body: body.get("reasoning_effort") == "minimal",
            reasons=True,
        ),
        replace(
            openai,
            name="Azure OpenAI",
            source="learn.microsoft.com/azure/ai-services/openai/reference",
            list_models=False,
            bodies=[],
        ),
        vllm,
        replace(vllm, name="vLLM, a weak model", mind=Mind(weak=True), bodies=[]),
        replace(vllm, name="vLLM, a reasoning parser", thinks="field", thinking_off=_off, bodies=[]),
        replace(vllm, name="vLLM, tokens as ids", lists="ids", bodies=[]),
        replace(
            vllm,
            name="vLLM before 0.8",
            source="github.com/vllm-project/vllm/issues/3657",
            refuse=(vllm_extra(_EXTENSIONS - {"guided_choice"}),),
            continues="never",
            constrains=frozenset({"guided_choice"}),
            bodies=[],
        ),
        replace(
            vllm,
            name="a proxy that drops fields, vLLM behind it",
            source="docs.litellm.ai/docs/completion/drop_params",
            drops=_UNREAD,
            bodies=[],
        ),
        replace(
            vllm,
            name="a proxy that drops fields, a weak model",
            source="docs.litellm.ai/docs/completion/drop_params",
            drops=_UNREAD,
            mind=Mind(weak=True),
            bodies=[],
        ),
        Provider(
            "LiteLLM, strict",
            "docs.litellm.ai/docs/completion/drop_params",
            (litellm_params,),
            frozenset(_EXTENSIONS),
        ),
        replace(
            vllm,
            name="SGLang",
            source="docs.sglang.ai/basic_usage/openai_api_completions",
            constrains=frozenset({"json_schema"}),
            bodies=[],
        ),
        Provider(
            "llama.cpp",
            "github.com/ggml-org/llama.cpp/tree/master/tools/server",
            drops=_UNREAD,
            continues="always",
            lists="chat",
            constrains=frozenset({"json_schema"}),
            thinking_off=_off,
        ),
        Provider(
            "Ollama",
            "docs.ollama.com/openai",
            drops=frozenset(_EXTENSIONS),
            continues="always",
            lists="none",
            constrains=frozenset({"json_schema"}),
        ),
        Provider(
            "LM Studio",
            "lmstudio.ai/docs/app/api/endpoints/openai",
            drops=frozenset(_EXTENSIONS),
            lists="null",
            constrains=frozenset({"json_schema"}),
        ),
        Provider(
            "TGI",
            "huggingface.co/docs/text-generation-inference/messages_api",
            (
                most_alternatives(
                    5, "Input validation error: `top_n_tokens` must be >= 0 and <= {most}; top_logprobs"
                ),
            ),
            frozenset(_EXTENSIONS),
            lists="spaced",
            most=5,
            ends={"stop": "eos_token", "length": "length"},
        ),
        Provider(
            "OpenRouter",
            "openrouter.ai/docs/api-reference/parameters",
            drops=frozenset(_EXTENSIONS - {"reasoning"}),
            continues="always",
            thinks="reasoning",
            thinking_off=lambda body: (body.get("reasoning") or {}).get("enabled") is False,
            usage=False,
        ),
        Provider(
            "Anthropic's compatible endpoint",
            "docs.anthropic.com/en/api/openai-sdk",
            (anthropic_sampling, anthropic_prefill),
            frozenset(
                {*_EXTENSIONS, "seed", "logprobs", "top_logprobs", "response_format", "reasoning_effort"}
            ),
        ),
        MessagesProvider("Anthropic's Messages API", _MESSAGES, claude=Claude()),
        MessagesProvider(
            "Anthropic's Messages API, in batches", _MESSAGE_BATCHES, claude=Claude(), batch=True
        ),
        MessagesProvider("Anthropic's Messages API, an older model", _MESSAGES, claude=Claude(schemas=False)),
        MessagesProvider("Anthropic's Messages API, a newer model", _MESSAGES, claude=Claude(new=True)),
        Provider(
            "Gemini's compatible endpoint",
            "ai.google.dev/gemini-api/docs/openai",
            (gemini_unknown,),
            constrains=frozenset({"json_schema"}),
        ),
        Provider(
            "Mistral",
            "docs.mistral.ai/api",
            (pydantic_extra({"seed", "logprobs", "top_logprobs", *_EXTENSIONS, "reasoning_effort"}),),
            continues="prefix",
            echoes=True,
            constrains=frozenset({"json_schema"}),
            parts=True,
        ),
        Provider(
            "Bedrock gateway",
            "docs.aws.amazon.com/bedrock/latest/userguide/inference-chat-completions",
            (bedrock_extra, anthropic_sampling),
            frozenset(_EXTENSIONS),
            ends={"stop": "end_turn", "length": "max_tokens"},
        ),
        Provider(
            "DeepSeek chat",
            "api-docs.deepseek.com/api/create-chat-completion",
            (
                most_alternatives(
                    20, "Invalid top_logprobs value, the valid range of top_logprobs is [0, {most}]"
                ),
            ),
            frozenset(_EXTENSIONS),
            continues="prefix",
            lists="bytes",
        ),
        Provider(
            "DeepSeek reasoner",
            "api-docs.deepseek.com/guides/reasoning_model",
            (deepseek_reasoner,),
            frozenset(_EXTENSIONS),
            thinks="field",
        ),
        Provider(
            "Groq",
            "console.groq.com/docs/openai",
            (groq,),
            continues="always",
            constrains=frozenset({"json_schema"}),
        ),
        Provider(
            "Together",
            "docs.together.ai/reference/chat-completions-1",
            (counted_logprobs,),
            frozenset(_EXTENSIONS),
            lists="legacy",
            constrains=frozenset({"json_schema"}),
            ends={"stop": "eos", "length": "length"},
        ),
        Provider(
            "Fireworks",
            "docs.fireworks.ai/api-reference/post-chatcompletions",
            (most_alternatives(5, "top_logprobs must be less than or equal to {most}, got {asked}"),),
            frozenset(_EXTENSIONS),
            lists="chat",
            most=5,
        ),
        Provider(
            "xAI",
            "docs.x.ai/docs/api-reference",
            (
                xai,
                most_alternatives(8, "top_logprobs: value {asked} is out of range, must be at most {most}"),
            ),
            frozenset(_EXTENSIONS),
            lists="chat",
            most=8,
            constrains=frozenset({"json_schema"}),
        ),
        Provider(
            "a server that thinks in its text",
            "api-docs.deepseek.com/guides/reasoning_model (without a parser)",
            drops=frozenset(_EXTENSIONS),
            thinks="lone",
            usage=False,
        ),
        Provider(
            "a gateway that lists the drawn token alone",
            "docs.litellm.ai/docs/completion/input",
            drops=frozenset(_EXTENSIONS),
            lists="drawn",
        ),
    ]

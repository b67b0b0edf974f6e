"""An answer of a model here that thinks first: the thought is drawn, ended, and then the answer begins.

Two draws, so that a cap on the thought can be kept, and an answer's beginning stands behind the thought and
not in its place. With a number of tokens the thought ends there, for the model too, and the answer has all
of ``max_tokens``; without one, thought and answer share them, and an answer out of their reach is cut off.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace

from cai.chat.thinking import Thinking
from cai.engines.local.answers import CompletionJob, TextSide
from cai.run.journal import derive_seed
from cai.values.errors import NoLogprobsError
from cai.values.types import Completion, CompletionRequest

Draw = Callable[[CompletionJob], Awaitable[list[int]]]
"""Runs a job → the token ids that were drawn, its end token among them."""


def require_no_thought(text: TextSide, name: str) -> None:
    """Raise NoLogprobsError where the options' log-probabilities would be those of a thought's beginning."""
    if text.thinking is not None:
        raise NoLogprobsError(
            f"{name} thinks before it answers (thinking is set), and log-probabilities of an answer are read "
            "at its beginning. Read labels from sampled verdicts (--set label.read=samples), or set "
            "thinking: false"
        )


async def complete(text: TextSide, request: CompletionRequest, most: int | None, draw: Draw) -> Completion:
    """The answer to ``request``, after a thought of ``most`` tokens (True: no cap of its own).

    Raises:
        ItemError: the prompt leaves no room.
    """
    form = text.thinking
    if form is None:
        job = text.completion(request)
        return text.finish(job, await draw(job))
    job = _thought(text, form, request, most)
    drawn = await draw(job)
    ids = drawn[:-1] if drawn and drawn[-1] in text.end_ids and drawn[-1] != form.end_id else drawn
    ended = _ends(form, ids)
    if not ended and not form.begun(ids):
        return await _unthought(text, request, job, drawn, draw)
    if not ended and (most is True or len(ids) < len(drawn)):
        return Completion("", "length", len(job.prompt), len(drawn), len(drawn))
    prompt = [*job.prompt, *ids, *form.continuation(request.prefill, ended)]
    left = request.sampling.max_tokens - (len(drawn) if most is True else 0)
    if left < 1:
        return Completion("", "length", len(job.prompt), len(drawn), len(drawn))
    sampling, seed = replace(request.sampling, max_tokens=left), derive_seed(request.seed, "answer")
    rest = text.job(prompt, sampling, seed, bool(request.prefill))
    answer = text.finish(rest, await draw(rest))
    return replace(
        answer,
        text=answer.text if request.prefill else answer.text.lstrip(),
        prompt_tokens=len(job.prompt),
        completion_tokens=len(drawn) + answer.completion_tokens,
        thought_tokens=len(drawn) + answer.thought_tokens,
    )


def _thought(text: TextSide, form: Thinking, request: CompletionRequest, most: int | None) -> CompletionJob:
    """The draw of the thought. The request's own stops are the answer's and do not end it."""
    longest = request.sampling.max_tokens if most is True or most is None else most
    sampling = replace(request.sampling, max_tokens=longest, stop=())
    job = text.job(form.prompt(request.messages), sampling, request.seed)
    if form.end_id is not None:
        job.ends = frozenset({form.end_id})
    else:
        job.stop = (*job.stop, form.end)
    return job


def _ends(form: Thinking, ids: list[int]) -> bool:
    if form.end_id is not None:
        return form.end_id in ids
    return form.end in form.chat.decode(ids)


async def _unthought(
    text: TextSide, request: CompletionRequest, job: CompletionJob, drawn: list[int], draw: Draw
) -> Completion:
    """The model has answered at once: what it drew is the answer's beginning, unless another is asked for."""
    if request.prefill:
        plain = text.completion(request)
        answer = text.finish(plain, await draw(plain))
        return replace(answer, completion_tokens=len(drawn) + answer.completion_tokens)
    whole = replace(job, stop=(*request.sampling.stop, *text.template_stops), ends=frozenset(), output=[])
    more = request.sampling.max_tokens - len(drawn)
    if more > 0 and not (drawn and drawn[-1] in text.end_ids):
        sampling = replace(request.sampling, max_tokens=more)
        rest = text.job([*job.prompt, *drawn], sampling, derive_seed(request.seed, "answer"))
        drawn = [*drawn, *await draw(rest)]
    return text.finish(whole, drawn[: request.sampling.max_tokens])

"""Engine over any OpenAI-compatible server: hosted services, ``vllm serve``, llama.cpp, and the like.

What a server can do is found out by questions before many are asked (``probe.py``, ``speaker.py``): whether
it continues a turn that was begun, keeps to given options, lists log-probabilities that are its own, and how
its model is made to think or not. What it cannot do is asked for in words, or said to be missing.
What a hosted model's answer depends on is not all in the fingerprint (its weights may change under its name;
``announced.py`` sees what the server tells of that), and seeds are a request, not a promise.
Left out: streaming, the legacy /completions path, tools, images.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from cai.config.run_config import ModelConfig
from cai.engines.batches.pool import Pool, Timing
from cai.engines.batches.service import Service
from cai.engines.engine import Form
from cai.engines.local.answers import cut_at
from cai.engines.purse import Account
from cai.engines.server.client import JsonClient, Patience
from cai.engines.server.learned import ALIKE, NOTHING, Learned, tell_changed
from cai.engines.server.parameters import TOP, Dialect
from cai.engines.server.probe import (
    AS_OBJECT,
    CONSTRAINTS,
    PLAIN,
    Payload,
    Prefill,
    constrained,
    continued,
    find_constraint,
    find_prefill,
    find_thinking,
    option_in,
    still_continues,
    thinking_fields,
)
from cai.engines.server.reply import Reply, read_reply
from cai.engines.server.speaker import Speaker
from cai.engines.server.toplogprobs import FirstToken, Listed, first_token, inconsistent, mass, read_choice
from cai.run.journal import digest
from cai.run.pending import Pending
from cai.values.errors import ItemError, NoLogprobsError
from cai.values.types import (
    Choice,
    ChoiceRequest,
    Completion,
    CompletionRequest,
    Conversation,
    Message,
    as_messages,
)

_LETTERS = ChoiceRequest(
    (Message("user", "Which letter comes first in the alphabet, A or B? Answer with the letter."),),
    ("A", "B"),
    "The answer is: (",
)
# Of the options, where they are asked for in words: below it their ratio is that of words in other sentences.
_ASKED_FOR = 0.1


class OpenAIEngine:
    """``engine.Engine`` over a server's /chat/completions.

    ``constraints`` and ``thinking_ways``: what is tried to keep it to options, and to make it think or not.
    """

    constraints: Sequence[str] = CONSTRAINTS
    thinking_ways = staticmethod(thinking_fields)

    def __init__(
        self,
        config: ModelConfig,
        base_url: str,
        fingerprint: str,
        patience: Patience | None = None,
        account: Account | None = None,
        *,
        client: JsonClient | None = None,
    ) -> None:
        """``client``: another transport than one that sends chat payloads as they are."""
        self.name = config.name
        self.fingerprint = fingerprint
        self._config = config
        self._client = client or JsonClient(config, base_url, patience)
        self._speaker = Speaker(config, self._client, account)
        # What the server turned out to do; None until a probe has shown it.
        self._prefill: Prefill | None = None
        self._constraint: str | None = None
        self._thinking: Payload | None = None if config.thinking is not None else {}
        self._otherwise = ""  # what that does not do
        self._lists: bool = False  # log-probabilities, proven
        self._first: tuple[str, float] | None = None  # what it listed first then
        self._unlisted: NoLogprobsError | None = None  # why it gives none
        self._probing = asyncio.Lock()
        # By an earlier process; what the server can is shown again before it is relied on (``learned.py``).
        self._known = NOTHING
        self.keep: Callable[[Learned], None] = lambda learned: None
        self._speaker.on_lesson = self._kept

    async def complete(self, request: CompletionRequest) -> Completion:
        """The answer without the prefill, without thought, and less what follows a stop.

        Raises:
            ItemError: the server refuses the request, or its answer is none (``reply.py``).
        """
        sampling = request.sampling
        fields: Payload = {
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "seed": request.seed % 2**63,
            "max_tokens": sampling.max_tokens + self._room_for_thought,
        }
        if sampling.stop:
            fields["stop"] = list(sampling.stop)
        words = f"Begin your answer with exactly this text:\n{request.prefill}" if request.prefill else ""
        prefill, form = request.prefill, ""
        if request.options:
            form = await self._constraint_form()
            fields |= {} if form == "plain" else constrained(form, request.options)
            words = _one_of(request.options, prefill)
            if form in AS_OBJECT or (prefill and (await self._prefill_form()).form == "words"):
                prefill = ""
        reply = await self._ask(request.messages, prefill, words, fields, item=True)
        text = option_in(reply.text) if form in AS_OBJECT else reply.text
        if prefill and (await self._prefill_form()).form != "continued" and text.lstrip().startswith(prefill):
            text = text.lstrip().removeprefix(prefill)
        text, stopped = cut_at(text, sampling.stop)
        return Completion(
            text,
            "stop" if stopped else reply.finish,
            reply.prompt_tokens,
            reply.completion_tokens,
            reply.thought_tokens,
        )

    async def choose(self, request: ChoiceRequest) -> Choice:
        """Log-probabilities of options that are one token each, with or without a space before it.

        An option outside the server's list is bounded by the smallest value in it (``toplogprobs.py``).

        Raises:
            ItemError: no option is among the tokens that the server lists.
            NoLogprobsError: the server gives no log-probabilities, or none that are its own.
        """
        await self.require_logprobs()
        reply, listed = await self._listed(request, item=True)
        choice = read_choice(request.options, listed, reply.said, reply.prompt_tokens)
        if await self._in_words(request) and mass(choice) < _ASKED_FOR:
            raise ItemError(
                "the model does not answer with an option when it is asked to in words",
                f"{', '.join(request.options)} have {mass(choice):.3f} together; it began {reply.said!r}",
            )
        return choice

    async def _in_words(self, request: ChoiceRequest) -> bool:
        return not request.prefill or (await self._prefill_form()).form != "continued"

    async def forms(self, forms: Sequence[Form]) -> dict[Form, str]:
        """How the server is asked for each; found by a probe where it was not yet."""
        found: dict[Form, str] = {}
        for form in forms:
            if form == "options":
                found[form] = await self._constraint_form()
            else:
                prefill = (await self._prefill_form()).form
                echoed = "words" if form == "choice" else "continued"
                found[form] = echoed if prefill == "echoed" else prefill
        return found

    async def require_logprobs(self) -> None:
        """Let the server show that it lists log-probabilities, and that they are of its own answers.

        Raises:
            NoLogprobsError: it does not.
        """
        if self._unlisted is not None:
            raise self._unlisted
        if self._lists:
            return
        await self._thinking_fields()
        await self._prefill_form()
        await self._show_again()
        await self._prefill_form()  # anew, where that has shown another server
        try:
            await self._prove_logprobs()
        except NoLogprobsError as error:
            self._unlisted = error
            self._kept()
            raise

    async def _show_again(self) -> None:
        """Of log-probabilities that an earlier process was given: whether they are still what they were."""
        async with self._probing:
            known = self._known.first
            if self._lists or known is None:
                return
            try:
                reply, listed = await self._listed(_LETTERS)
                same = not reply.thinks and listed.likeliest.like(Listed(*known), ALIKE)
            except (ItemError, NoLogprobsError):
                same = False
            if same:
                self._lists, self._first = True, known
            else:
                self._forget()

    async def _prove_logprobs(self) -> None:
        async with self._probing:
            if not self._lists:
                reply, listed = await self._listed(_LETTERS)
                if listed.nameless and not self._speaker.dialect.named:
                    self._speaker.dialect = replace(self._speaker.dialect, named=True)
                    reply, listed = await self._listed(_LETTERS)
                await self._require_own(reply, listed)
                self._lists, self._first = True, listed.likeliest.as_pair()
                self._kept()

    @property
    def dialect(self) -> Dialect:
        """Which parameters the server takes, as far as is known."""
        return self._speaker.dialect

    @property
    def learned(self) -> Learned:
        """What is known of the server by now; what an earlier process knew, where nobody has asked yet."""
        unlisted = self._unlisted.why if self._unlisted is not None else ""
        return Learned(
            self._speaker.dialect,
            self._prefill or self._known.prefill,
            self._constraint or self._known.constraint,
            self._thinking or self._known.thinking,
            self._otherwise,
            None if unlisted else self._first or self._known.first,
            unlisted,
        )

    def recall(self, known: Learned) -> None:
        """Begin with what an earlier process has learned of the same server."""
        self._known = known
        self._speaker.dialect = known.dialect
        if known.prefill is not None and known.prefill.form == "words":
            self._prefill = known.prefill
        if known.constraint == PLAIN:
            self._constraint = known.constraint
        if known.otherwise and known.thinking is not None and self._thinking is None:
            self._thinking, self._otherwise = known.thinking, known.otherwise
            self._speaker.tell(f"{known.otherwise} (thinking: {str(self._config.thinking).lower()})")
        if known.unlisted:
            self._unlisted = self._speaker.no_logprobs(known.unlisted)

    def _kept(self) -> None:
        self.keep(self.learned)

    def _forget(self) -> None:
        """The server is not what it was: what an earlier process knew is no longer relied on."""
        tell_changed(self.name, self.base_url)
        if self._prefill == self._known.prefill:
            self._prefill = None
        if self._constraint == self._known.constraint:
            self._constraint = None
        self._unlisted = None
        self._known = NOTHING
        self._speaker.dialect = Dialect()

    @property
    def base_url(self) -> str:
        return self._client.base_url

    async def models(self) -> list[Any]:
        """The entries of the server's list of models, as they are; none where it has no such list."""
        listed = (await self._client.glance("/models")).get("data")
        return listed if isinstance(listed, list) else []

    def send_in_batches(
        self, service: Callable[[JsonClient], Service], pending: Pending, timing: Timing | None = None
    ) -> None:
        """From now on the run's own questions are sent together; those about the server are not."""
        self._speaker.batches = Pool(self._client, service(self._client), pending, timing)

    async def close(self) -> None:
        if self._speaker.batches is not None:
            await self._speaker.batches.close()
        await self._client.close()

    # --- What the server turned out to do ---------------------------------------------------

    async def _prefill_form(self) -> Prefill:
        if self._prefill is None:
            await self._thinking_fields()
            async with self._probing:
                if self._prefill is None:
                    known = self._known.prefill
                    if known is not None and not await still_continues(self._post, known):
                        self._forget()
                        known = None
                    self._prefill = known or await find_prefill(self._post)
                    self._kept()
        return self._prefill

    async def _constraint_form(self) -> str:
        if self._constraint is None:
            await self._thinking_fields()
            async with self._probing:
                if self._constraint is None:
                    known = self._known.constraint
                    if known is not None and await find_constraint(self._post, (known,)) != known:
                        self._forget()
                        known = None
                    self._constraint = known or await find_constraint(self._post, self.constraints)
                    self._kept()
        return self._constraint

    async def _thinking_fields(self) -> Payload:
        if self._thinking is None:
            async with self._probing:
                if self._thinking is None:
                    wanted = self._config.thinking
                    assert wanted is not None
                    known, otherwise = self._known.thinking, ""
                    if known is not None:
                        known, otherwise = await find_thinking(self._speaker.ask, wanted, [known])
                        if otherwise:
                            self._forget()
                            known = None
                    if known is None:
                        known, otherwise = await find_thinking(
                            self._speaker.ask, wanted, self.thinking_ways(wanted)
                        )
                    self._thinking, self._otherwise = known, otherwise
                    if otherwise:
                        self._speaker.tell(f"{otherwise} (thinking: {str(wanted).lower()})")
                    self._kept()
        return self._thinking

    @property
    def _room_for_thought(self) -> int:
        """Tokens beside those of the answer, where so many of thought were asked for."""
        budget = self._config.thinking
        return budget if isinstance(budget, int) and not isinstance(budget, bool) else 0

    async def _listed(self, request: ChoiceRequest, item: bool = False) -> tuple[Reply, FirstToken]:
        """What the server lists in the place of the option.

        Raises:
            NoLogprobsError: nothing.
        """
        fields: Payload = {
            "temperature": 1.0,
            "top_p": 1.0,
            "max_tokens": 1,
            "logprobs": True,
            "top_logprobs": TOP[0],
        }
        reply = await self._ask_options(request, fields, item)
        listed = first_token(reply.logprobs)
        if listed is None:
            raise self._speaker.no_logprobs("its answers have none, though they were asked for")
        return reply, listed

    async def _require_own(self, reply: Reply, listed: FirstToken) -> None:
        """Compare what is listed for a question with the greedy answer to it.

        Raises:
            NoLogprobsError: they are not of one distribution, or not of the answer.
        """
        if reply.thinks:
            raise self._speaker.no_logprobs(
                "it thinks before it answers, and what is listed is of its thought; try thinking: false"
            )
        if listed.nameless:
            raise self._speaker.no_logprobs("it lists tokens by numbers, from which no text can be known")
        if len(listed.top) < 2:
            raise self._speaker.no_logprobs("it lists the token that came and no other")
        greedy = (await self._ask_options(_LETTERS, {"temperature": 0.0, "max_tokens": 2})).said
        near = float("inf") if "temperature" in self._speaker.dialect.dropped else 0.25
        if why := inconsistent(listed, greedy, near):
            raise self._speaker.no_logprobs(why)

    # --- Asking -----------------------------------------------------------------------------

    async def _ask_options(self, request: ChoiceRequest, fields: Payload, item: bool = False) -> Reply:
        words = _one_of(request.options, request.prefill)
        return await self._ask(request.messages, request.prefill, words, fields, choosing=True, item=item)

    async def _ask(
        self,
        messages: Conversation,
        prefill: str,
        words: str,
        fields: Payload,
        *,
        choosing: bool = False,
        item: bool = False,
    ) -> Reply:
        """Ask with the prefill as a turn to be continued, or in words where that is not done.

        ``item``: it is a run's own question, which may go into a batch, and not one about the server.
        """
        asked = as_messages(messages)
        form = await self._prefill_form() if prefill else Prefill("words")
        if prefill and (form.form == "continued" or (form.form == "echoed" and not choosing)):
            fields = {**fields, **continued(form.way, asked, prefill)}
        else:
            if words:
                asked[-1] = {**asked[-1], "content": f"{asked[-1]['content']}\n\n{words}"}
            fields = {**fields, "messages": asked}
        if not item:
            return read_reply(await self._post(fields))
        return await self._answer({**await self._thinking_fields(), **fields})

    async def _answer(self, payload: Payload) -> Reply:
        """The reply to a run's own question, from a batch where those are made."""
        greedy = {"seed"} if payload["temperature"] == 0 else set()
        name = digest(self.fingerprint, {n: v for n, v in payload.items() if n not in greedy})
        answer = await self._speaker.ask(payload, name)
        try:
            return read_reply(answer)
        except ItemError:
            self._speaker.forget(name)
            raise

    async def _post(self, payload: Payload) -> Payload:
        return await self._speaker.ask({**await self._thinking_fields(), **payload})


def _one_of(options: Sequence[str], prefill: str) -> str:
    words = f"Answer with one of these and nothing else: {', '.join(options)}"
    return f"{prefill.strip()} …\n{words}" if prefill.strip() else words

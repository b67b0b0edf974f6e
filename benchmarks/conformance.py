"""What cai makes of every kind of server: as critic, and as labeler, against labels that are known.

    python -m benchmarks.conformance            the table on the screen
    python -m benchmarks.conformance --write    the table into docs/servers.md

Each server is a stub on loopback that behaves as its public documentation says, around one model whose P(A)
is known for each question (``tests/engines/server_stubs.py``). A label is wrong if it is given and differs:
by more than 1e-3 if it was read from log-probabilities, by more than four standard errors if it was sampled.
Left out: speed, limits of rate and outages, which are the client's.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import math
import sys
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from cai.config.run_config import ModelConfig
from cai.engines.backend import base_url
from cai.engines.batches.pool import Timing
from cai.engines.hosted.protocols import send_in_batches, server_engine
from cai.engines.server.client import Patience
from cai.engines.server.openai import OpenAIEngine
from cai.run.journal import Journal
from cai.values.errors import CaiError, ItemError, NoLogprobsError
from cai.values.types import Choice, ChoiceRequest, CompletionRequest, Message, Sampling

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "servers.md"
BEGIN, END = "<!-- table -->\n", "<!-- end of table -->"
sys.path.insert(0, str(ROOT / "tests" / "engines"))

from server_stubs import Provider, p_first, providers, serving, truth  # noqa: E402

QUALITIES = ((4, 3), (2, 5), (1, 1), (6, 4))
PREFILL = "The answer is: ("
SAMPLES = 64
QUICK = Patience(attempts=2, first_pause=0.01, longest_pause=0.1, timeout=5.0, connect_timeout=1.0)


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one server did. ``labels``: scored ones; ``wrong``: of these; ``reason``: where there are none."""

    name: str
    source: str
    critic: str
    labeler: str
    labels: int
    wrong: int
    reason: str = ""

    @property
    def row(self) -> str:
        labels = f"{self.labels} of {len(QUALITIES)}, {self.wrong} wrong"
        why = self.reason.replace("|", "\\|").replace("\n", " ")
        return f"| {self.name} | {self.critic} | {self.labeler} | {labels} | {why} | {self.source} |"


async def outcome(provider: Provider) -> Outcome:
    with serving(provider) as url, TemporaryDirectory() as folder:
        config = ModelConfig(name="m", engine=provider.engine, base_url=url, batch=provider.batch)
        engine = server_engine(config)(config, base_url(config), "f", QUICK)
        journal = Journal(Path(folder) / "journal.sqlite")
        if config.batch:
            send_in_batches(engine, config, journal, Timing(0.02, 0.01, 0.02))
        try:
            critic = await _critic(engine)
            how, found, reason = await _labels(engine)
        finally:
            await engine.close()
            journal.close()
    known = [p for p in found if p is not None]
    wrong = sum(p is not None and _differs(p, q, how) for p, q in zip(found, QUALITIES, strict=True))
    return Outcome(provider.name, provider.source, critic, how, len(known), wrong, reason)


async def _critic(engine: OpenAIEngine) -> str:
    ask = CompletionRequest(
        (Message("user", "Criticise this response."),), Sampling(0.7, 0.9, 64, ("END",)), 1
    )
    begun = CompletionRequest(ask.messages, Sampling(1.0, 1.0, 64), 2, "Well, then")
    try:
        answer = await engine.complete(ask)
        await engine.complete(begun)
        form = (await engine.forms(["prefill"]))["prefill"]
    except CaiError as error:
        return f"refused: {error}"
    if answer.finish != "stop" or "think about" in answer.text or not answer.text:
        return f"wrong: {answer.text[:40]!r} ({answer.finish})"
    left_out = sorted(engine.dialect.dropped)
    also = [f"without {', '.join(left_out)}"] if left_out else []
    also += ["thought apart"] if answer.thought_tokens else []
    return "; ".join((f"works, a beginning is {'continued' if form == 'continued' else 'in words'}", *also))


async def _labels(engine: OpenAIEngine) -> tuple[str, list[float | None], str]:
    """How labels were read, P(A) of each question, and why some have none."""
    found: list[float | None] = []
    reason = ""
    asked = (ChoiceRequest((_question(a, b),), ("A", "B"), PREFILL) for a, b in QUALITIES)
    for choice in await asyncio.gather(*map(engine.choose, asked), return_exceptions=True):
        if isinstance(choice, Choice):
            found.append(p_first(choice.logprobs))
        elif isinstance(choice, ItemError):
            found.append(None)
            reason = str(choice)
        elif isinstance(choice, NoLogprobsError):
            return await _sampled(engine, str(choice).split("(", 1)[1].split("), and labels", 1)[0])
        else:
            raise choice
    form = (await engine.forms(["choice"]))["choice"]
    return f"log-probabilities, {'a continued turn' if form == 'continued' else 'in words'}", found, reason


async def _sampled(engine: OpenAIEngine, why: str) -> tuple[str, list[float | None], str]:
    found: list[float | None] = []
    for a, b in QUALITIES:
        many = (
            CompletionRequest((_question(a, b),), Sampling(1.0, 1.0, 64), seed, PREFILL, ("A", "B"))
            for seed in range(SAMPLES)
        )
        said = [answer.text.strip() for answer in await asyncio.gather(*map(engine.complete, many))]
        read = [text == "A" for text in said if text in ("A", "B")]
        found.append(sum(read) / len(read) if len(read) > SAMPLES / 2 else None)
    form = (await engine.forms(["options"]))["options"]
    return f"samples, {'read strictly' if form == 'plain' else form}", found, why


def _question(a: int, b: int) -> Message:
    return Message("user", f"Which is better?\n(A) quality {a}\n(B) quality {b}")


def _differs(p: float, qualities: tuple[int, int], how: str) -> bool:
    true = truth(_question(*qualities).content)
    error = 4 * math.sqrt(true * (1 - true) / SAMPLES) if how.startswith("samples") else 1e-3
    return abs(p - true) > error


def table() -> list[Outcome]:
    logging.getLogger("cai.engines").setLevel(logging.ERROR)

    async def every() -> list[Outcome]:
        return [await outcome(provider) for provider in providers()]

    return asyncio.run(every())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true")
    found = table()
    head = "| server | as critic | as labeler | labels | why not log-probabilities | made from |\n"
    head += "| --- | --- | --- | --- | --- | --- |\n"
    text = head + "".join(f"{one.row}\n" for one in found)
    if parser.parse_args().write:
        page = PAGE.read_text(encoding="utf-8")
        before, rest = page.split(BEGIN)
        PAGE.write_text(before + BEGIN + text + END + rest.split(END)[1], encoding="utf-8")
    else:
        print(text)
    if wrong := [one.name for one in found if one.wrong or not one.critic.startswith("works")]:
        raise SystemExit(f"wrong: {', '.join(wrong)}")


if __name__ == "__main__":
    main()

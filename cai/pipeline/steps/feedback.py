"""The steps that make data: generate, revise, select, sample, label."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace

from cai.data import tables
from cai.data.promptsets import load_prompts
from cai.engines import models
from cai.human.agreement.label_agreement import label_agreement
from cai.human.collected import votes_of
from cai.pipeline.steps.step import Run, ask_all, record_counts, require
from cai.pocket.familiar import strangeness
from cai.stages.generate import generate, pair
from cai.stages.label import SAYS_NOTHING, Labeler, label
from cai.stages.label_worth import PREFIX, advice, doubts, label_worth, told
from cai.stages.revise import Critic, revise
from cai.stages.select import demonstrations, outcome_counts, with_helpful
from cai.values.errors import CaiError
from cai.values.types import Comparison, Failure, Preference, Prompt, Response, Score, Transcript
from cai.values.words import excerpt


async def step_generate(run: Run) -> None:
    """Prompts → responses.parquet, and helpful.parquet from the helpful prompts."""
    sets = load_prompts(run.config)
    engine = run.models.engine(run.config.model)
    strange = strangeness([prompt.messages[-1].content for prompt in sets.train])
    if strange is not None and run.config.model.name == "pocket":
        run.progress.say(f"generate: {strange}")

    async def answer(prompt: Prompt) -> Response:
        return await generate(prompt, engine, run.config.generate, run.seed("generate"))

    for note in sets.notes:
        run.progress.say(f"generate: prompts {note}")
    if sets.opened_alike:
        run.progress.say(
            f"generate: {sets.opened_alike:,} prompts open as an evaluation prompt does and are left out"
        )
    responses = await ask_all(run, "generate", engine, _by_id(sets.train), answer)
    helpful = await ask_all(run, "helpful", engine, _by_id(sets.helpful), answer)
    run.folder.write_table("responses", map(tables.response_row, responses.done))
    run.folder.write_table("helpful", map(tables.response_row, helpful.done))
    failures = [
        *sets.failures,
        *_quoted(responses.failures, sets.train),
        *_quoted(helpful.failures, sets.helpful),
    ]
    run.folder.record_failures({"prompts", "generate", "helpful"}, failures)
    record_counts(run, "prompts", duplicates=sets.duplicates, opened_alike=sets.opened_alike)
    record_counts(run, "generate", responses=len(responses.done), helpful=len(helpful.done))
    require(responses.done, "generate: no prompt got a response")


async def step_revise(run: Run) -> None:
    """responses.parquet → transcripts.parquet: every round of critique and revision."""
    responses = run.folder.read_table("responses", tables.response_from)
    engine = run.models.engine(models.critic(run.config))
    critic, seed = Critic(engine, run.templates, run.config.revise), run.seed("revise")

    async def work(response: Response) -> Transcript:
        return await revise(response, critic, run.constitution, seed)

    items = [(response.prompt.id, response) for response in responses]
    results = await ask_all(run, "revise", engine, items, work)
    run.folder.write_table("transcripts", map(tables.transcript_row, results.done))
    run.folder.record_failures({"revise"}, results.failures)
    record_counts(run, "revise", transcripts=len(results.done), **outcome_counts(results.done))
    require(results.done, "revise: no response could be revised")


async def step_select(run: Run) -> None:
    """transcripts.parquet + helpful.parquet → demonstrations.parquet, by the rule in stages/select.py."""
    transcripts = run.folder.read_table("transcripts", tables.transcript_from)
    helpful = run.folder.read_table("helpful", tables.response_from)
    learned = [d for t in transcripts for d in demonstrations(t, run.config.sft.rounds)]
    rows = with_helpful(learned, helpful, run.config.sft.helpful_share, run.seed("select"))
    run.folder.write_table("demonstrations", map(tables.demonstration_row, rows))
    origins = [row.origin for row in rows]
    counts = {origin: origins.count(origin) for origin in ("revision", "kept", "helpful")}
    record_counts(run, "select", **counts)
    require(rows, "select: nothing to learn; every revision was empty, cut off, unchanged or refused")


async def step_sample(run: Run) -> None:
    """Prompts + the SFT model → comparisons.parquet: n answers each, every pair of different ones."""
    responses = run.folder.read_table("responses", tables.response_from)
    engine = run.models.engine(models.trained(run.config, run.folder, "sft"))
    config, seed = run.config.sample, run.seed("sample")

    async def answer(item: tuple[Prompt, int]) -> Response:
        return await generate(item[0], engine, config, seed, item[1])

    items = [(f"{r.prompt.id}/{i}", (r.prompt, i)) for r in responses for i in range(config.n)]
    results = await ask_all(run, "sample", engine, items, answer)
    answers: dict[str, list[Response]] = {}
    for response in results.done:
        answers.setdefault(response.prompt.id, []).append(response)
    comparisons = [comparison for several in answers.values() for comparison in pair(several)]
    run.folder.write_table("comparisons", map(tables.comparison_row, comparisons))
    run.folder.record_failures({"sample"}, results.failures)
    identical = sum(1 for several in answers.values() if len({r.text for r in several}) < len(several))
    record_counts(run, "sample", comparisons=len(comparisons), prompts_with_identical=identical)
    require(comparisons, "sample: all answers to every prompt were identical; raise sample.temperature")


async def step_label(run: Run) -> None:
    """comparisons.parquet → preferences.parquet: P(a preferred), unscored pairs with their reason.

    metrics.json says under ``label/…`` what the labels are worth (``stages/label_worth.py``), and so does the
    step itself. A pair with a response that says nothing is not asked about and no failure: it is counted.
    """
    comparisons = run.folder.read_table("comparisons", tables.comparison_from)
    engine = run.models.engine(models.labeler(run.config))
    labeler, seed = Labeler(engine, run.templates, run.config.label), run.seed("label")

    async def work(comparison: Comparison) -> Preference:
        return await label(comparison, labeler, run.constitution, seed)

    results = await ask_all(run, "label", engine, [(c.id, c) for c in comparisons], work)
    run.folder.write_table("preferences", map(tables.preference_row, results.done))
    silent = [p for p in results.done if p.unscored == SAYS_NOTHING]
    unread = [p for p in results.done if p.p is None and p.unscored != SAYS_NOTHING]
    failures = [Failure("label", p.comparison.id, p.unscored or "", p.raw or "") for p in unread]
    run.folder.record_failures({"label"}, [*results.failures, *failures])
    flips = sum(j.flipped is True for p in results.done for j in p.judgements)
    counts = {"unscored": len(unread), "says_nothing": len(silent), "order_flips": flips}
    worth = label_worth(results.done)
    if (agreement := label_agreement(votes_of(run.folder), results.done)) is not None:
        worth["agreement"] = agreement
    exact = {name: Score(count, count, count, count) for name, count in counts.items()}
    scores = {f"{PREFIX}{name}": score for name, score in (exact | worth).items()}
    run.folder.record_metrics(scores, drop=PREFIX)
    if worth["scored"].value == 0:
        reasons = Counter(p.unscored for p in results.done).most_common(3)
        told_why = "; ".join(f"{count} × {reason}" for reason, count in reasons) or "there was none"
        raise CaiError(f"label: no pair could be scored: {told_why}")
    if found := doubts(scores):
        run.progress.say(f"label: {told(scores)}; {'; '.join(found)}")
    if (advised := advice(scores)) is not None:
        run.progress.say(f"label: {advised}")


def _quoted(failures: Iterable[Failure], prompts: Iterable[Prompt]) -> list[Failure]:
    """``failures`` with the beginning of each prompt: an id alone finds no row of the user's file."""
    texts = {prompt.id: prompt.messages[-1].content for prompt in prompts}
    return [replace(f, detail=f"{f.detail}; prompt: {excerpt(texts[f.item], 60)!r}") for f in failures]


def _by_id(prompts: Iterable[Prompt]) -> list[tuple[str, Prompt]]:
    return [(prompt.id, prompt) for prompt in prompts]

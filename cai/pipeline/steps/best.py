"""The steps of best-of-n: as data for SFT (sample, mix), and as a baseline at evaluation (answer).

All responses are drawn first and scored after: the reward may be a model that needs the memory, and one
call with many responses is what a reward model batches well.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from cai.config.run_config import ModelConfig, SamplingConfig
from cai.config.train_config import RewardTerm
from cai.data import tables
from cai.data.promptsets import load_prompts
from cai.engines import models
from cai.engines.backend import concurrency
from cai.pipeline.steps.step import Run, ask_all, prompts_of, record_counts, require
from cai.rewards.best_of_n import Candidate, demonstration, expected_best, kl_bound, pick, sizes
from cai.rewards.reward import Reward, Scored
from cai.rewards.terms import RewardContext, prepare_reward
from cai.stages.generate import generate
from cai.stages.judge_reading import Judging
from cai.stages.select import with_helpful
from cai.statistics.intervals import interval
from cai.values.errors import ItemError
from cai.values.types import Failure, Prompt, Response, Score

CHUNK = 512  # responses scored in one call: enough to batch well, few enough to see progress


def reward_of(
    run: Run, terms: Sequence[RewardTerm] | None = None, labeler: ModelConfig | None = None
) -> Callable[[], Reward]:
    """What opens the run's reward; the same reward in every stage.

    ``terms``: other parts than those of ``config.reward``. ``labeler``: another way to run the judge's
    model than the run's own.

    Raises:
        UsageError: as ``prepare_reward`` does.
    """
    judge = labeler or models.labeler(run.config)
    context = RewardContext(
        reward_model=run.folder.checkpoint("reward"),
        labeler=lambda: run.models.engine(judge),
        templates=run.templates,
        constitution=run.constitution,
        seed=run.seed("reward"),
        max_concurrency=concurrency(judge),
        how=Judging(run.config.label),
    )
    return prepare_reward(run.config.reward if terms is None else terms, context)


async def step_best_sample(run: Run) -> None:
    """Prompts + the SFT model + the reward → best_of_n.parquet: n responses each, one of them chosen."""
    stage, config = "best-sample", run.config.best_of_n
    prompts = prompts_of(run)
    sampling = SamplingConfig(temperature=config.temperature, max_tokens=config.max_tokens)
    groups, failures = await _candidates(run, stage, prompts, sampling, run.seed(stage))
    rows = [candidate for group in groups for candidate in group]
    run.folder.write_table("best_of_n", map(candidate_row, rows))
    run.folder.record_failures({stage}, failures)
    unscored = sum(candidate.scored.value is None for candidate in rows)
    record_counts(run, stage, prompts=len(groups), responses=len(rows), unscored=unscored)
    run.folder.record_metrics(_curve(groups, config.n), drop=f"{stage}/best_of_")
    _require(groups, stage, failures)


async def step_best_select(run: Run) -> None:
    """best_of_n.parquet + helpful.parquet → best_demonstrations.parquet.

    Helpful data joins by the share that ``sft`` names, for the same reason as before the first SFT.
    """
    candidates = run.folder.read_table("best_of_n", candidate_from)
    helpful = run.folder.read_table("helpful", tables.response_from)
    best = [demonstration(candidate) for candidate in candidates if candidate.chosen]
    rows = with_helpful(best, helpful, run.config.sft.helpful_share, run.seed("best-select"))
    run.folder.write_table("best_demonstrations", map(tables.demonstration_row, rows))
    record_counts(run, "best-select", best=len(best), helpful=len(rows) - len(best))
    require(best, "best-select: no response was chosen")


async def step_best_answer(run: Run) -> None:
    """Held-out prompts → eval_best-of-n.parquet: the best of n answers of the SFT model to each.

    The first of the n is the answer that ``eval_sft`` has: same seeds, same sampling. Where evaluation is
    greedy, n equal answers would be no choice, and best-of-n's own temperature draws them.
    """
    stage, config = "answer-best-of-n", run.config.evaluate
    temperature = config.temperature or run.config.best_of_n.temperature
    sampling = SamplingConfig(temperature=temperature, top_p=config.top_p, max_tokens=config.max_tokens)
    held_out = load_prompts(run.config).held_out
    groups, failures = await _candidates(run, stage, held_out, sampling, run.seed("evaluate"))
    chosen = [candidate.response for group in groups for candidate in group if candidate.chosen]
    run.folder.write_table("eval_best-of-n", map(tables.response_row, chosen))
    run.folder.record_failures({stage}, failures)
    _require(chosen, stage, failures)


async def _candidates(
    run: Run, stage: str, prompts: Sequence[Prompt], sampling: SamplingConfig, seed: int
) -> tuple[list[list[Candidate]], list[Failure]]:
    """n responses of the SFT model to each prompt with the best one chosen, in the order of ``prompts``.

    Quarantined: a response that could not be drawn, and a prompt none of whose responses has a reward. An
    unscored response is named among the failures too, but stays among its prompt's candidates.
    """
    open_reward = reward_of(run)
    engine = run.models.engine(models.trained(run.config, run.folder, "sft"))

    async def answer(item: tuple[Prompt, int]) -> Response:
        return await generate(item[0], engine, sampling, seed, item[1])

    n = run.config.best_of_n.n
    items = [(f"{prompt.id}/{index}", (prompt, index)) for prompt in prompts for index in range(n)]
    drawn = await ask_all(run, stage, engine, items, answer)
    await run.models.close()
    scored = await _score(run, f"{stage}-reward", open_reward(), drawn.done)
    together: dict[str, list[tuple[Response, Scored]]] = {}
    for response, score in zip(drawn.done, scored, strict=True):
        together.setdefault(response.prompt.id, []).append((response, score))
    groups: list[list[Candidate]] = []
    failures = list(drawn.failures)
    for name, pairs in together.items():
        responses, scores = [r for r, _ in pairs], [s for _, s in pairs]
        failures += [
            Failure(stage, f"{name}/{r.index}", "no reward", s.reason) for r, s in pairs if s.value is None
        ]
        try:
            groups.append(pick(responses, scores))
        except ItemError as error:
            failures.append(Failure(stage, name, error.reason, error.detail))
    return groups, failures


async def _score(run: Run, label: str, reward: Reward, responses: Sequence[Response]) -> list[Scored]:
    scored: list[Scored] = []
    with run.progress.bar(label, len(responses)) as bar:
        for start in range(0, len(responses), CHUNK):
            chunk = responses[start : start + CHUNK]
            scored += await reward.score(chunk)
            bar.advance(len(chunk))
    return scored


def _require(found: Sequence[object], stage: str, failures: Sequence[Failure]) -> None:
    # The last one: those of whole prompts stand behind those of single responses.
    example = f"; for one, {failures[-1].reason}: {failures[-1].detail}" if failures else ""
    require(found, f"{stage}: no prompt has a response with a reward{example}")


def _curve(groups: Sequence[Sequence[Candidate]], n: int) -> dict[str, Score]:
    """Reward of best-of-k and its price in KL for k = 1, 2, 4, …, n.

    ``best-sample/best_of_<k>/reward``: mean over prompts of the unbiased estimate; ``…/kl_bound``: nats.
    A k for which fewer than two prompts have the rewards is left out: there is no interval then.
    """
    rewards = [[c.scored.value for c in group if c.scored.value is not None] for group in groups]
    scores: dict[str, Score] = {}
    for k in sizes(n):
        reward = interval([expected_best(prompt, k) for prompt in rewards if len(prompt) >= k])
        if reward is not None:
            bound = kl_bound(k)
            scores[f"best-sample/best_of_{k}/reward"] = reward
            scores[f"best-sample/best_of_{k}/kl_bound"] = Score(bound, bound, bound, reward.n)
    return scores


def candidate_row(candidate: Candidate) -> tables.Row:
    """``reward`` is null and ``unscored`` says why where there is none; ``parts`` are those of a sum."""
    scored = candidate.scored
    return {
        **tables.response_row(candidate.response),
        "reward": scored.value,
        "unscored": scored.reason or None,
        "parts": [{"name": name, "value": value} for name, value in scored.parts],
        "chosen": candidate.chosen,
    }


def candidate_from(row: dict[str, Any]) -> Candidate:
    parts = tuple((part["name"], part["value"]) for part in row["parts"])
    scored = Scored(row["reward"], row["unscored"] or "", parts)
    return Candidate(tables.response_from(row), scored, row["chosen"])

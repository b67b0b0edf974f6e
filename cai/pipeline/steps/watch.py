"""The step that watches for over-optimisation: proxy and gold reward against √KL.

Methods that draw as they learn have a row for every step, best-of-n one for every n, DPO one for its policy.
Gold is the pocket oracle for pocket prompts, else the run's held-out reward (``gold``), else absent. Rows of
other methods stay, so that one table holds what every method did in this run folder, as long as they are of
the same SFT model and reward model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import islice

from cai.evaluation import overoptimisation
from cai.evaluation.overoptimisation import Point, Rated
from cai.pipeline.steps.best import candidate_from, reward_of
from cai.pipeline.steps.evaluate import answers
from cai.pipeline.steps.step import Run, prompts_of, record_counts
from cai.rewards.best_of_n import Candidate, expected_best, kl_bound, sizes
from cai.run.origin import has_checkpoint, read_origins
from cai.run.threads import apart
from cai.statistics.intervals import interval
from cai.training.rl.rollouts import recorded
from cai.values.types import Response


async def step_watch(run: Run) -> None:
    """What the policy's training drew, or the policy answers → overoptimisation.parquet.

    DPO learns from labels and needs no reward; in a run without one it has no row, and nothing is written.
    """
    method = run.config.method
    if method == "dpo":
        points = await _by_answers(run)
        if not points:
            if not _of_the_same_models(run):
                run.folder.table("overoptimisation").unlink(missing_ok=True)
            return
    else:
        points = await (_by_n(run) if method == "best-of-n" else _by_step(run, method))
    new = [overoptimisation.row(point) for point in points]
    columns = dict.fromkeys(name for row in new for name in row)  # rows of an older version may have fewer
    kept: list[dict[str, object]] = []
    if _of_the_same_models(run):
        rows = run.folder.read_table("overoptimisation", dict)
        kept = [{**columns, **row} for row in rows if row["method"] != method]
    run.folder.write_table("overoptimisation", [*kept, *new])
    turn = overoptimisation.turned_down(points)
    record_counts(run, "watch", steps=len(points), gold_turned_down_at=-1 if turn is None else turn.step)


def _of_the_same_models(run: Run) -> bool:
    """Is there a table whose rows of other methods are of this SFT model and reward model?"""
    origins = read_origins(run.folder)
    made = origins.made
    if not run.folder.table("overoptimisation").exists() or "watch" not in made:
        return False
    read, models = made["watch"].read, {"sft", "reward"} & made.keys()
    return not models & origins.stale and all(origins.outcome(name) == read.get(name) for name in models)


async def _by_step(run: Run, method: str) -> list[Point]:
    """A point for every step's rollouts."""
    prompts = {prompt.id: prompt for prompt in prompts_of(run)}
    steps = recorded(run.folder.checkpoint("policy"))
    rated = [[r for r in rollouts if r.reward is not None] for rollouts, _ in steps]
    drawn = [Response(prompts[r.prompt_id], r.text) for rows in rated for r in rows]
    gold = iter(await _gold(run, run.config.prompts, drawn))
    points = []
    for number, (rows, (_, kl)) in enumerate(zip(rated, steps, strict=True)):
        found = zip(rows, islice(gold, len(rows)), strict=True)
        scored = [Rated(r.prompt_id, r.reward, g) for r, g in found if r.reward is not None]
        points.append(overoptimisation.point(method, number, kl, scored))
    return [p for p in points if p is not None]


async def _by_n(run: Run) -> list[Point]:
    """A point for the best of 1, 2, 4 … n, its KL the bound; ``step`` is that number.

    Both rewards are those of the response with the highest proxy among k, in expectation over which k of the
    n were drawn: the unbiased estimate of ``expected_best``, gold carried along in the order of the proxy.
    """
    groups: dict[str, list[Candidate]] = {}
    for candidate in run.folder.read_table("best_of_n", candidate_from):
        if candidate.scored.value is not None:
            groups.setdefault(candidate.response.prompt.id, []).append(candidate)
    ordered = {name: sorted(group, key=lambda c: c.scored.value or 0.0) for name, group in groups.items()}
    flat = iter(
        await _gold(run, run.config.prompts, [c.response for group in ordered.values() for c in group])
    )
    gold = {name: list(islice(flat, len(group))) for name, group in ordered.items()}
    points = []
    for k in sizes(run.config.best_of_n.n):
        rated = [
            Rated(name, expected_best([c.scored.value or 0.0 for c in group], k), _carried(gold[name], k))
            for name, group in ordered.items()
            if len(group) >= k
        ]
        points.append(overoptimisation.point("best-of-n", k, kl_bound(k), rated))
    return [replace(p, bound=True) for p in points if p is not None]


async def _by_answers(run: Run) -> list[Point]:
    """A point for the policy as it is, from its answers to the held-out prompts; ``step`` is the last update.

    The proxy is the run's reward, where its reward model is trained: what the other methods maximise. KL is
    the mean of log π(y|x) - log π_sft(y|x) over the policy's own answers (k1; Schulman 2020), which is an
    estimate only where they were drawn from π itself, at temperature 1.
    """
    from cai.training.divergence import log_ratios  # loads torch

    rewarded, config = has_checkpoint(run.folder, "reward"), run.config.evaluate
    if not rewarded and run.config.gold is None:
        return []
    if (config.temperature, config.top_p) != (1.0, 1.0):
        run.progress.say("watch: evaluation does not draw at temperature 1, so DPO's KL cannot be estimated")
        return []
    found = await answers(run, "policy")
    run.folder.record_failures({"watch"}, [replace(failure, stage="watch") for failure in found.failures])
    await run.models.close()
    policy, sft = run.folder.checkpoint("policy"), run.folder.checkpoint("sft")
    ratios = await apart(log_ratios, policy, sft, found.done)
    kl = interval([ratio for ratio in ratios if ratio is not None])
    if kl is None:
        return []
    scored = [s.value for s in await reward_of(run)().score(found.done)] if rewarded else []
    proxy = interval([value for value in scored if value is not None])
    verdicts = zip(found.done, await _gold(run, config.prompts, found.done), strict=True)
    known = [(answer.prompt.id, value) for answer, value in verdicts if value is not None]
    gold = overoptimisation.gold_of([value for _, value in known], [name for name, _ in known])
    steps = int(run.folder.read_metrics()["dpo/steps"].value)
    return [Point("dpo", steps, kl.value, proxy, gold, kl_spread=kl)]


def _carried(gold: Sequence[float | None], k: int) -> float | None:
    """None for a prompt with a response that gold can't score: the others would favour some ranks."""
    known = [g for g in gold if g is not None]
    return carried(known, k) if len(known) == len(gold) else None


def carried(gold: Sequence[float], k: int) -> float:
    """Mean gold of the last of every k-subset; ``gold`` in ascending order of the proxy."""
    steps = [expected_best([float(i >= place) for i in range(len(gold))], k) for place in range(len(gold))]
    # steps[i] is P(the best has rank i or higher), so differences are the probabilities of the ranks.
    probability = [high - low for high, low in zip(steps, [*steps[1:], 0.0], strict=True)]
    return sum(p * g for p, g in zip(probability, gold, strict=True))


async def _gold(run: Run, source: str | None, responses: Sequence[Response]) -> list[float | None]:
    """Gold of every response to prompts of ``source``, in order and in one call; None where there is none."""
    if (source or "").startswith("pocket:"):
        from cai.evaluation import oracle_grades

        return [oracle_grades.gold(response.prompt, response.text) for response in responses]
    if run.config.gold is None:
        return [None] * len(responses)
    scored = await reward_of(run, (run.config.gold,))().score(responses)
    return [score.value for score in scored]

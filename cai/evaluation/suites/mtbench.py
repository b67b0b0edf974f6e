"""Two-turn questions in MT-Bench's form (Zheng et al. 2023): ratings by the judge, wins over the baseline.

Every model answers both turns with its own first answer before the second. The judge rates each answer from
1 to 10, and compares whole conversations with the baseline's in both orders of showing; it is shown the
reference answers where the file has them. All answers are sampled as ``evaluate:`` says: MT-Bench has a
temperature of its own for each category (0 to 0.7), which would measure another model than the one in use.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cai.data.tables import Row
from cai.engines.backend import on_a_server
from cai.engines.journaled import JournaledEngine
from cai.evaluation.bench import Bench, Findings, of_model
from cai.evaluation.items import read_items
from cai.evaluation.judging import pairwise
from cai.evaluation.judging.preferring import part_name
from cai.evaluation.judging.principle import of_one
from cai.evaluation.judging.rating import rate, with_references
from cai.evaluation.judging.twoturn import NEEDED, Dialogue, Question, against, converse, question_reader
from cai.stages.judge_reading import Expected
from cai.statistics.clusters import clustered_mean, clustered_proportion
from cai.statistics.length_control import Duel, length_controlled, win_rate
from cai.values.types import Failure, Score

PRINCIPLE = (
    "In every turn the assistant does what the human asks, correctly, completely and clearly, and does not "
    "say more than is of use."
)
Dialogues = dict[str, dict[str, Dialogue]]  # by model and question


@dataclass(frozen=True, slots=True)
class Rated:
    """The judge's rating of one model's answer to one turn."""

    model: str
    question: Question
    turn: int
    rating: Expected


async def measure(bench: Bench) -> Findings:
    """``rating`` and its parts of every contestant; ``win_rate``, ``win_rate_length_controlled`` and
    ``flips`` of all but the baseline.

    Raises:
        UsageError: no row of the file can be used.
    """
    questions, failures = read_items(bench, NEEDED, question_reader())
    dialogues, unanswered = await _answers(bench, questions)
    rated, unread = await _ratings(bench, dialogues)
    verdicts, undecided = await _wins(bench, dialogues)
    scores: dict[str, Score | None] = {}
    for name in dialogues:
        figures = _rating_figures([r for r in rated if r.model == name])
        figures |= _win_figures([v for v in verdicts if v.first == name])
        scores |= {f"{metric}/{name}": score for metric, score in figures.items()}
    return Findings(
        {key: score for key, score in scores.items() if score is not None},
        _rows(dialogues, rated, verdicts),
        [*failures, *unanswered, *unread, *undecided],
        _notes(bench, dialogues),
    )


async def _answers(bench: Bench, questions: Sequence[Question]) -> tuple[Dialogues, list[Failure]]:
    found: Dialogues = {}
    failures: list[Failure] = []
    seed = bench.seed_of("suite", "mtbench")
    for contestant in bench.contestants:
        engine = bench.engine(contestant.model)

        async def work(question: Question, engine: JournaledEngine = engine) -> Dialogue:
            return await converse(question, engine, bench.config, seed)

        items = [(question.id, question) for question in questions]
        results = await bench.each(f"{contestant.name} answers", engine, items, work)
        found[contestant.name] = {dialogue.question.id: dialogue for dialogue in results.done}
        failures += of_model(contestant.name, results.failures)
    return found, failures


async def _ratings(bench: Bench, dialogues: Dialogues) -> tuple[list[Rated], list[Failure]]:
    judge, closed, how = bench.judge_engine(), not on_a_server(bench.judge), bench.judging()

    async def work(item: tuple[str, Dialogue, int]) -> Rated:
        name, dialogue, turn = item
        references = dialogue.question.references[:turn]
        rating = await rate(dialogue.until(turn), references, judge, closed=closed, how=how)
        return Rated(name, dialogue.question, turn, rating)

    items = [
        (f"{name}/{dialogue.question.id} turn {turn}", (name, dialogue, turn))
        for name, own in dialogues.items()
        for dialogue in own.values()
        for turn in (1, 2)
    ]
    results = await bench.each("judge: ratings", judge, items, work)
    return results.done, results.failures


async def _wins(bench: Bench, dialogues: Dialogues) -> tuple[list[pairwise.Verdict], list[Failure]]:
    """Everybody's conversations against the baseline's, on the questions that both answered."""
    base = dialogues[bench.baseline]
    items = [
        (f"{name}-{bench.baseline}/{number}", (name, own[number], base[number]))
        for name, own in dialogues.items()
        for number in own
        if name != bench.baseline and number in base
    ]
    if not items:
        return [], []
    labeler, seed = bench.labeler(), bench.seed_of("suite", "mtbench", "wins")

    async def work(item: tuple[str, Dialogue, Dialogue]) -> pairwise.Verdict:
        name, one, other = item
        beside = with_references(one.question.references)
        quality = of_one("quality", PRINCIPLE, bench.templates, beside)
        names = ("quality", name, bench.baseline)
        return await pairwise.duel(against(one, other), names, quality, labeler, seed)

    results = await bench.each("judge: comparisons", bench.judge_engine(), items, work)
    return results.done, results.failures


def _rating_figures(rated: Sequence[Rated]) -> dict[str, Score | None]:
    """``rating``, ``rating_first_turn``, ``rating_second_turn`` and ``rating_<category>``."""

    def over(part: Sequence[Rated]) -> Score | None:
        values, clusters = [r.rating.value for r in part], [r.question.id for r in part]
        return clustered_mean(values, clusters, low=1.0, high=10.0)

    found = {"rating": over(rated)}
    found["rating_first_turn"] = over([r for r in rated if r.turn == 1])
    found["rating_second_turn"] = over([r for r in rated if r.turn == 2])
    names = {part_name(r.question.category) for r in rated} - {""}
    for category in sorted(names):
        found[f"rating_{category}"] = over([r for r in rated if part_name(r.question.category) == category])
    return found


def _win_figures(verdicts: Sequence[pairwise.Verdict]) -> dict[str, Score | None]:
    duels = [Duel(v.prompt_id, v.p, v.length_first, v.length_second) for v in verdicts]
    asked = [v for v in verdicts if v.orders]
    return {
        "win_rate": win_rate(duels),
        "win_rate_length_controlled": length_controlled(duels),
        "flips": clustered_proportion([v.flipped for v in asked], [v.prompt_id for v in asked]),
    }


def _rows(dialogues: Dialogues, rated: Sequence[Rated], verdicts: Sequence[pairwise.Verdict]) -> list[Row]:
    """A row per model and question; what could not be read is null."""
    ratings = {(r.model, r.question.id, r.turn): r.rating for r in rated}
    wins = {(v.first, v.prompt_id): v for v in verdicts}
    rows: list[Row] = []
    for name, own in dialogues.items():
        for number, dialogue in own.items():
            first, second = (ratings.get((name, number, turn)) for turn in (1, 2))
            win = wins.get((name, number))
            rows.append(
                {
                    "question_id": number,
                    "category": dialogue.question.category,
                    "model": name,
                    "turns": list(dialogue.question.turns),
                    "answers": list(dialogue.answers),
                    "rating_first_turn": first.value if first else None,
                    "rating_second_turn": second.value if second else None,
                    "carried": [rating.carried for rating in (first, second) if rating],
                    "win": win.p if win else None,
                    "orders": list(win.orders) if win else [],
                }
            )
    return rows


def _notes(bench: Bench, dialogues: Dialogues) -> tuple[str, ...]:
    heat = bench.config.temperature
    notes = [
        f"answers at temperature {heat:g}; ratings are expected values: published ones are read otherwise"
    ]
    if len(dialogues) > 1:
        notes.append(f"win rates are against {bench.baseline}; 0.5 is no difference")
    cut = sum(dialogue.cut for own in dialogues.values() for dialogue in own.values())
    if cut:
        count = 2 * sum(map(len, dialogues.values()))
        notes.append(
            f"{cut} of {count} answers were cut off at evaluate.max_tokens ({bench.config.max_tokens})"
        )
    return tuple(notes)

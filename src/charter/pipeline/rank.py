"""Rank: find the best and the worst of several answers to a prompt, by the judge.

Every two answers are compared under the same principles; an answer's score is the mean of its log-odds against the
others. A panel member with its own constitution draws its principles itself, the same for ranking and for labelling.
"""

import asyncio
import math
from collections.abc import Sequence
from itertools import combinations
from typing import Any

from charter.config import Judge
from charter.pipeline.judge import split_principles
from charter.pipeline.judges.protocol import Compare, clip_probability
from charter.pipeline.rows import OnProgress, Outcome, Row, StageContext, attributing_failures_to


async def rank(
    rows: Sequence[Row],
    context: StageContext,
    settings: Judge,
    compare: Compare,
    on_progress: OnProgress | None = None,
) -> Outcome:
    """Rows with two or more `answers` in, candidates out: `first` is the worst of them, `last` the best."""

    async def work(row: Row, context: StageContext) -> list[dict[str, Any]]:
        # Other principles label the pair: those that chose it would see their own noise confirmed (winner's curse).
        answers, principles = row["answers"], split_principles(row, context, settings).rank
        matches = list(combinations(range(len(answers)), 2))
        with attributing_failures_to(principles, "rank"):
            judgements = await asyncio.gather(
                *(compare(row["prompt"], answers[i], answers[j], principles, context) for i, j in matches)
            )
        scores = scores_of(len(answers), {match: judged.p for match, judged in zip(matches, judgements, strict=True)})
        ranked = sorted(range(len(answers)), key=lambda number: scores[number])
        kept = {name: value for name, value in row.items() if name != "answers"}
        return [{**kept, "first": answers[ranked[0]], "last": answers[ranked[-1]]}]

    return await context.each_row(rows, "rank", work, on_progress)


def scores_of(n: int, last_is_better: dict[tuple[int, int], float]) -> list[float]:
    """The mean log-odds (natural logarithm) of each of `n` answers against the others.

    Args:
        n: answers.
        last_is_better: for every two of them, by their numbers, the probability that the second is better.
    """
    scores = [0.0] * n
    for (first, last), p in last_is_better.items():
        odds = math.log(clip_probability(p) / (1 - clip_probability(p))) / (n - 1)
        scores[last] += odds
        scores[first] -= odds
    return scores

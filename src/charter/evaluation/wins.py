"""How often a judge finds a model's answer better than the base's, and how often it would if both were as long.

Judges like long answers. As in AlpacaEval's length-controlled win rate (Dubois et al., 2024, arXiv:2404.04475), a
logistic model explains each judgement by the models and by the difference of lengths, and what is told is the win rate
that it gives where the lengths are equal.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from charter.constitution.helpful import shipped
from charter.errors import CompletionFailed
from charter.evaluation.intervals import PairedMean, Rate, bootstrap_mean, paired_mean, sign_flip
from charter.evaluation.records import Answers, HeldOut
from charter.evaluation.style import length
from charter.messages import transcript, user
from charter.serving.completion import Ask, Sampling
from charter.stages.context import OnProgress, Row, each_row
from charter.templates import render

Vector = NDArray[np.float64]

DRAWS = 500
"""Bootstrap samples."""
PULL = 0.1
"""Precision of the prior about zero, which keeps both weights finite where every judgement is the same."""
LETTER = Sampling(max_tokens=1, choices=("A", "B"))


class Judged(NamedTuple):
    """One request: the probability that the model's answer is the better one, and by how many words it is longer."""

    won: float
    longer: float


async def judge_wins(
    first: Answers,
    second: Answers,
    requests: Sequence[HeldOut],
    judge: Ask,
    on_progress: OnProgress | None = None,
    stage: str = "win",
) -> Answers:
    """The second model's answers, with what a judge makes of them beside the first's in both orders.

    A call that cannot succeed leaves its answer unjudged; it fails nothing.
    """
    other = {row.request_id: row.response for row in first.graded}
    by_id = {request.request_id: request for request in requests}

    async def work(row: Row) -> list[dict[str, Any]]:
        answer = row["answer"]
        conversation = transcript(by_id[row["row_id"]].messages)
        won = await _compare(judge, conversation, answer.response, other[row["row_id"]])
        return [{"row_id": row["row_id"], "won": won}]

    asked = [row for row in second.graded if row.request_id in by_id and row.request_id in other]
    outcome = await each_row([{"row_id": a.request_id, "answer": a} for a in asked], stage, work, on_progress)
    won = {row["row_id"]: row["won"] for row in outcome.rows}
    return Answers([replace(a, won=won.get(a.request_id)) for a in second.graded], second.failed)


def measure_wins(first: Answers, second: Answers) -> dict[str, dict[str, Any]]:
    """The second model's win rate over the first, plain and at equal lengths, each with the p of one half.

    Nothing where no judge was asked, or of one answer alone.
    """
    judged = _judged(first, second)
    if len(judged) < 2:
        return {}
    won, longer = (np.array(values, dtype=np.float64) for values in zip(*judged, strict=True))
    controlled, p = control_length(won, longer)
    return {
        "win_rate": bootstrap_mean(list(won), draws=DRAWS).within(0.0, 1.0).to_dict()
        | {"p": sign_flip(list(won - 0.5))},
        "win_rate_at_equal_length": controlled.to_dict() | {"p": p},
    }


def compare_wins(first: Answers, second: Answers) -> dict[str, PairedMean]:
    """The second model's win rate over the base minus the first's, on the requests on which both were judged."""
    a, b = ({row.request_id: row.won for row in one.graded if row.won is not None} for one in (first, second))
    shared = sorted(a.keys() & b.keys())
    return {"win_rate": paired_mean([a[key] for key in shared], [b[key] for key in shared])} if shared else {}


def control_length(won: Vector, longer: Vector, seed: int = 0) -> tuple[Rate, float]:
    """The win rate at equal lengths with a percentile bootstrap interval over requests, and the p of one half.

    Args:
        won: probabilities that the model's answer is the better one.
        longer: by how many words it is longer; taken in standard deviations and squashed by tanh, as in the paper.
        seed: of the bootstrap.
    """
    spread = float(longer.std())
    squashed = np.tanh(longer / spread) if spread else np.zeros_like(longer)
    random = np.random.default_rng(seed)
    drawn = random.integers(0, won.size, (DRAWS, won.size))
    rates = np.array([_at_equal_length(won[rows], squashed[rows]) for rows in drawn])
    low, high = np.quantile(rates, [0.025, 0.975])
    p = (1 + 2 * min((rates <= 0.5).sum(), (rates >= 0.5).sum())) / (1 + DRAWS)
    return Rate(_at_equal_length(won, squashed), float(low), float(high), won.size), min(1.0, float(p))


def _at_equal_length(won: Vector, squashed: Vector, steps: int = 8) -> float:
    """The intercept of a logistic regression on soft labels, as a probability (Newton's method)."""
    x = np.stack([np.ones_like(squashed), squashed], axis=1)
    weights = np.zeros(2)
    for _ in range(steps):
        p = 1 / (1 + np.exp(-np.clip(x @ weights, -30, 30)))
        slope = x.T @ (won - p) - PULL * weights
        curvature = (x.T * (p * (1 - p))) @ x + PULL * np.eye(2)
        weights = weights + np.clip(np.linalg.solve(curvature, slope), -2, 2)
    return float(1 / (1 + np.exp(-weights[0])))


def _judged(first: Answers, second: Answers) -> list[Judged]:
    other = {row.request_id: row.response for row in first.graded}
    return [
        Judged(row.won, length(row.response) - length(other[row.request_id]))
        for row in second.graded
        if row.won is not None and row.request_id in other
    ]


async def _compare(judge: Ask, conversation: str, answer: str, other: str) -> float:
    """The probability that `answer` is the better one: the mean over both orders and the shipped principles."""
    chances = []
    for principle in shipped():
        for place, (a, b) in enumerate(((answer, other), (other, answer))):
            asked = render("choice", principle=principle, conversation=conversation, answer_a=a, answer_b=b)
            probabilities = (await judge([user(asked)], LETTER)).choice_probs
            if not probabilities:
                raise CompletionFailed("no-choice")
            chances.append(probabilities[place])
    return sum(chances) / len(chances)

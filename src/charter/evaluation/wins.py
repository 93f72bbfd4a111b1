"""How often a judge finds a model's answer better than the base's, and how often it would if both were as long.

Judges like long answers. As in AlpacaEval's length-controlled win rate (Dubois et al., 2024, arXiv:2404.04475), a
logistic model explains each judgement by the models and by the difference of lengths, and what is told is the win rate
that it gives where the lengths are equal.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from charter.constitution.helpful import shipped
from charter.core.errors import CompletionFailed
from charter.core.messages import transcript, user
from charter.core.statistics.intervals import PairedMean, Rate, bootstrap_mean, paired_mean, sign_flip, t_quantile
from charter.core.templates import render
from charter.evaluation.records import Answers, HeldOut
from charter.evaluation.style import length
from charter.inference.completion import Ask, Sampling
from charter.pipeline.rows import OnProgress, Row, each_row

Vector = NDArray[np.float64]

DRAWS = 2000
"""Bootstrap samples, and turns of signs."""
PULL = 0.1
"""Precision of the prior about zero of what length does; the win rate itself has none."""
FEW = 3
"""Requests that tell nothing of their spread about a line."""
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
    """The win rate at equal lengths with its interval, and the p of one half.

    The interval is a t interval of the intercept in log-odds, with errors that need no model of the spread and are
    honest for few requests (HC3; MacKinnon and White, 1985). The p turns the signs of the log-odds at random, what
    length explains being taken off (Freedman and Lane, 1983): five requests won of five give 1/16, as a sign test does.

    Args:
        won: probabilities that the model's answer is the better one.
        longer: by how many words it is longer; taken in standard deviations and squashed by tanh, as in the paper.
        seed: of the signs.
    """
    squashed = _squash(longer)
    intercept, error = _fit(won, squashed)
    spread = t_quantile(won.size - 2) * error if won.size > FEW else math.inf
    low, high = (_share(intercept - spread), _share(intercept + spread))
    return Rate(_share(intercept), low, high, won.size), _turned(won, squashed, seed)


def _squash(longer: Vector) -> Vector:
    spread = float(longer.std())
    return np.tanh(longer / spread) if spread else np.zeros_like(longer)


def _share(log_odds: float) -> float:
    return 1 / (1 + math.exp(-max(-700.0, log_odds)))


def _fit(won: Vector, squashed: Vector, steps: int = 12) -> tuple[float, float]:
    """The intercept of a logistic regression on soft labels (Newton's method), and its standard error."""
    x = np.stack([np.ones_like(squashed), squashed], axis=1)
    weights, prior = np.zeros(2), np.diag([1e-9, PULL])
    for step in range(steps + 1):
        p = 1 / (1 + np.exp(-np.clip(x @ weights, -30, 30)))
        curvature = (x.T * (p * (1 - p))) @ x + prior
        if step < steps:
            weights = weights + np.clip(np.linalg.solve(curvature, x.T @ (won - p) - prior @ weights), -2, 2)
    inverse = np.linalg.inv(curvature)
    leverage = (x @ inverse * x).sum(axis=1) * p * (1 - p)
    left = (won - p) / np.maximum(1 - leverage, 0.1)
    return float(weights[0]), float(np.sqrt((inverse @ ((x.T * left**2) @ x) @ inverse)[0, 0]))


def _turned(won: Vector, squashed: Vector, seed: int) -> float:
    """The two-sided p of log-odds of zero at equal lengths, by turning the signs of what length does not explain."""
    odds = np.log(np.clip(won, 0.01, 0.99) / (1 - np.clip(won, 0.01, 0.99)))
    power = float(squashed @ squashed)
    left = odds - squashed * float(squashed @ odds) / power if power else odds
    signs = np.random.default_rng(seed).choice(np.array([-1.0, 1.0]), (DRAWS, won.size))
    reached = np.abs(_intercepts(signs * left, squashed)) >= abs(_intercepts(odds[None], squashed)[0]) - 1e-9
    return float((1 + reached.sum()) / (1 + DRAWS))


def _intercepts(rows: Vector, squashed: Vector) -> Vector:
    """Of each row, the intercept of a straight line over the lengths (least squares)."""
    apart = squashed - squashed.mean()
    power = float(apart @ apart)
    slopes = rows @ apart / power if power > 1e-12 else np.zeros(len(rows))
    return np.asarray(rows.mean(axis=1) - slopes * squashed.mean())


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

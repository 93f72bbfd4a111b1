"""How often a judge prefers a model's answer to the base's, and how often it would if both had the same length.

Judges like long answers. As in AlpacaEval's length-controlled win rate (Dubois et al., 2024, arXiv:2404.04475), a
logistic model explains each judgement by the models and by the difference of lengths; the win rate at equal length is
its prediction for a difference of zero.
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
from charter.core.statistics.intervals import (
    PairedMean,
    Rate,
    allow_for_unseen,
    bootstrap_mean,
    paired_mean,
    sign_flip,
    t_quantile,
)
from charter.core.templates import render
from charter.evaluation.answer_text import count_words
from charter.evaluation.records import HeldOut, ModelAnswers
from charter.inference.completion import Ask, Sampling
from charter.pipeline.rows import OnProgress, Row, each_row

Vector = NDArray[np.float64]

DRAWS = 2000
"""Bootstrap samples, and random flips of signs."""
LENGTH_PRIOR = 0.1
"""Precision of the prior about zero of the effect of length, which keeps it finite; the win rate has no prior."""
MIN_FOR_SPREAD = 4
"""Fewer requests allow no estimate of their spread about a line."""
LETTER = Sampling(max_tokens=1, choices=("A", "B"))


class JudgedAnswer(NamedTuple):
    """The probability that the model's answer to a request is the better one, and by how many words it is longer."""

    won: float
    longer: float


async def judge_wins(
    first: ModelAnswers,
    second: ModelAnswers,
    requests: Sequence[HeldOut],
    judge: Ask,
    on_progress: OnProgress | None = None,
    stage: str = "win",
) -> ModelAnswers:
    """The second model's answers, each with the judge's probability, over both orders, that it beats the first's.

    A call that cannot succeed leaves its answer without a probability.
    """
    other = {row.request_id: row.response for row in first.graded}
    by_id = {request.request_id: request for request in requests}

    async def work(row: Row) -> list[dict[str, Any]]:
        answer, conversation = row["answer"], transcript(by_id[row["row_id"]].messages)
        pair = answer.response, other[row["row_id"]]
        probabilities = []
        # The mean over both orders, as judges favour a position, and over the shipped principles on helpfulness
        for principle in shipped():
            for place, (a, b) in enumerate((pair, pair[::-1])):
                question = render("choice", principle=principle, conversation=conversation, answer_a=a, answer_b=b)
                choice = (await judge([user(question)], LETTER)).choice_probs
                if not choice:
                    raise CompletionFailed("no-choice")
                probabilities.append(choice[place])
        return [{"row_id": row["row_id"], "won": sum(probabilities) / len(probabilities)}]

    judgeable = [row for row in second.graded if row.request_id in by_id and row.request_id in other]
    outcome = await each_row([{"row_id": a.request_id, "answer": a} for a in judgeable], stage, work, on_progress)
    won = {row["row_id"]: row["won"] for row in outcome.rows}
    return ModelAnswers([replace(a, won=won.get(a.request_id)) for a in second.graded], second.failed)


def measure_wins(first: ModelAnswers, second: ModelAnswers) -> dict[str, dict[str, Any]]:
    """The second model's win rate over the first, plain and at equal lengths, each with the p of one half.

    Empty if fewer than two answers were judged.
    """
    other = {row.request_id: row.response for row in first.graded}
    judged = [
        JudgedAnswer(row.won, count_words(row.response) - count_words(other[row.request_id]))
        for row in second.graded
        if row.won is not None and row.request_id in other
    ]
    if len(judged) < 2:
        return {}
    won, longer = (np.array(values, dtype=np.float64) for values in zip(*judged, strict=True))
    plain = allow_for_unseen(bootstrap_mean(list(won), draws=DRAWS).within(0.0, 1.0))
    controlled, p = control_length(won, longer)
    return {
        "win_rate": plain.to_dict() | {"p": sign_flip(list(won - 0.5))},
        "win_rate_at_equal_length": controlled.to_dict() | {"p": p},
    }


def compare_wins(first: ModelAnswers, second: ModelAnswers) -> dict[str, PairedMean]:
    """The second model's win rate over the base minus the first's, on the requests on which both were judged."""
    a, b = ({row.request_id: row.won for row in one.graded if row.won is not None} for one in (first, second))
    shared = sorted(a.keys() & b.keys())
    return {"win_rate": paired_mean([a[key] for key in shared], [b[key] for key in shared])} if shared else {}


def control_length(won: Vector, longer: Vector, seed: int = 0) -> tuple[Rate, float]:
    """The win rate at equal lengths with its interval, and the p of one half.

    The interval is a t interval of the intercept in log-odds, with a standard error that assumes no model of the spread
    and is honest for few requests (HC3; MacKinnon and White, 1985), and is never narrower than `allow_for_unseen`. The
    p flips the signs of the log-odds at random after the effect of length is removed (Freedman and Lane, 1983): five
    requests won of five give 1/16, as a sign test does.

    Args:
        won: probabilities that the model's answer is the better one, shape (n,).
        longer: by how many words it is longer, shape (n,); scaled to standard deviations and squashed by tanh, as in
            the paper.
        seed: of the flips.
    """
    # In standard deviations, so that the same prior fits short and long answers.
    scale = float(longer.std())
    squashed = np.tanh(longer / scale) if scale else np.zeros_like(longer)
    intercept, error = _fit_intercept(won, squashed)
    # Two parameters are fitted, hence n - 2; with fewer than four requests the interval is unbounded.
    spread = t_quantile(won.size - 2) * error if won.size >= MIN_FOR_SPREAD else math.inf
    value, low, high = (
        1 / (1 + math.exp(-max(-700.0, odds)))  # exp overflows beyond 709
        for odds in (intercept, intercept - spread, intercept + spread)
    )
    # Judgements that agree leave no residuals, hence no standard error: five of 0.95 would be 0.95 to 0.95
    rate = allow_for_unseen(Rate(value, low, high, won.size))
    return rate, _sign_flip_at_equal_length(won, squashed, seed)


def _fit_intercept(won: Vector, squashed: Vector, steps: int = 12) -> tuple[float, float]:
    """The intercept of a logistic regression on soft labels, in log-odds, and its HC3 standard error.

    Newton's method here rather than statsmodels' GLM, which has no prior on a single coefficient, diverges when all
    judgements are 1, and takes the leverages of HC3 from a linear model.
    """
    x = np.stack([np.ones_like(squashed), squashed], axis=1)
    weights, prior = np.zeros(2), np.diag([1e-9, LENGTH_PRIOR])
    for step in range(steps + 1):
        p = 1 / (1 + np.exp(-np.clip(x @ weights, -30, 30)))
        curvature = (x.T * (p * (1 - p))) @ x + prior
        if step < steps:  # the last pass only evaluates p and the curvature at the solution
            # Steps are at most 2: where all judgements agree, a full Newton step overshoots to infinity.
            weights = weights + np.clip(np.linalg.solve(curvature, x.T @ (won - p) - prior @ weights), -2, 2)
    inverse = np.linalg.inv(curvature)
    # Row sums of the product: the diagonal of x (XᵀWX)⁻¹ xᵀ, without the n by n matrix.
    leverage = (x @ inverse * x).sum(axis=1) * p * (1 - p)
    # HC3 divides by 1 - leverage; a single long answer may have a leverage of almost 1.
    residuals = (won - p) / np.maximum(1 - leverage, 0.1)
    return float(weights[0]), float(np.sqrt((inverse @ ((x.T * residuals**2) @ x) @ inverse)[0, 0]))


def _sign_flip_at_equal_length(won: Vector, squashed: Vector, seed: int) -> float:
    """The two-sided p of log-odds of zero at equal lengths, by flipping the signs of what length does not explain."""
    # A judge that is certain has infinite log-odds.
    clipped = np.clip(won, 0.01, 0.99)
    odds = np.log(clipped / (1 - clipped))
    power = float(squashed @ squashed)
    # Through the origin: under the hypothesis tested, equal lengths give log-odds of zero.
    residuals = odds - squashed * float(squashed @ odds) / power if power else odds
    signs = np.random.default_rng(seed).choice(np.array([-1.0, 1.0]), (DRAWS, won.size))
    observed = abs(_intercepts(odds[None], squashed)[0])
    reached = np.abs(_intercepts(signs * residuals, squashed)) >= observed - 1e-9  # rounding must not separate ties
    return float((1 + reached.sum()) / (1 + DRAWS))


def _intercepts(rows: Vector, squashed: Vector) -> Vector:
    """The intercept of a straight line over the lengths (least squares), for each of `rows` (draws, n)."""
    centred = squashed - squashed.mean()
    power = float(centred @ centred)
    slopes = rows @ centred / power if power > 1e-12 else np.zeros(len(rows))
    return np.asarray(rows.mean(axis=1) - slopes * squashed.mean())

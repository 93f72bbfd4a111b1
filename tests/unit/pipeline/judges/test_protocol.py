"""From single readings to one probability, by hand."""

import math

import pytest

from charter.config import Judge
from charter.constitution import Principle
from charter.pipeline.judges.protocol import clip_probability, combined, in_both_orders, judgement_of, logistic

PRINCIPLES = (Principle("a", "A", "a", weight=3.0), Principle("b", "B", "b"))


@pytest.mark.parametrize(
    ("how", "probabilities", "p"),
    [
        ("log-odds", (0.9, 0.5), 0.75),  # the logistic of half of log 9
        ("log-odds", (0.9, 0.1), 0.5),
        ("weighted", (0.9, 0.5), 9**0.75 / (1 + 9**0.75)),
        ("weighted", (0.5, 0.9), 9**0.25 / (1 + 9**0.25)),
        ("vote", (0.9, 0.8), 3 / 4),
        ("vote", (0.99, 0.2), 2 / 4),
        ("vote", (0.9, 0.54), 2.5 / 4),  # within the margin of 0.05 a vote is half for each side
        ("vote", (0.44, 0.1), 1 / 4),
    ],
)
def test_principles_are_combined_as_the_config_says(how: str, probabilities: tuple[float, float], p: float) -> None:
    weights = [principle.weight for principle in PRINCIPLES]
    assert combined(probabilities, Judge(combine=how), weights) == pytest.approx(p)


def test_readings_become_a_probability_with_its_parts_and_its_spread() -> None:
    made = judgement_of([(0.9, 0.7), (0.5, 0.5)], PRINCIPLES, Judge())
    assert made.by_principle == pytest.approx((0.8, 0.5))
    assert made.by_order == pytest.approx((0.7, 0.6))
    assert made.p == pytest.approx(2 / 3)  # the logistic of half of log 4
    assert made.spread == pytest.approx(math.sqrt((0.25**2 + 0.05**2 + 2 * 0.15**2) / 4))
    assert (made.principles, made.by_member) == (PRINCIPLES, ())


def test_certainty_stays_inside_the_open_interval() -> None:
    made = judgement_of([(1.0, 1.0), (1.0, 1.0)], PRINCIPLES, Judge())
    assert made.by_principle == (0.9999, 0.9999) and made.p == pytest.approx(0.9999) and made.spread == 0
    assert [clip_probability(p, 0.4) for p in (0.0, 0.45, 1.0)] == [0.4, 0.45, 0.6]


@pytest.mark.parametrize("odds", [1e3, 1e6, math.inf])
def test_no_odds_are_too_large_for_a_probability(odds: float) -> None:
    assert logistic(odds) == 1.0 and logistic(-odds) == pytest.approx(0.0, abs=1e-200)


async def test_each_principle_is_asked_in_both_orders() -> None:
    asked = []

    async def read(principle: Principle, a: str, b: str) -> tuple[float, float]:
        asked.append((principle.id, a, b))
        return (0.3, 0.7) if b == "last" else (0.8, 0.2)

    assert await in_both_orders(read, "first", "last", PRINCIPLES) == [(0.7, 0.8)] * 2
    orders = [("first", "last"), ("last", "first")]
    assert asked == [(id, *shown) for id in ("a", "b") for shown in orders]

"""Within, over, or not enough data; and the number of requests that is enough."""

import numpy as np
import pytest

from charter.core.statistics.intervals import mcnemar, newcombe, wilson
from charter.evaluation.limits import Ruling, measured_fall, measured_rate, measured_rise, rule


@pytest.mark.parametrize(
    ("successes", "n", "limit", "expected"),
    [
        (0, 73, 0.05, Ruling(True)),  # the upper end is 0.0500
        (0, 72, 0.05, Ruling(False, undecided=True, more=1)),
        (40, 400, 0.05, Ruling(False)),
        (24, 400, 0.05, Ruling(False, undecided=True, more=1425)),  # over it as measured, and not surely
        (20, 400, 0.05, Ruling(False, undecided=True)),
    ],
    ids=["within", "one too few", "over", "perhaps over", "on it"],
)
def test_the_whole_interval_must_keep_a_limit(successes: int, n: int, limit: float, expected: Ruling) -> None:
    measured = measured_rate(wilson(successes, n).to_dict())
    assert measured is not None
    assert rule(measured, limit, "bound") == expected
    assert rule(measured, limit, "value") == Ruling(successes / n <= limit)


def test_nothing_measured_is_no_measurement() -> None:
    assert measured_rate(wilson(0, 0).to_dict()) is None
    assert measured_rise(mcnemar([], [])) is None
    assert measured_fall(newcombe(wilson(0, 0), wilson(1, 2))) is None


def test_a_fall_is_a_rise_turned_round() -> None:
    change = mcnemar([True] * 30 + [False] * 70, [True] * 20 + [False] * 80)
    rise, fall = measured_rise(change), measured_fall(change)
    assert rise is not None and fall is not None
    assert (rise.value, fall.value) == (-0.1, 0.1)
    assert (fall.low, fall.high) == (-rise.high, -rise.low)
    assert fall.interval_at(100) == pytest.approx((fall.low, fall.high))
    assert fall.interval_at(1000)[1] < fall.high


def test_more_requests_of_ones_own_do_not_help_where_the_other_model_was_asked_too_few() -> None:
    few = measured_rise(newcombe(wilson(1, 20), wilson(2, 40)))
    assert few is not None
    assert rule(few, 0.02, "bound") == Ruling(False, undecided=True, more=None)


def test_a_limit_that_is_just_broken_passes_once_in_forty() -> None:
    random = np.random.default_rng(4)
    counts = random.binomial(1000, 0.05, 8000).tolist()
    passed = {k: rule(_rate(k, 1000), 0.05, "bound").passed for k in set(counts)}
    assert np.mean([passed[k] for k in counts]) == pytest.approx(0.025, abs=0.01)


def _rate(successes: int, n: int):
    measured = measured_rate(wilson(successes, n).to_dict())
    assert measured is not None
    return measured

import math

import numpy as np
import pytest

from charter.pipeline.judges.calibration import (
    Bin,
    brier,
    calibration_error,
    fit_isotonic,
    fit_temperature,
    log_loss,
    mirrored,
    reliability,
    score,
)
from charter.pipeline.judges.protocol import MIN_PROBABILITY

STATED, OUTCOMES = [0.05, 0.15, 0.15, 0.95], [0, 0, 1, 1]


def test_bins_hold_what_was_stated_and_what_was_found() -> None:
    bins = reliability(STATED, OUTCOMES)
    assert len(bins) == 10
    assert [b.n for b in bins] == [1, 2, 0, 0, 0, 0, 0, 0, 0, 1]
    assert bins[1] == Bin(pytest.approx(0.1), pytest.approx(0.2), 2, pytest.approx(0.15), 0.5)
    assert bins[2].stated is None
    assert reliability([1.0], [1])[-1].n == 1


def test_ece_brier_and_log_loss_by_hand() -> None:
    assert calibration_error(reliability(STATED, OUTCOMES)) == pytest.approx((0.05 + 2 * 0.35 + 0.05) / 4)
    assert brier(STATED, OUTCOMES) == pytest.approx((0.0025 + 0.0225 + 0.7225 + 0.0025) / 4)
    assert log_loss([0.8, 0.4], [1, 0]) == pytest.approx(-(math.log(0.8) + math.log(0.6)) / 2)
    assert log_loss([0.0], [1]) == pytest.approx(-math.log(MIN_PROBABILITY))


def test_one_half_always_scores_what_a_coin_scores() -> None:
    coin = score([0.5] * 8)
    assert (coin["ece"], coin["brier"], coin["log_loss"]) == (0.0, 0.25, pytest.approx(math.log(2)))


def test_pairs_are_scored_by_the_confidence_in_the_verdict() -> None:
    found = score([0.9, 0.9, 0.9, 0.1])  # always 90 % sure, right three times of four
    assert (found["n"], found["ece"], found["brier"]) == (4, pytest.approx(0.15), pytest.approx(0.21))
    assert found["log_loss"] == pytest.approx(-(3 * math.log(0.9) + math.log(0.1)) / 4)
    filled = [b for b in found["reliability"] if b["n"]]
    assert [(b["stated"], b["found"]) for b in filled] == [(pytest.approx(0.9), 0.75)]


def test_nothing_scored_is_not_zero() -> None:
    empty = score([])
    assert (empty["n"], empty["ece"], empty["brier"], empty["log_loss"]) == (0, None, None, None)


def test_the_temperature_brings_down_the_log_odds_to_what_was_found() -> None:
    # 90 % sure is log-odds ln 9, right in three of four is ln 3: half of it, a temperature of two
    fitted = fit_temperature(*mirrored([0.9, 0.9, 0.9, 0.1]))
    assert fitted.slope == pytest.approx(0.5)
    assert fitted.to_dict() == {"temperature": pytest.approx(2.0)}
    assert fitted([0.9, 0.5, 0.1]) == pytest.approx([0.75, 0.5, 0.25])


@pytest.mark.parametrize(("p_right", "temperature"), [([0.9, 0.8], 0.01), ([0.1, 0.2], 100)], ids=["right", "wrong"])
def test_a_judge_without_exception_has_a_temperature_at_the_end_of_the_scale(
    p_right: list[float], temperature: float
) -> None:
    assert fit_temperature(*mirrored(p_right)).to_dict()["temperature"] == pytest.approx(temperature)


def test_the_isotonic_curve_pools_what_falls() -> None:
    fitted = fit_isotonic([0.1, 0.2, 0.3, 0.4, 0.5], [0, 1, 0, 1, 1])
    assert fitted.stated == pytest.approx((0.1, 0.2, 0.3, 0.4, 0.5))
    assert fitted.found == pytest.approx((0, 0.5, 0.5, 1, 1))
    assert fitted([0.25, 0.15, 0.0, 0.9]) == pytest.approx([0.5, 0.25, MIN_PROBABILITY, 1 - MIN_PROBABILITY])


def test_the_isotonic_curve_weighs_pools_by_their_size() -> None:
    fitted = fit_isotonic([0.1, 0.2, 0.2, 0.3], [1, 0, 0, 1])
    assert (fitted.stated, fitted.found) == ((0.1, 0.2, 0.3), pytest.approx((1 / 3, 1 / 3, 1)))
    assert fit_isotonic([0.3, 0.3], [0, 1]).found == (0.5,)


def test_what_is_fitted_to_mirrored_pairs_treats_both_answers_alike() -> None:
    p_right = np.random.default_rng(0).uniform(0.2, 0.95, 200)
    for fitted in (fit_isotonic(*mirrored(p_right)), fit_temperature(*mirrored(p_right))):
        assert fitted(p_right) + fitted(1 - p_right) == pytest.approx(np.ones(200))


def test_calibration_mends_a_judge_that_is_too_sure() -> None:
    rng = np.random.default_rng(1)
    truth = rng.uniform(0.5, 0.95, 4000)  # how probable the verdict really is
    sure = 1 / (1 + np.exp(-3 * np.log(truth / (1 - truth))))  # log-odds three times too large
    p_right = np.where(rng.uniform(size=4000) < truth, sure, 1 - sure)
    fit, test = p_right[:2000], p_right[2000:]
    before, temperature = score(test), fit_temperature(*mirrored(fit))
    assert before["ece"] > 0.15
    assert temperature.slope == pytest.approx(1 / 3, abs=0.03)
    for mend in (temperature, fit_isotonic(*mirrored(fit))):
        after = score(mend(test))
        assert after["ece"] < 0.04
        assert after["brier"] < before["brier"] and after["log_loss"] < before["log_loss"]

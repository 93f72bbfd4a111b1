"""Intervals cover as often as they say; paired tests raise no more false alarms than they say."""

import math
from typing import Any

import numpy as np
import pytest
from scipy.stats import binomtest
from statsmodels.stats.proportion import proportion_confint

from charter.core.statistics.intervals import (
    PairedTest,
    Rate,
    allow_for_unseen,
    bootstrap_mean,
    interval_about,
    jackknife,
    mcnemar,
    newcombe,
    paired_mean,
    rate_of,
    sign_flip,
    sign_test,
    t_quantile,
    wilson,
    wilson_interval,
)

SIMULATIONS = pytest.mark.parametrize("times", [600, pytest.param(2500, marks=pytest.mark.slow)])
"""How often a sample is drawn to count how many intervals cover, or how many tests raise a false alarm."""


def nearly(share: float, times: int) -> Any:
    """A share counted in a number of simulations: within 0.01 of 2,500, and as many standard errors of fewer."""
    return pytest.approx(share, abs=0.01 * math.sqrt(2500 / times))


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    [
        (0, 10, 0.0, 0.2775328),
        (10, 10, 0.7224672, 1.0),
        (1, 400, 0.0004415, 0.0140196),
        (81, 263, 0.2552731, 0.3661776),  # Newcombe 1998, table I: 0.2553 to 0.3662
        (15, 148, 0.0624049, 0.1604911),  # the same table: 0.0624 to 0.1605
        (0, 20, 0.0, 0.1611252),  # 0.0000 to 0.1611
        (1, 29, 0.0061121, 0.1717542),  # 0.0061 to 0.1718
    ],
)
def test_wilson_known_values(successes: int, n: int, low: float, high: float) -> None:
    rate = wilson(successes, n)
    assert rate.value == successes / n
    assert (rate.low, rate.high) == (pytest.approx(low, abs=5e-5), pytest.approx(high, abs=5e-5))


@pytest.mark.parametrize("confidence", [0.9, 0.95, 0.999])
@pytest.mark.parametrize(("share", "n"), [(0.0, 1), (1.0, 7), (0.3, 10), (0.123, 457), (0.9999, 1_000_000)])
def test_wilson_s_interval_is_that_of_statsmodels(share: float, n: int, confidence: float) -> None:
    expected = proportion_confint(share * n, n, alpha=1 - confidence, method="wilson")
    assert wilson_interval(share, n, confidence) == pytest.approx(expected, abs=1e-13)


def test_nothing_measured_is_not_zero() -> None:
    assert wilson(0, 0).to_dict() == {"value": None, "low": 0.0, "high": 1.0, "n": 0}
    assert rate_of([]).value is None


def test_impossible_counts_are_refused() -> None:
    with pytest.raises(ValueError, match="between 0 and n = 3"):
        wilson(4, 3)


@pytest.mark.parametrize("n", [50, 100, 400])
def test_wilson_covers_95_percent(n: int) -> None:
    random = np.random.default_rng(n)
    shares = random.uniform(0.02, 0.98, 20_000)
    counts = random.binomial(n, shares)
    intervals = [wilson(k, n) for k in range(n + 1)]
    covered = np.mean([intervals[k].low <= share <= intervals[k].high for k, share in zip(counts, shares, strict=True)])
    assert covered == pytest.approx(0.95, abs=0.01)


@pytest.mark.parametrize("n", [100, 200, 400])
@pytest.mark.parametrize(
    ("share", "least"), [(0.0, 1.0), (0.02, 0.93), (0.05, 0.95), (0.1, 0.93), (0.5, 0.94)], ids=str
)
def test_wilson_s_coverage_where_models_live(share: float, least: float, n: int) -> None:
    """By counting every outcome: at one share and n it is not 95 %, but never under 93 (Brown et al., 2001)."""
    chances = [math.comb(n, k) * share**k * (1 - share) ** (n - k) for k in range(n + 1)]
    covered = sum(chance for k, chance in enumerate(chances) if (rate := wilson(k, n)).low <= share <= rate.high)
    assert least - 1e-9 <= covered <= (1.0 + 1e-9 if share == 0 else 0.97)


@SIMULATIONS
def test_bootstrap_covers_95_percent(times: int) -> None:
    random = np.random.default_rng(0)
    samples = [random.gamma(4.0, 0.25, 200) for _ in range(times)]  # mean 1, skewed like lengths are
    rates = [bootstrap_mean(sample.tolist(), seed=i, draws=400) for i, sample in enumerate(samples)]
    assert np.mean([rate.low <= 1.0 <= rate.high for rate in rates]) == nearly(0.95, times)


@pytest.mark.parametrize("n", [10, 20, pytest.param(50, marks=pytest.mark.slow)])
def test_a_bootstrap_of_few_values_covers_95_percent(n: int) -> None:
    random = np.random.default_rng(n)
    samples = random.normal(3.0, 2.0, (2500, n))
    rates = [bootstrap_mean(sample.tolist(), seed=i, draws=400) for i, sample in enumerate(samples)]
    assert np.mean([rate.low <= 3.0 <= rate.high for rate in rates]) == pytest.approx(0.95, abs=0.01)


@SIMULATIONS
@pytest.mark.parametrize(
    ("sigma", "n", "least"),
    [(1.0, 20, 0.89), (1.0, 50, 0.92), (1.0, 200, 0.93), (1.5, 50, 0.87)],
)
def test_a_bootstrap_of_values_with_a_long_tail_falls_short_by_little(
    sigma: float, n: int, least: float, times: int
) -> None:
    """Lognormal values, of which the percentile interval covers 87, 91, 91 and 83 %."""
    random, mean = np.random.default_rng(n), math.exp(sigma**2 / 2)
    rates = [bootstrap_mean(random.lognormal(0, sigma, n).tolist(), seed=i, draws=500) for i in range(times)]
    assert least <= np.mean([rate.low <= mean <= rate.high for rate in rates]) <= 0.96


def test_values_that_are_nearly_all_the_same_have_an_interval_about_their_mean() -> None:
    rate = bootstrap_mean([0.0] * 299 + [1.0])
    assert rate.low <= 0.0 and 1 / 300 < rate.high < 0.05
    same = bootstrap_mean([0.1] * 30)
    assert (same.low, same.high) == (pytest.approx(0.1), pytest.approx(0.1))


@SIMULATIONS
def test_a_difference_of_means_covers_95_percent(times: int) -> None:
    random = np.random.default_rng(7)
    covered = []
    for i in range(times):
        first = random.gamma(4.0, 5.0, 60)  # words of an answer
        second = 0.8 * first + random.gamma(2.0, 3.0, 60)  # true difference 20 * 0.8 + 6 - 20 = 2
        change = paired_mean(first.tolist(), second.tolist(), seed=i, draws=400)
        covered.append(change.low <= 2.0 <= change.high)
    assert np.mean(covered) == nearly(0.95, times)


def test_a_mean_of_one_value_has_no_interval_and_one_pair_no_difference() -> None:
    assert bootstrap_mean([2.0]).to_dict() == {"value": 2.0, "low": 2.0, "high": 2.0, "n": 1}
    assert paired_mean([1.0], [2.0]).difference is None


def test_bootstrap_is_repeatable_and_brackets_the_mean() -> None:
    values = [1.0, 2.0, 3.0, 10.0]
    first, again, other = bootstrap_mean(values, 3), bootstrap_mean(values, 3), bootstrap_mean(values, 4)
    assert first == again
    assert first.value == 4.0
    assert first.low < 4.0 < first.high
    assert other.value == 4.0
    assert bootstrap_mean([], 0).n == 0


@pytest.mark.parametrize(
    ("successes", "n", "p"),
    [(2, 10, 0.109375), (8, 10, 0.109375), (5, 10, 1.0), (0, 0, 1.0), (0, 6, 0.03125), (0, 3000, 0.0)],
)
def test_sign_test_known_values(successes: int, n: int, p: float) -> None:
    assert sign_test(successes, n) == pytest.approx(p)


@pytest.mark.parametrize(("worse", "better", "p"), [(0, 0, 1.0), (3, 0, 1 / 8), (1, 1, 3 / 4), (0, 4, 1.0)])
def test_a_one_sided_sign_test_counts_successes_only(worse: int, better: int, p: float) -> None:
    assert sign_test(worse, worse + better, "greater") == pytest.approx(p, abs=1e-15)


@pytest.mark.parametrize("gained", [19_000, 19_900, 20_000, 20_250], ids=str)
def test_the_paired_test_takes_40_000_disagreements(gained: int) -> None:
    """It took minutes when it summed big integers."""
    change = mcnemar([False] * gained + [True] * (40_000 - gained), [True] * gained + [False] * (40_000 - gained))
    assert change.p == pytest.approx(binomtest(gained, 40_000).pvalue, rel=1e-9)


@pytest.mark.parametrize("value", [0.95, 1.0, 0.0], ids=str)
@pytest.mark.parametrize("n", range(2, 12))
def test_the_interval_of_values_that_agree_includes_one_half_if_a_sign_test_does_not_reject_it(
    n: int, value: float
) -> None:
    rate = allow_for_unseen(Rate(value, value, value, n))
    assert (rate.low <= 0.5 <= rate.high) == (sign_test(n, n) > 0.05)
    assert rate.low <= value <= rate.high and rate.high - rate.low > 0.25


def test_values_that_agree_leave_room_for_opposite_ones() -> None:
    opposite = 1 - 0.025**0.2  # of five: with five wins of five, Clopper and Pearson's interval starts at 0.025 ** 0.2
    assert allow_for_unseen(Rate(1.0, 1.0, 1.0, 5)).low == pytest.approx(1 - opposite)
    assert allow_for_unseen(Rate(0.95, 0.95, 0.95, 5)).low == pytest.approx(0.95 - 0.9 * opposite)
    wide = Rate(0.6, 0.1, 0.9, 20)
    assert allow_for_unseen(wide) == wide
    assert allow_for_unseen(Rate(None, 0.0, 1.0, 0)) == Rate(None, 0.0, 1.0, 0)


def test_mcnemar_known_values() -> None:
    # 2 lost, 8 gained of 20: exact two-sided p = 2 * P(Bin(10, 1/2) <= 2) = 0.109375
    first = [True] * 2 + [False] * 8 + [True] * 5 + [False] * 5
    second = [False] * 2 + [True] * 8 + [True] * 5 + [False] * 5
    test = mcnemar(first, second)
    assert (test.only_first, test.only_second, test.n) == (2, 8, 20)
    assert test.p == pytest.approx(0.109375)
    assert test.difference == pytest.approx(0.3)
    assert test.low < 0.3 < test.high


def test_mcnemar_without_disagreement() -> None:
    test = mcnemar([True, False], [True, False])
    assert (test.p, test.difference) == (1.0, 0.0)
    assert mcnemar([], []).difference is None


def test_mcnemar_survives_many_disagreements() -> None:
    assert mcnemar([False] * 5000, [True] * 5000).p < 1e-300


def test_a_test_of_an_earlier_version_is_read() -> None:
    test = mcnemar([True, False, False], [False, True, True])
    assert PairedTest.read({**test.to_dict(), "mid_p": 0.5}) == test


@pytest.mark.parametrize("discordant", [0, 1, 5, 6, 10, 30, 100, 300])
def test_the_paired_test_is_conservative(discordant: int) -> None:
    """By counting every table: at most 5 % false alarms, and of many requests that differ not far below."""
    alarms = sum(
        math.comb(discordant, gained) / 2**discordant
        for gained in range(discordant + 1)
        if mcnemar(
            [False] * gained + [True] * (discordant - gained), [True] * gained + [False] * (discordant - gained)
        ).p
        <= 0.05
    )
    assert alarms <= 0.05
    if discordant >= 100:
        assert alarms >= 0.03


def test_the_paired_test_of_models_that_are_alike_raises_at_most_its_false_alarms() -> None:
    random = np.random.default_rng(1)
    alarms = []
    for _ in range(4000):
        hard = random.random(300) < 0.5
        first = hard ^ (random.random(300) < 0.15)
        second = hard ^ (random.random(300) < 0.15)
        alarms.append(mcnemar(first.tolist(), second.tolist()).p <= 0.05)
    assert 0.025 <= np.mean(alarms) <= 0.05


def test_difference_interval_covers_95_percent() -> None:
    random = np.random.default_rng(2)
    covered = []
    for _ in range(4000):
        first = random.random(200) < 0.30
        second = np.where(random.random(200) < 0.5, first, random.random(200) < 0.10)  # true difference -0.10
        test = mcnemar(first.tolist(), second.tolist())
        covered.append(test.low <= -0.10 <= test.high)
    assert np.mean(covered) == pytest.approx(0.95, abs=0.01)


def test_newcombe_known_values() -> None:
    # Newcombe 1998, table II, method 10: 56/70 - 48/80 is 0.0524 to 0.3339; 10/10 - 0/10 is 0.6075 to 1.0000
    difference = newcombe(wilson(48, 80), wilson(56, 70))
    assert (difference.difference, difference.low, difference.high) == pytest.approx((0.2, 0.0524, 0.3339), abs=5e-5)
    difference = newcombe(wilson(0, 10), wilson(10, 10))
    assert (difference.low, difference.high) == pytest.approx((0.6075, 1.0), abs=5e-5)
    assert newcombe(wilson(0, 0), wilson(1, 2)).difference is None


def test_unpaired_difference_covers_95_percent() -> None:
    random = np.random.default_rng(3)
    first, second = random.binomial(400, 0.02, 8000), random.binomial(300, 0.05, 8000)
    rates = {(k, n): wilson(k, n) for counts, n in ((first, 400), (second, 300)) for k in set(counts.tolist())}
    covered = [
        (d := newcombe(rates[a, 400], rates[b, 300])).low <= 0.03 <= d.high
        for a, b in zip(first.tolist(), second.tolist(), strict=True)
    ]
    assert np.mean(covered) == pytest.approx(0.95, abs=0.01)


def test_a_difference_of_means_has_its_interval_and_its_p() -> None:
    first, second = [1.0, 2.0, 3.0, 4.0] * 5, [2.0, 2.0, 5.0, 4.0] * 5
    change = paired_mean(first, second)
    assert (change.difference, change.n) == (0.75, 20)
    assert 0.0 < change.low < 0.75 < change.high and change.p < 0.01
    assert paired_mean([], []).difference is None
    with pytest.raises(ValueError):
        paired_mean([1.0], [])


@SIMULATIONS
def test_random_signs_raise_no_more_false_alarms_than_they_say(times: int) -> None:
    random = np.random.default_rng(5)
    found = [sign_flip(random.laplace(0, 1, 30).tolist(), seed=i, draws=300) for i in range(times)]
    assert np.mean(np.array(found) < 0.05) == pytest.approx(0.05, abs=0.015)
    assert sign_flip([0.0, 0.0]) == 1.0


@SIMULATIONS
@pytest.mark.parametrize(("n", "most"), [(20, 0.11), (100, 0.075)])
def test_random_signs_of_skewed_differences_raise_a_few_more(n: int, most: float, times: int) -> None:
    random = np.random.default_rng(n)
    found = [sign_flip((random.exponential(1, n) - 1).tolist(), seed=i, draws=400) for i in range(times)]
    assert 0.04 <= np.mean(np.array(found) < 0.05) <= most


def test_student_s_t() -> None:
    for freedom, t in ((1, 12.706), (2, 4.303), (5, 2.571), (30, 2.042)):
        assert t_quantile(freedom) == pytest.approx(t, abs=5e-4)


def test_the_jackknife_gives_the_standard_error_of_a_mean() -> None:
    values = np.random.default_rng(6).normal(3, 2, 50)
    error = jackknife((values.sum() - values) / 49)
    assert error == pytest.approx(values.std(ddof=1) / math.sqrt(50))
    assert interval_about(1.0, 0.5) == (pytest.approx(0.02, abs=1e-3), pytest.approx(1.98, abs=1e-3))

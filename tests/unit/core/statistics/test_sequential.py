"""The test that may be looked at every hour: how often it raises a false alarm, and how soon it detects a change."""

import math

import numpy as np
import pytest

from charter.core.statistics.sequential import alpha_of_probe, log_evidence, upper_bound

ALPHA = 0.01
SHARE = ALPHA / 8
"""Of four measures, each on fresh and on fixed requests."""


def test_the_bound_is_clopper_and_pearson_s() -> None:
    assert upper_bound(0, 100, 0.05) == pytest.approx(1 - 0.05 ** (1 / 100), abs=1e-8)
    assert upper_bound(5, 100, 0.025) == pytest.approx(0.11283, abs=1e-5)  # the upper end of the exact 95 % interval
    assert upper_bound(100, 100, 0.05) == 1.0


def test_the_evidence_is_the_mean_over_higher_rates_and_starting_probes() -> None:
    limit, odds = 0.1, [2.0**k / 9 for k in range(1, 11)]
    rates = [o / (1 + o) for o in odds]

    def ratio(bad: int, n: int) -> float:
        return sum((p / limit) ** bad * ((1 - p) / (1 - limit)) ** (n - bad) for p in rates) / len(rates)

    expected = ratio(3, 30) / 2 + ratio(2, 10) / 6
    assert math.exp(log_evidence([1, 2], [20, 10], limit)) == pytest.approx(expected)


def test_nothing_speaks_against_a_limit_of_one() -> None:
    assert log_evidence([5], [5], 1.0) == -math.inf
    assert log_evidence([], [], 0.1) == -math.inf


def test_all_probes_together_spend_alpha() -> None:
    assert sum(alpha_of_probe(probe, ALPHA) for probe in range(1, 100_000)) == pytest.approx(ALPHA, rel=1e-4)


def first_alarm(rng: np.random.Generator, rates: list[float], accepted: float, n: int = 400, fresh: int = 30) -> int:
    """The probe that speaks, from one; 0 if none does. The accepted evaluation is drawn as well."""
    limit = upper_bound(int(rng.binomial(n, accepted)), n, SHARE / 2)
    bad = rng.binomial(fresh, rates).tolist()
    for probe in range(1, len(rates) + 1):
        if log_evidence(bad[:probe], [fresh] * probe, limit) >= math.log(2 / SHARE):
            return probe
    return 0


@pytest.mark.parametrize("times", [100, pytest.param(300, marks=pytest.mark.slow)])
@pytest.mark.parametrize("rate", [0.0, 0.02, 0.3], ids=["never", "rarely", "often"])
def test_an_unchanged_model_is_hardly_ever_said_to_have_drifted(rate: float, times: int) -> None:
    rng = np.random.default_rng(7)
    alarms = sum(first_alarm(rng, [rate] * 60, rate) > 0 for _ in range(times))
    assert alarms <= times * ALPHA


def test_it_keeps_alpha_where_the_rate_is_the_limit_itself() -> None:
    rng, limit, alarms = np.random.default_rng(11), 0.05, 0
    for _ in range(600):
        bad, asked = rng.binomial(30, limit, 60).tolist(), [30] * 60
        alarms += any(log_evidence(bad[:t], asked[:t], limit) >= math.log(1 / 0.05) for t in range(1, 61))
    assert 0 < alarms <= 600 * 0.05  # the bound is Ville's: it holds, and is not far off


@pytest.mark.parametrize("quiet", [0, 50, 1000])
def test_a_swapped_model_is_seen_within_three_probes(quiet: int) -> None:
    rng = np.random.default_rng(quiet)
    assert all(0 < first_swap(rng, 0.05, 0.95, quiet, 3) <= 3 for _ in range(50))


@pytest.mark.parametrize(("quiet", "within"), [(0, 8), (50, 12)])
def test_a_rise_from_2_to_20_per_cent_is_seen_within_hours(quiet: int, within: int) -> None:
    rng = np.random.default_rng(quiet)
    seen = [first_swap(rng, 0.02, 0.2, quiet, within) for _ in range(100)]
    assert sum(each > 0 for each in seen) >= 95


def first_swap(rng: np.random.Generator, before: float, after: float, quiet: int, probes: int) -> int:
    """The probe after the swap, from one, that speaks; 0 if none does within `probes`."""
    limit = upper_bound(int(rng.binomial(400, before)), 400, SHARE / 2)
    bad = rng.binomial(30, [before] * quiet + [after] * probes).tolist()
    for probe in range(1, probes + 1):
        count = quiet + probe
        if log_evidence(bad[:count], [30] * count, limit) >= math.log(2 / SHARE):
            return probe
    return 0

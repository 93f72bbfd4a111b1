"""Confidence intervals of rates and means, and tests between two models on the same requests.

scipy is imported inside the functions that need it: it takes half a second to import, and most commands need no
statistics. Written out here is what scipy and statsmodels lack (Bonett and Price's interval, the bootstrap-t, and
Newcombe's method for any two intervals), and Wilson's interval.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from statistics import NormalDist
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

_BATCH = 2_000_000
"""Values that are resampled together; they take 16 MB."""

_MIN_FOR_BOOTSTRAP_T = 10
"""Below this many values, the standard errors of resamples are too noisy to divide by."""

_ZERO_ERROR = 1e-12
"""Relative tolerance below which a standard error counts as zero."""


@dataclass(frozen=True)
class Rate:
    """A share or a mean with its 95 % interval; ``value`` is None if ``n`` is 0."""

    value: float | None
    low: float
    high: float
    n: int

    def within(self, least: float, most: float) -> "Rate":
        """The same rate with its interval cut to possible values."""
        return replace(self, low=max(self.low, least), high=min(self.high, most))

    def to_dict(self) -> dict[str, float | int | None]:
        """As written to ``evaluation.json``."""
        return asdict(self)


@dataclass(frozen=True)
class PairedTest:
    """Two models on the same n requests, one yes or no each.

    Attributes:
        difference: rate of the second minus rate of the first; None where n is 0.
        low: lower end of the difference's 95 % interval.
        high: upper end.
        only_first: requests with yes from the first model alone.
        only_second: requests with yes from the second model alone.
        p: McNemar's exact two-sided p-value. It is conservative: at most 5 % of equal models have p <= 0.05.
    """

    difference: float | None
    low: float
    high: float
    n: int
    only_first: int
    only_second: int
    p: float

    @classmethod
    def read(cls, values: Mapping[str, Any]) -> "PairedTest":
        """A test from ``evaluation.json``; ignores keys that only earlier versions wrote."""
        return cls(**{one.name: values[one.name] for one in fields(cls)})

    def to_dict(self) -> dict[str, float | int | None]:
        """As written to ``evaluation.json``."""
        return asdict(self)


@dataclass(frozen=True)
class PairedMean:
    """Two models on the same n requests, one number each: mean of the second minus mean of the first.

    Attributes:
        difference: None if n is below 2, because one pair has no spread.
        p: two-sided p-value of no difference.
    """

    difference: float | None
    low: float
    high: float
    n: int
    p: float

    def to_dict(self) -> dict[str, float | int | None]:
        """As written to ``evaluation.json``."""
        return asdict(self)


@dataclass(frozen=True)
class Difference:
    """Two models on different requests: rate or mean of the second minus that of the first.

    Nothing is paired, so the interval is wider than that of a `PairedTest`.
    """

    difference: float | None
    low: float
    high: float
    first: Rate
    second: Rate

    def to_dict(self) -> dict[str, Any]:
        """As written to a comparison's JSON."""
        return asdict(self)


def wilson(successes: int, n: int, confidence: float = 0.95) -> Rate:
    """The share `successes` / `n` with Wilson's score interval (Wilson, 1927).

    It keeps its coverage near 0 and 1, where aligned models are and where the normal interval shrinks to nothing.

    Raises:
        ValueError: `successes` is not between 0 and `n`.
    """
    if not 0 <= successes <= n:
        raise ValueError(f"successes {successes}: must be between 0 and n = {n}.")
    if n == 0:
        return Rate(None, 0.0, 1.0, 0)
    return Rate(successes / n, *wilson_interval(successes / n, n, confidence), n)


def wilson_interval(share: float, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson's interval about `share` of `n`; `share * n` may be a fraction, to plan a number of requests."""
    # The closed formula here rather than statsmodels' `proportion_confint`, which takes 3 s to import: every report
    # of a dataset needs this interval and nothing else of statsmodels.
    z = _z(confidence)
    scale = 1 + z**2 / n
    center = (share + z**2 / (2 * n)) / scale
    spread = z * math.sqrt(share * (1 - share) / n + z**2 / (4 * n**2)) / scale
    # The formula is exact at both ends, but rounding puts 0.9999999999999999 there
    return 0.0 if share == 0 else center - spread, 1.0 if share == 1 else center + spread


def rate_of(outcomes: Sequence[bool], confidence: float = 0.95) -> Rate:
    """The share of true `outcomes`, with Wilson's interval."""
    return wilson(sum(outcomes), len(outcomes), confidence)


def sign_test(successes: int, n: int, alternative: Literal["two-sided", "greater"] = "two-sided") -> float:
    """The exact p-value of `successes` in `n` tosses of a fair coin; 1 if n is 0."""
    from scipy.special import bdtr, bdtrc

    # The binomial distribution function itself: `scipy.stats.binomtest` gives the same p a thousand times slower
    if alternative == "greater":
        return float(bdtrc(successes - 1, n, 0.5)) if successes else 1.0
    return min(1.0, 2 * float(bdtr(min(successes, n - successes), n, 0.5)))


def bootstrap_mean(values: Sequence[float], seed: int = 0, draws: int = 4000, confidence: float = 0.95) -> Rate:
    """The mean of `values` with a bootstrap-t interval; the same seed gives the same interval.

    For quantities that are not yes or no, such as lengths and scores. Each resample's mean is divided by its own
    standard error (Efron and Tibshirani, 1993, ch. 12; ``scipy.stats.bootstrap`` cannot), because with skewed values
    the percentile interval is too short on the side of the long tail. For fewer than ten values, or if a resample may
    consist of equal values, it is the percentile interval, widened as a t interval is wider than a normal one
    (Hesterberg, 2015). A single value has an interval without width.
    """
    if not values:
        # Without values a mean can be anything; a rate would be between 0 and 1.
        return Rate(None, -math.inf, math.inf, 0)
    # One value has no spread to resample.
    if len(values) == 1:
        return Rate(float(values[0]), float(values[0]), float(values[0]), 1)
    sample = np.asarray(values, dtype=np.float64)
    n, mean = sample.size, float(sample.mean())
    rng = np.random.default_rng(seed)
    # In batches: 4,000 resamples of a million values would not fit into memory.
    batch = max(1, _BATCH // n)
    means, errors = np.empty(draws), np.empty(draws)
    for start in range(0, draws, batch):
        resamples = rng.choice(sample, (min(batch, draws - start), n))
        means[start : start + batch] = resamples.mean(axis=1)
        errors[start : start + batch] = resamples.std(axis=1, ddof=1) / math.sqrt(n)
    ends = [(1 - confidence) / 2, (1 + confidence) / 2]
    if n >= _MIN_FOR_BOOTSTRAP_T and errors.min() > _ZERO_ERROR * np.abs(sample).max():
        low, high = np.quantile((means - mean) / errors, ends) * sample.std(ddof=1) / math.sqrt(n)
        return Rate(mean, mean - float(high), mean - float(low), n)  # the quantiles change sides: see Efron
    widening = math.sqrt(n / (n - 1)) * t_quantile(n - 1, confidence) / _z(confidence)
    low, high = np.quantile(means, ends)
    return Rate(mean, mean - widening * (mean - float(low)), mean + widening * (float(high) - mean), n)


def allow_for_unseen(rate: Rate, confidence: float = 0.95) -> Rate:
    """The mean of n probabilities, its interval at least as wide as a sign test of n leaves open.

    Values that agree have no spread, so that an interval from their spread has no width. But n values alike leave open
    that up to 1 - (alpha / 2) ** (1 / n) of all are the opposite, 1 - p instead of p: Clopper and Pearson's (1934)
    bound for none in n. The interval reaches at least to the mean with that share of opposites; it therefore includes
    one half exactly if the two-sided sign test of n equal values does not reject it. If the values vary, their own
    interval is wider already.
    """
    if rate.value is None:
        return rate
    opposite = 1 - ((1 - confidence) / 2) ** (1 / rate.n)
    mean = rate.value + opposite * (1 - 2 * rate.value)
    return replace(rate, low=min(rate.low, mean), high=max(rate.high, mean))


def mcnemar(first: Sequence[bool], second: Sequence[bool], confidence: float = 0.95) -> PairedTest:
    """Do two models differ on the same requests? Both sequences hold the outcomes in the same order of requests.

    Only requests on which the models disagree carry information; if the models are equal, each of them is a toss of a
    fair coin. The interval of the difference is Bonett and Price's (2012).

    Raises:
        ValueError: the two sequences differ in length.
    """
    # Only requests on which the models differ show which one does it more often.
    gained = sum(b and not a for a, b in zip(first, second, strict=True))
    lost = sum(a and not b for a, b in zip(first, second, strict=True))
    n = len(first)
    low, high = bonett_price(gained, lost, n, confidence)
    p = sign_test(gained, gained + lost)
    return PairedTest((gained - lost) / n if n else None, low, high, n, lost, gained, p)


def paired_mean(first: Sequence[float], second: Sequence[float], seed: int = 0, draws: int = 2000) -> PairedMean:
    """Do two models differ in the mean of a number? A bootstrap interval, and the p of `sign_flip`.

    Raises:
        ValueError: the two sequences differ in length.
    """
    differences = [b - a for a, b in zip(first, second, strict=True)]
    if len(differences) < 2:
        return PairedMean(None, 0.0, 0.0, len(differences), 1.0)
    mean = bootstrap_mean(differences, seed, draws)
    return PairedMean(mean.value, mean.low, mean.high, mean.n, sign_flip(differences, seed, draws))


def sign_flip(differences: Sequence[float], seed: int = 0, draws: int = 2000) -> float:
    """The two-sided p of a mean of zero, by flipping signs of the differences at random (Fisher's randomisation test).

    It is valid at any n if the differences are symmetric about zero when nothing differs. With skewed differences
    (exponential), 20 of them raise 8 % false alarms instead of 5 %, 100 of them about 6 %.
    """
    values = np.asarray(differences, dtype=np.float64)
    # One matrix product; `scipy.stats.permutation_test` flips each sign in a Python loop and is 30 times slower
    signs = np.random.default_rng(seed).choice(np.array([-1.0, 1.0]), (draws, values.size))
    reached = np.abs(signs @ values) >= abs(values.sum()) - 1e-9  # rounding must not separate equal sums
    # The observed signs are one of the flips, so that p is never 0.
    return float((1 + reached.sum()) / (1 + draws))


def jackknife(without_each: Sequence[float] | NDArray[np.float64]) -> float:
    """The standard error of a statistic, from its values without each of the observations (Tukey, 1958)."""
    values = np.asarray(without_each, dtype=np.float64)
    return float(np.sqrt((values.size - 1) * values.var()))


def interval_about(value: float, error: float, confidence: float = 0.95) -> tuple[float, float]:
    """The normal interval about a statistic with this standard error."""
    return value - _z(confidence) * error, value + _z(confidence) * error


def bonett_price(gained: float, lost: float, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """The interval of a difference of paired rates, `gained` minus `lost` of `n` (Bonett and Price, 2012)."""
    if n == 0:
        return -1.0, 1.0
    # One request is added to either side (Laplace): without it, the interval has no width when no outcome changed.
    up, down = (gained + 1) / (n + 2), (lost + 1) / (n + 2)
    spread = _z(confidence) * math.sqrt((up + down - (up - down) ** 2) / (n + 2))
    return max(-1.0, up - down - spread), min(1.0, up - down + spread)


def newcombe(first: Rate, second: Rate) -> Difference:
    """The difference of two rates on different requests, from their intervals (Newcombe, 1998, method 10).

    The same formula holds for two means (Zou and Donner, 2008), which is why this takes intervals and not the counts
    that ``statsmodels.stats.proportion.confint_proportions_2indep`` takes.
    """
    if first.value is None or second.value is None:
        return Difference(None, -1.0, 1.0, first, second)
    difference = second.value - first.value
    # Each end adds, in squares, how far the two rates may move towards each other or apart.
    low = difference - math.hypot(second.value - second.low, first.high - first.value)
    high = difference + math.hypot(second.high - second.value, first.value - first.low)
    return Difference(difference, low, high, first, second)


def t_quantile(freedom: int, confidence: float = 0.95) -> float:
    """The two-sided quantile of Student's t at this confidence."""
    from scipy.special import stdtrit

    return float(stdtrit(freedom, (1 + confidence) / 2))


def _z(confidence: float) -> float:
    return NormalDist().inv_cdf((1 + confidence) / 2)

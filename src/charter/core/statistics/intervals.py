"""How sure we are: intervals for rates and means, and tests between two models on the same requests."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

_AT_ONCE = 2_000_000  # values resampled at once: 16 MB


_ENOUGH = 10
"""Values from which on a resample's own spread tells something."""


_ROUNDING = 1e-12
"""A standard error of values that are all the same is a little over 0 in floating point, as a share of them."""


@dataclass(frozen=True)
class Rate:
    """A share or a mean with its interval.

    ``value`` is None where ``n`` is 0: nothing was measured, which is not the same as zero.
    """

    value: float | None
    low: float
    high: float
    n: int

    def within(self, least: float, most: float) -> "Rate":
        """The same with its interval cut to what is possible."""
        return replace(self, low=max(self.low, least), high=min(self.high, most))

    def to_dict(self) -> dict[str, float | int | None]:
        """As it stands in ``evaluation.json``."""
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
        p: McNemar's exact two-sided p-value. It is conservative: it raises fewer false alarms than it says, never more.
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
        """A test from ``evaluation.json``; earlier versions wrote another p beside it, which is left out."""
        return cls(**{one.name: values[one.name] for one in fields(cls)})

    def to_dict(self) -> dict[str, float | int | None]:
        """As it stands in ``evaluation.json``."""
        return asdict(self)


@dataclass(frozen=True)
class PairedMean:
    """Two models on the same n requests, one number each: mean of the second minus mean of the first.

    Attributes:
        difference: None where n is below 2, for one pair tells nothing of its spread.
        p: of no difference, two-sided.
    """

    difference: float | None
    low: float
    high: float
    n: int
    p: float

    def to_dict(self) -> dict[str, float | int | None]:
        """As it stands in ``evaluation.json``."""
        return asdict(self)


@dataclass(frozen=True)
class Difference:
    """Two models, each on requests of its own: rate or mean of the second minus that of the first.

    Without shared requests nothing is paired, so the interval is wider than `PairedTest` would have it.
    """

    difference: float | None
    low: float
    high: float
    first: Rate
    second: Rate

    def to_dict(self) -> dict[str, Any]:
        """As a comparison's JSON holds it."""
        return asdict(self)


def wilson(successes: int, n: int, confidence: float = 0.95) -> Rate:
    """The share `successes` / `n` with Wilson's score interval (Wilson, 1927).

    It keeps its coverage at shares near 0 and 1, where aligned models live and where the usual
    normal interval shrinks to nothing.

    Raises:
        ValueError: `successes` is not between 0 and `n`.
    """
    if not 0 <= successes <= n:
        raise ValueError(f"successes {successes}: must be between 0 and n = {n}.")
    if n == 0:
        return Rate(None, 0.0, 1.0, 0)
    return Rate(successes / n, *wilson_interval(successes / n, n, confidence), n)


def wilson_interval(share: float, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson's interval about `share` of `n`, which need not be a whole number of them: to plan how many to ask."""
    z = _z(confidence)
    centre = share + z * z / (2 * n)
    spread = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    scale = 1 + z * z / n
    low = 0.0 if share == 0 else (centre - spread) / scale
    high = 1.0 if share == 1 else (centre + spread) / scale
    return low, high


def rate_of(outcomes: Sequence[bool], confidence: float = 0.95) -> Rate:
    """The share of yes among `outcomes`, with Wilson's interval."""
    return wilson(sum(outcomes), len(outcomes), confidence)


def bootstrap_mean(values: Sequence[float], seed: int = 0, draws: int = 4000, confidence: float = 0.95) -> Rate:
    """The mean of `values` with a bootstrap-t interval; the same seed gives the same interval.

    For quantities that are not yes or no, such as lengths and scores. Each resample's mean is taken in its own standard
    errors (Efron and Tibshirani, 1993, ch. 12), because of skewed values the percentile interval falls short on the
    side of the long tail. Where that cannot be, of fewer than ten values or of values of which a resample may be all
    the same, it is the percentile interval, widened to what a t interval has beside a normal one (Hesterberg, 2015).
    One value tells nothing of its spread, and has no interval.
    """
    if not values:
        return Rate(None, -math.inf, math.inf, 0)
    if len(values) == 1:
        return Rate(float(values[0]), float(values[0]), float(values[0]), 1)
    sample = np.asarray(values, dtype=np.float64)
    random = np.random.default_rng(seed)
    at_once = max(1, _AT_ONCE // sample.size)
    parts = [
        _moments(random.choice(sample, (min(at_once, draws - done), sample.size))) for done in range(0, draws, at_once)
    ]
    means, errors = (np.concatenate(found) for found in zip(*parts, strict=True))
    ends, mean = [(1 - confidence) / 2, (1 + confidence) / 2], float(sample.mean())
    if sample.size >= _ENOUGH and errors.min() > _ROUNDING * np.abs(sample).max():
        low, high = np.quantile((means - mean) / errors, ends) * sample.std(ddof=1) / math.sqrt(sample.size)
        return Rate(mean, mean - float(high), mean - float(low), sample.size)
    wider, (low, high) = _widening(sample.size, confidence), np.quantile(means, ends)
    return Rate(mean, mean - wider * (mean - float(low)), mean + wider * (float(high) - mean), sample.size)


def mcnemar(first: Sequence[bool], second: Sequence[bool], confidence: float = 0.95) -> PairedTest:
    """Do two models differ on the same requests? Outcomes are in the same order of requests.

    Only requests on which the models disagree carry information; under no difference each of them
    falls to either side like a fair coin. The difference's interval is Bonett and Price's (2012).

    Raises:
        ValueError: the two sequences differ in length.
    """
    gained = sum(b and not a for a, b in zip(first, second, strict=True))
    lost = sum(a and not b for a, b in zip(first, second, strict=True))
    n, discordant = len(first), gained + lost
    tail = sum(math.comb(discordant, k) for k in range(min(gained, lost) + 1))
    p = min(1.0, 2 * tail / 2**discordant)
    low, high = bonett_price(gained, lost, n, confidence)
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
    """The two-sided p of a mean of zero, by turning the differences' signs at random (Fisher's randomisation test).

    It is valid at any n for differences that are symmetric about zero when nothing differs. Of 20 differences that are
    skewed as waiting times are it raises 8 % false alarms in place of 5, of 100 some 6 %.
    """
    values = np.asarray(differences, dtype=np.float64)
    signs = np.random.default_rng(seed).choice(np.array([-1.0, 1.0]), (draws, values.size))
    reached = np.abs(signs @ values) >= abs(values.sum()) - 1e-9
    return float((1 + reached.sum()) / (1 + draws))


def jackknife(without_each: Sequence[float] | NDArray[np.float64]) -> float:
    """The standard error of a figure, from what it is without each of the observations (Tukey, 1958)."""
    values = np.asarray(without_each, dtype=np.float64)
    return float(np.sqrt((values.size - 1) * values.var()))


def interval_about(value: float, error: float, confidence: float = 0.95) -> tuple[float, float]:
    """The normal interval about a figure with this standard error."""
    return value - _z(confidence) * error, value + _z(confidence) * error


def bonett_price(gained: float, lost: float, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """The interval of a difference of paired rates, `gained` minus `lost` of `n` (Bonett and Price, 2012)."""
    if n == 0:
        return -1.0, 1.0
    up, down = (gained + 1) / (n + 2), (lost + 1) / (n + 2)
    spread = _z(confidence) * math.sqrt((up + down - (up - down) ** 2) / (n + 2))
    return max(-1.0, up - down - spread), min(1.0, up - down + spread)


def newcombe(first: Rate, second: Rate) -> Difference:
    """The difference of two rates on different requests, from Wilson's intervals (Newcombe, 1998, method 10).

    The same square-and-add of two intervals serves for means as well (Zou and Donner, 2008).
    """
    if first.value is None or second.value is None:
        return Difference(None, -1.0, 1.0, first, second)
    difference = second.value - first.value
    low = difference - math.hypot(second.value - second.low, first.high - first.value)
    high = difference + math.hypot(second.high - second.value, first.value - first.low)
    return Difference(difference, low, high, first, second)


def t_quantile(freedom: int, confidence: float = 0.95) -> float:
    """Student's t at this confidence, two-sided (Abramowitz and Stegun, 26.7.5); exact for one degree of freedom."""
    if freedom == 1:
        return math.tan(math.pi * confidence / 2)
    z, v = _z(confidence), freedom
    t = z + (z**3 + z) / (4 * v) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * v**2)
    return t + (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * v**3)


def _moments(resamples: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Each resample's mean and its standard error."""
    return resamples.mean(axis=1), resamples.std(axis=1, ddof=1) / math.sqrt(resamples.shape[1])


def _widening(n: int, confidence: float) -> float:
    """How much wider a mean's interval should be than its percentile bootstrap has it, for n values."""
    return math.sqrt(n / (n - 1)) * t_quantile(n - 1, confidence) / _z(confidence)


def _z(confidence: float) -> float:
    return NormalDist().inv_cdf((1 + confidence) / 2)

"""Whether probabilities mean what they say, and two ways to mend them when they do not.

Expected calibration error over bins of equal width and the temperature are those of Guo et al. (2017), the
isotonic curve that of Zadrozny and Elkan (2002), fitted by pooling adjacent violators. Logarithms are natural, and
probabilities are kept as far from 0 and 1 as the judges keep theirs before one is taken.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from charter.pipeline.judges.protocol import EDGE, FARTHEST_ODDS

Array = NDArray[np.float64]

BINS = 10
_SLOPES = (0.01, 100.0)  # a judge that is always right, or never, has no best temperature


class Bin(NamedTuple):
    """Probabilities from `low` to under `high`: how many, their mean, and how often they came true."""

    low: float
    high: float
    n: int
    stated: float | None
    found: float | None


class Temperature(NamedTuple):
    """Log-odds times `slope`, which is one over the temperature: under 1 makes the judge less sure."""

    slope: float

    def __call__(self, p: ArrayLike) -> Array:
        """The calibrated probabilities."""
        return _sigmoid(self.slope * _logit(p))

    def to_dict(self) -> dict[str, Any]:
        """As it stands in ``audit.json``."""
        return {"temperature": 1 / self.slope}


class Isotonic(NamedTuple):
    """The rising curve closest to what was found: straight between the points (`stated`, `found`), flat outside."""

    stated: tuple[float, ...]
    found: tuple[float, ...]

    def __call__(self, p: ArrayLike) -> Array:
        """The calibrated probabilities."""
        return np.clip(np.interp(np.asarray(p, np.float64), self.stated, self.found), EDGE, 1 - EDGE)

    def to_dict(self) -> dict[str, Any]:
        """As it stands in ``audit.json``."""
        return {"stated": list(self.stated), "found": list(self.found)}


def reliability(stated: ArrayLike, outcomes: ArrayLike, bins: int = BINS, low: float = 0.0) -> list[Bin]:
    """Bins of equal width from `low` to 1; an outcome is 1 (it came true), 0, or between where neither can be said."""
    p, y = np.asarray(stated, np.float64), np.asarray(outcomes, np.float64)
    edges = np.linspace(low, 1.0, bins + 1)
    place = np.clip(((p - low) / (1 - low) * bins).astype(int), 0, bins - 1)
    return [
        Bin(float(edges[i]), float(edges[i + 1]), int(inside.sum()), _mean(p[inside]), _mean(y[inside]))
        for i in range(bins)
        for inside in (place == i,)
    ]


def calibration_error(bins: Sequence[Bin]) -> float | None:
    """The expected calibration error: how far stated and found are apart, weighed by the bins' sizes."""
    total = sum(b.n for b in bins)
    apart = [b.n * abs(b.stated - b.found) for b in bins if b.stated is not None and b.found is not None]
    return sum(apart) / total if total else None


def brier(stated: ArrayLike, outcomes: ArrayLike) -> float | None:
    """The mean squared distance from the outcome (Brier, 1950); always one half gives 0.25."""
    return _mean((np.asarray(stated, np.float64) - np.asarray(outcomes, np.float64)) ** 2)


def log_loss(stated: ArrayLike, outcomes: ArrayLike) -> float | None:
    """The mean negative log-likelihood in nats; always one half gives 0.693."""
    p, y = np.clip(np.asarray(stated, np.float64), EDGE, 1 - EDGE), np.asarray(outcomes, np.float64)
    return _mean(-(y * np.log(p) + (1 - y) * np.log(1 - p)))


def score(p_right: ArrayLike) -> dict[str, Any]:
    """All of it for pairs, given the probability that the better answer of each got.

    Which answer a pair names first is an accident, so the bins hold the judge's confidence in its own verdict,
    from one half to 1, and how often that verdict is right; at exactly one half it is right half of the time.
    """
    p = np.asarray(p_right, np.float64)
    bins = reliability(np.maximum(p, 1 - p), (np.sign(p - 0.5) + 1) / 2, low=0.5)
    ones = np.ones_like(p)
    return {
        "n": int(p.size),
        "ece": calibration_error(bins),
        "brier": brier(p, ones),
        "log_loss": log_loss(p, ones),
        "reliability": [b._asdict() for b in bins],
    }


def mirrored(p_right: ArrayLike) -> tuple[Array, Array]:
    """Each pair named in both ways, with its outcome: what is fitted to this treats both answers alike."""
    p = np.asarray(p_right, np.float64)
    return np.concatenate([p, 1 - p]), np.concatenate([np.ones_like(p), np.zeros_like(p)])


def fit_temperature(stated: ArrayLike, outcomes: ArrayLike) -> Temperature:
    """The temperature with the smallest log loss, between 0.01 and 100."""
    odds, y = _logit(stated), np.asarray(outcomes, np.float64)
    low, high = np.log(_SLOPES)
    for _ in range(60):  # the loss is convex in the slope, so its derivative changes sign once
        middle = (low + high) / 2
        rising = float(np.mean((_sigmoid(np.exp(middle) * odds) - y) * odds)) > 0
        low, high = (low, middle) if rising else (middle, high)
    return Temperature(float(np.exp((low + high) / 2)))


def fit_isotonic(stated: ArrayLike, outcomes: ArrayLike) -> Isotonic:
    """The rising step function with the smallest squared error, as the corners of its steps."""
    near = np.round(np.asarray(stated, np.float64), 9)  # 0.1 and 1 - 0.9 are one place
    places, where, sizes = np.unique(near, return_inverse=True, return_counts=True)
    means = np.bincount(where, np.asarray(outcomes, np.float64)) / sizes
    blocks: list[tuple[float, float, float, float]] = []  # mean, weight, first place, last place
    for place, mean, size in zip(places.tolist(), means.tolist(), sizes.tolist(), strict=True):
        block = (mean, float(size), place, place)
        while blocks and blocks[-1][0] >= block[0]:
            block = _pool(blocks.pop(), block)
        blocks.append(block)
    corners = [(x, mean) for mean, _, first, last in blocks for x in dict.fromkeys((first, last))]
    return Isotonic(tuple(x for x, _ in corners), tuple(y for _, y in corners))


def curve_of(record: Mapping[str, Any], name: str) -> Temperature | Isotonic | None:
    """The curve that an ``audit.json`` holds under `name`; None where there were too few pairs to fit it.

    Raises:
        LookupError, TypeError, ValueError: the record is none of an audit.
    """
    fitted = record["figures"]["calibration"][name]
    if fitted is None:
        return None
    parameters = fitted["parameters"]
    if name == "temperature":
        return Temperature(1 / float(parameters["temperature"]))
    stated, found = (tuple(map(float, parameters[part])) for part in ("stated", "found"))
    return Isotonic(stated, found)


def _pool(
    one: tuple[float, float, float, float], other: tuple[float, float, float, float]
) -> tuple[float, float, float, float]:
    weight = one[1] + other[1]
    return (one[0] * one[1] + other[0] * other[1]) / weight, weight, one[2], other[3]


def _mean(values: Array) -> float | None:
    return float(values.mean()) if values.size else None


def _logit(p: ArrayLike) -> Array:
    clipped = np.clip(np.asarray(p, np.float64), EDGE, 1 - EDGE)
    return np.log(clipped / (1 - clipped))


def _sigmoid(odds: Array) -> Array:
    return 1 / (1 + np.exp(-np.clip(odds, -FARTHEST_ODDS, FARTHEST_ODDS)))

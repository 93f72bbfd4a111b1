"""Do a judge's probabilities come true, and two curves that correct them if they do not.

Expected calibration error over bins of equal width and temperature scaling are those of Guo et al. (2017), the
isotonic curve is that of Zadrozny and Elkan (2002). Logarithms are natural. Probabilities are clipped as the judges
clip theirs before a logarithm is taken.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from charter.pipeline.judges.protocol import MAX_LOG_ODDS, MIN_PROBABILITY

Array = NDArray[np.float64]

BINS = 10
_SLOPES = (0.01, 100.0)  # bounds, because a judge that is always right, or never, has no best temperature


class Bin(NamedTuple):
    """Probabilities from `low` to below `high`: their number, their mean, and the share of them that came true."""

    low: float
    high: float
    n: int
    stated: float | None
    found: float | None


class Temperature(NamedTuple):
    """Multiplies log-odds by `slope`, which is 1 / temperature: below 1 it makes the judge less sure."""

    slope: float

    def __call__(self, p: ArrayLike) -> Array:
        """The calibrated probabilities."""
        return _sigmoid(self.slope * _logit(p))

    def to_dict(self) -> dict[str, Any]:
        """As written to ``audit.json``."""
        return {"temperature": 1 / self.slope}


class Isotonic(NamedTuple):
    """The rising curve closest to the outcomes: linear between the points (`stated`, `found`), constant outside."""

    stated: tuple[float, ...]
    found: tuple[float, ...]

    def __call__(self, p: ArrayLike) -> Array:
        """The calibrated probabilities."""
        return np.clip(
            np.interp(np.asarray(p, np.float64), self.stated, self.found), MIN_PROBABILITY, 1 - MIN_PROBABILITY
        )

    def to_dict(self) -> dict[str, Any]:
        """As written to ``audit.json``."""
        return {"stated": list(self.stated), "found": list(self.found)}


def reliability(stated: ArrayLike, outcomes: ArrayLike, bins: int = BINS, low: float = 0.0) -> list[Bin]:
    """Bins of equal width from `low` to 1.

    Args:
        stated: probabilities, shape (n,).
        outcomes: shape (n,): 1 if it came true, 0 if not, 0.5 if undecided.
        bins: number of bins.
        low: where the first one starts.
    """
    p, y = np.asarray(stated, np.float64), np.asarray(outcomes, np.float64)
    edges = np.linspace(low, 1.0, bins + 1)
    bin_of = np.clip(((p - low) / (1 - low) * bins).astype(int), 0, bins - 1)  # p = 1 belongs to the last bin
    members = [bin_of == i for i in range(bins)]
    return [
        Bin(float(edges[i]), float(edges[i + 1]), int(inside.sum()), _mean(p[inside]), _mean(y[inside]))
        for i, inside in enumerate(members)
    ]


def calibration_error(bins: Sequence[Bin]) -> float | None:
    """The expected calibration error: the mean distance of stated and found, weighted by the bins' sizes."""
    total = sum(b.n for b in bins)
    distances = [b.n * abs(b.stated - b.found) for b in bins if b.stated is not None and b.found is not None]
    return sum(distances) / total if total else None


def brier(stated: ArrayLike, outcomes: ArrayLike) -> float | None:
    """The mean squared distance from the outcome (Brier, 1950); 0.25 if every p is one half."""
    return _mean((np.asarray(stated, np.float64) - np.asarray(outcomes, np.float64)) ** 2)


def log_loss(stated: ArrayLike, outcomes: ArrayLike) -> float | None:
    """The mean negative log-likelihood in nats; 0.693 if every p is one half."""
    p, y = (
        np.clip(np.asarray(stated, np.float64), MIN_PROBABILITY, 1 - MIN_PROBABILITY),
        np.asarray(outcomes, np.float64),
    )
    return _mean(-(y * np.log(p) + (1 - y) * np.log(1 - p)))


def score(p_right: ArrayLike) -> dict[str, Any]:
    """Calibration error, Brier score, log loss and bins, given the judge's p of the better answer of each pair.

    Which answer a pair names first is arbitrary, so the bins hold the judge's confidence in its own verdict, from one
    half to 1, and how often that verdict is right; a p of exactly one half counts as right half of the time.
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
    """Each pair in both orders, with its outcomes, so that a curve fitted to them treats both answers alike."""
    p = np.asarray(p_right, np.float64)
    return np.concatenate([p, 1 - p]), np.concatenate([np.ones_like(p), np.zeros_like(p)])


def fit_temperature(stated: ArrayLike, outcomes: ArrayLike) -> Temperature:
    """The temperature with the smallest log loss, between 0.01 and 100."""
    from scipy.optimize import brentq  # only an audit needs it

    odds, y = _logit(stated), np.asarray(outcomes, np.float64)

    def gradient(log_slope: float) -> float:
        return float(np.mean((_sigmoid(np.exp(log_slope) * odds) - y) * odds))

    # The loss is convex in the slope, so its gradient changes sign once, within the bounds or not
    low, high = np.log(_SLOPES)
    if gradient(low) > 0:
        best = low
    elif gradient(high) <= 0:
        best = high
    else:
        best = brentq(gradient, low, high, xtol=1e-14)
    return Temperature(float(np.exp(best)))


def fit_isotonic(stated: ArrayLike, outcomes: ArrayLike) -> Isotonic:
    """The rising step function with the smallest squared error, as the corners of its steps."""
    from scipy.optimize import isotonic_regression  # only an audit needs it

    rounded = np.round(np.asarray(stated, np.float64), 9)  # 0.1 and 1 - 0.9 must be one point
    points, where, sizes = np.unique(rounded, return_inverse=True, return_counts=True)
    means = np.bincount(where, np.asarray(outcomes, np.float64)) / sizes
    fit = isotonic_regression(means, weights=sizes)
    corners = [
        (float(points[corner]), float(fit.x[first]))
        for first, end in pairwise(fit.blocks.tolist())
        for corner in sorted({first, end - 1})
    ]
    return Isotonic(tuple(x for x, _ in corners), tuple(y for _, y in corners))


def curve_of(record: Mapping[str, Any], name: str) -> Temperature | Isotonic | None:
    """The curve `name` of an ``audit.json``; None if there were too few pairs to fit it.

    Raises:
        LookupError, TypeError, ValueError: the record is not that of an audit.
    """
    fitted = record["figures"]["calibration"][name]
    if fitted is None:
        return None
    parameters = fitted["parameters"]
    if name == "temperature":
        return Temperature(1 / float(parameters["temperature"]))
    stated, found = (tuple(map(float, parameters[part])) for part in ("stated", "found"))
    return Isotonic(stated, found)


def _mean(values: Array) -> float | None:
    return float(values.mean()) if values.size else None


def _logit(p: ArrayLike) -> Array:
    clipped = np.clip(np.asarray(p, np.float64), MIN_PROBABILITY, 1 - MIN_PROBABILITY)
    return np.log(clipped / (1 - clipped))


def _sigmoid(odds: Array) -> Array:
    return 1 / (1 + np.exp(-np.clip(odds, -MAX_LOG_ODDS, MAX_LOG_ODDS)))

"""Does a measurement keep a limit? Yes, no, or not enough data, and how many more requests would tell."""

import bisect
import math
from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple

from charter.core.statistics.intervals import (
    Difference,
    PairedMean,
    PairedTest,
    Rate,
    bonett_price,
    newcombe,
    wilson_interval,
)

Bounds = tuple[float, float]
By = Literal["bound", "value", "alarm"]

MOST = 1_000_000
"""The most requests of a category that are worth naming; what needs more lies on its limit."""

ROUNDING = 1e-9
"""A difference of two rates such as 0.98 - 0.96 is a little over 0.02 in floating point."""


class Measured(NamedTuple):
    """A share or a change that should be low; `interval_at` gives the interval it would have on so many requests."""

    value: float
    low: float
    high: float
    n: int
    interval_at: Callable[[int], Bounds]


class Ruling(NamedTuple):
    """Whether a limit is kept.

    Attributes:
        passed: it is, as far as can be told.
        undecided: the interval reaches to both sides of the limit; then `passed` is False.
        more: further requests that decide it if the share stays; None where it is decided, or where none would do.
    """

    passed: bool
    undecided: bool = False
    more: int | None = None


def measured_rate(rate: Mapping[str, Any]) -> Measured | None:
    """A rate as it stands in ``evaluation.json``; None where nothing was measured."""
    share, n = rate["value"], rate["n"]
    return Measured(share, rate["low"], rate["high"], n, lambda at: wilson_interval(share, at)) if n else None


def measured_rise(change: PairedTest | Difference) -> Measured | None:
    """How much a rate rose; None where nothing was measured."""
    if change.difference is None:
        return None
    if isinstance(change, PairedTest):
        n, gained, lost = change.n, change.only_second / change.n, change.only_first / change.n
        return Measured(
            change.difference, change.low, change.high, n, lambda at: bonett_price(gained * at, lost * at, at)
        )
    first, second = change.first, change.second
    share = second.value
    assert share is not None  # else there were no difference

    def grown(at: int) -> Bounds:
        made = newcombe(first, Rate(share, *wilson_interval(share, at), at))
        return made.low, made.high

    return Measured(change.difference, change.low, change.high, second.n, grown)


def measured_fall(change: PairedTest | Difference) -> Measured | None:
    """How much a rate fell; None where nothing was measured."""
    rise = measured_rise(change)
    return mirror(rise) if rise else None


def measured_mean(change: PairedMean | Difference, per: float = 1.0) -> Measured | None:
    """How much a mean rose, as a share of `per`; None where nothing was measured."""
    if change.difference is None:
        return None
    n = change.n if isinstance(change, PairedMean) else change.second.n
    value, low, high = (figure / per for figure in (change.difference, change.low, change.high))

    def narrowed(at: int) -> Bounds:
        scale = math.sqrt(n / at)
        return value - scale * (value - low), value + scale * (high - value)

    return Measured(value, low, high, n, narrowed)


def mirror(measured: Measured) -> Measured:
    """The same the other way round: a rise as a fall."""

    def mirrored(at: int) -> Bounds:
        low, high = measured.interval_at(at)
        return -high, -low

    return Measured(0.0 - measured.value, -measured.high, -measured.low, measured.n, mirrored)


def rule(measured: Measured, limit: float, by: By) -> Ruling:
    """Hold a measurement against a limit: by its 95 % interval, or by the measured value alone.

    On bounds a limit is kept when the upper end is within it, and broken when the lower end is over it. An alarm goes
    off in the latter case only; whatever does not set it off is kept.
    """
    if by == "value":
        return Ruling(measured.value <= limit + ROUNDING)
    if by == "alarm":
        return Ruling(measured.low <= limit + ROUNDING)
    bounds = measured.low, measured.high
    if _decides(bounds, limit):
        return Ruling(measured.high <= limit + ROUNDING)
    return Ruling(passed=False, undecided=True, more=_further(measured, limit))


def _decides(bounds: Bounds, limit: float) -> bool:
    low, high = bounds
    return high <= limit + ROUNDING or low > limit + ROUNDING


def _further(measured: Measured, limit: float) -> int | None:
    """The fewest further requests on which the interval, about the same share, clears the limit."""

    def decides(at: int) -> bool:
        return _decides(measured.interval_at(at), limit)

    if measured.n >= MOST or not decides(MOST):
        return None
    return bisect.bisect_left(range(measured.n, MOST), True, key=decides)

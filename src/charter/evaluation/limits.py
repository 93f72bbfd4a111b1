"""Is a measurement within a limit? Yes, no, or not enough data, and how many more requests would decide it."""

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
"""The most requests of a category that are worth naming; a share that needs more is at its limit."""

ROUNDING = 1e-9
"""A difference of two rates such as 0.98 - 0.96 is a little over 0.02 in floating point."""


class Measured(NamedTuple):
    """A share or a change that should be low; `interval_at` returns the interval that it would have on n requests."""

    value: float
    low: float
    high: float
    n: int
    interval_at: Callable[[int], Bounds]


class Ruling(NamedTuple):
    """Whether a measurement is within its limit.

    Attributes:
        passed: it is, as far as the data show.
        undecided: the interval includes the limit; then `passed` is False.
        more: further requests that decide it if the share stays; None if it is decided, or if no number would do.
    """

    passed: bool
    undecided: bool = False
    more: int | None = None


def measured_rate(rate: Mapping[str, Any]) -> Measured | None:
    """A rate as in ``evaluation.json``; None if nothing was measured."""
    share, n = rate["value"], rate["n"]
    return Measured(share, rate["low"], rate["high"], n, lambda at: wilson_interval(share, at)) if n else None


def measured_rise(change: PairedTest | Difference) -> Measured | None:
    """How much a rate rose; None if nothing was measured."""
    if change.difference is None:
        return None
    if isinstance(change, PairedTest):
        n, gained, lost = change.n, change.only_second / change.n, change.only_first / change.n
        return Measured(
            change.difference, change.low, change.high, n, lambda at: bonett_price(gained * at, lost * at, at)
        )
    first, second = change.first, change.second
    share = second.value
    assert share is not None  # otherwise there is no difference

    def interval_at(n: int) -> Bounds:  # more requests to the second model only: the first one's run has ended
        difference = newcombe(first, Rate(share, *wilson_interval(share, n), n))
        return difference.low, difference.high

    return Measured(change.difference, change.low, change.high, second.n, interval_at)


def measured_fall(change: PairedTest | Difference) -> Measured | None:
    """How much a rate fell; None if nothing was measured."""
    rise = measured_rise(change)
    return mirror(rise) if rise else None


def measured_mean(change: PairedMean | Difference, per: float = 1.0) -> Measured | None:
    """How much a mean rose, as a share of `per`; None if nothing was measured."""
    if change.difference is None:
        return None
    n = change.n if isinstance(change, PairedMean) else change.second.n
    value, low, high = (figure / per for figure in (change.difference, change.low, change.high))

    def interval_at(at: int) -> Bounds:  # a mean's interval narrows with the root of n
        scale = math.sqrt(n / at)
        return value - scale * (value - low), value + scale * (high - value)

    return Measured(value, low, high, n, interval_at)


def mirror(measured: Measured) -> Measured:
    """The same measurement with the opposite sign: a rise as a fall."""

    def interval_at(n: int) -> Bounds:
        low, high = measured.interval_at(n)
        return -high, -low

    # 0.0 - x instead of -x: no change must not print as -0.0
    return Measured(0.0 - measured.value, -measured.high, -measured.low, measured.n, interval_at)


def rule(measured: Measured, limit: float, by: By) -> Ruling:
    """Compare a measurement with a limit.

    By `bound`, it passes if the upper end of its 95 % interval is within the limit, and fails if the lower end is over
    it. By `alarm`, it fails only if the lower end is over the limit. By `value`, the measured value alone counts.
    """
    if by != "bound":
        return Ruling((measured.value if by == "value" else measured.low) <= limit + ROUNDING)

    def decides(bounds: Bounds) -> bool:
        low, high = bounds
        return high <= limit + ROUNDING or low > limit + ROUNDING

    if decides((measured.low, measured.high)):
        return Ruling(measured.high <= limit + ROUNDING)
    more = None
    if measured.n < MOST and decides(measured.interval_at(MOST)):
        # The fewest further requests on which the interval, about the same share, no longer includes the limit
        more = bisect.bisect_left(range(measured.n, MOST), True, key=lambda n: decides(measured.interval_at(n)))
    return Ruling(passed=False, undecided=True, more=more)

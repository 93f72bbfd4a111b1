"""Numbers as people read them: percentages, intervals, changes, p-values and times."""

import time
from collections.abc import Mapping
from typing import Any


def utc_now() -> str:
    """The present time in UTC, as all records of Charter have it: ``2026-01-31T09:30:00Z``."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def shorten_name(name: str, length: int = 32) -> str:
    """`name` on one line, cut where it would not fit beside a plot."""
    name = " ".join(name.split())
    return name if len(name) <= length else f"{name[: length - 1]}…"


def percent(share: float | None, digits: int = 1) -> str:
    """``0.0125`` as ``1.2 %``; a dash where nothing was measured."""
    return "-" if share is None else f"{100 * share:.{digits}f} %"


def interval(rate: Mapping[str, Any]) -> str:
    """``95.1 to 98.3 %``: where the true share lies with 95 % confidence."""
    return "no data" if not rate["n"] else f"{100 * rate['low']:.1f} to {100 * rate['high']:.1f} %"


def points(share: float) -> str:
    """A change of ``0.021`` as ``+2.1``, in percentage points."""
    return f"{100 * share:+.1f}".replace("-", "\N{MINUS SIGN}")


def nats(value: float) -> str:
    """A reward of 0.306 nats as ``+0.31``, and a small one, 0.0042, as ``+0.0042``."""
    return f"{value:{'+.2f' if abs(value) >= 0.1 else '+.2g'}}".replace("-", "\N{MINUS SIGN}")


def p_value(p: float) -> str:
    """``p < 0.001``, or ``p = 0.031``."""
    # A smaller p suggests a precision that the test does not have.
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"

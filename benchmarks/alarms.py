"""How large a regression must be for the gate's alarms to go off nine times in ten, with the default limits.

    python benchmarks/alarms.py

Of each alarm: the fewest cases among its requests that set it off, and the rate of the model at which that many or more
are seen with probability 0.9. The base, or the other group, does it never.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

from charter.config import Evaluation, Gate
from charter.core.statistics.intervals import bonett_price, wilson

KINDS, CONTRASTS = 8, 5
"""Of the sandbox: kinds of harm, and pairs of groups that stand in each other's place."""
POWER = 0.9


class Alarm(NamedTuple):
    """Requests, limit, and the low end of the interval for so many cases."""

    name: str
    n: int
    limit: float
    low: Callable[[int, int], float]


def rate(confidence: float = 0.95) -> Callable[[int, int], float]:
    return lambda cases, n: wilson(cases, n, confidence).low


def rise(confidence: float = 0.95) -> Callable[[int, int], float]:
    return lambda cases, n: bonett_price(cases, 0, n, confidence)[0]


def alarms() -> list[Alarm]:
    asked, gate = Evaluation(), Gate()
    probes, limits = asked.probes, gate.probes
    each, served = asked.n_harmful // KINDS, asked.n_benign + asked.n_borderline
    return [
        Alarm("harm of one kind", each, gate.max_harmful_rate_of_a_kind, rate(1 - 0.05 / KINDS)),
        Alarm("harm under one sort of pressure", probes.n_pressed, limits.max_pressed_harmful_rate, rate()),
        Alarm("harm after an earlier exchange", probes.n_pressed, limits.max_turns_harmful_rate, rate()),
        Alarm("right answers given up", probes.n_insisted, limits.max_kept_right_drop, rise()),
        Alarm("bluffing", probes.n_unknown, limits.max_admits_unknown_drop, rise()),
        Alarm(
            "one group treated worse", probes.n_paired // CONTRASTS, limits.max_group_gap, rise(1 - 0.05 / CONTRASTS)
        ),
        Alarm("apologies; warnings and morals", served, limits.max_apology_rise, rise()),
    ]


def fewest(alarm: Alarm) -> int:
    """Cases that set it off."""
    return next(cases for cases in range(alarm.n + 1) if alarm.low(cases, alarm.n) > alarm.limit)


def detectable(cases: int, n: int) -> float:
    """The rate, in steps of half a point, at which so many of n or more are seen often enough."""

    def seen(share: float) -> float:
        return sum(math.comb(n, k) * share**k * (1 - share) ** (n - k) for k in range(cases, n + 1))

    return next(step / 200 for step in range(201) if seen(step / 200) >= POWER)


def main() -> None:
    print("| alarm | requests | limit | goes off from | seen nine times in ten |\n|---|---:|---:|---:|---:|")
    for alarm in alarms():
        cases = fewest(alarm)
        share = f"{100 * detectable(cases, alarm.n):.0f} %"
        print(f"| {alarm.name} | {alarm.n} | {100 * alarm.limit:g} % | {cases} | {share} |")


if __name__ == "__main__":
    main()

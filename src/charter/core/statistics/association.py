"""How two things about the same pairs go together: exact tests, rank correlation, agreement beyond chance."""

import math
from collections import Counter
from collections.abc import Hashable, Sequence
from statistics import NormalDist
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from charter.core.statistics.intervals import Rate, rate_of, wilson

Label = Literal["better", "worse", "tie"]
"""What a person or a judge says of the first of two answers."""
NOTHING = Rate(None, -1.0, 1.0, 0)
_Z = NormalDist().inv_cdf(0.975)


def sign_test(successes: int, n: int) -> float:
    """The exact two-sided p-value of `successes` in `n` throws of a fair coin; 1 where nothing was thrown."""
    fewer, ways, tail = min(successes, n - successes), 1, 0
    for k in range(fewer + 1):
        tail += ways
        ways = ways * (n - k) // (k + 1)
    return min(1.0, 2 * tail / (1 << n))


def fisher_exact(yes: int, no: int, other_yes: int, other_no: int) -> float:
    """Fisher's exact two-sided p-value that two groups have the same share of yes."""
    first, all_yes, n = yes + no, yes + other_yes, yes + no + other_yes + other_no
    tables = range(max(0, all_yes - (n - first)), min(first, all_yes) + 1)
    logs = {k: _log_ways(first, k) + _log_ways(n - first, all_yes - k) - _log_ways(n, all_yes) for k in tables}
    limit = logs[yes] + 1e-7  # tables as rare as this one, but for rounding
    return min(1.0, sum(math.exp(value) for value in logs.values() if value <= limit))


def _log_ways(n: int, k: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)


def split(outcomes: Sequence[bool], groups: Sequence[bool], names: tuple[str, str]) -> dict[str, Any]:
    """The share of yes in each of two groups, its gap (first minus second), and Fisher's p-value for no gap."""
    first = [o for o, in_first in zip(outcomes, groups, strict=True) if in_first]
    second = [o for o, in_first in zip(outcomes, groups, strict=True) if not in_first]
    a, b = rate_of(first), rate_of(second)
    rates = {names[0]: a.to_dict(), names[1]: b.to_dict()}
    if a.value is None or b.value is None:
        return {**rates, "gap": None, "p": None}
    counts = (sum(first), len(first) - sum(first), sum(second), len(second) - sum(second))
    return {**rates, "gap": a.value - b.value, "p": fisher_exact(*counts)}


def rank_correlation(first: ArrayLike, second: ArrayLike) -> Rate:
    """Spearman's correlation, with an interval by Fisher's z; no value where one of them does not vary.

    z has the variance of Bonett and Wright (2000), which holds for few values and strong correlations as well. A
    perfect one has no z: it counts as half way to the next one that so many ranks can have.
    """
    a, b = _ranks(first), _ranks(second)
    n = int(a.size)
    if n < 4 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return NOTHING
    value = float(np.clip(np.corrcoef(a, b)[0, 1], -1.0, 1.0))
    most = 1 - 6 / (n * (n**2 - 1))  # two neighbours that change places cost 12 / (n (n² - 1))
    z, spread = math.atanh(min(max(value, -most), most)), _Z * math.sqrt((1 + value**2 / 2) / (n - 3))
    return Rate(value, min(value, math.tanh(z - spread)), max(value, math.tanh(z + spread)), n)


def _ranks(values: ArrayLike) -> NDArray[np.float64]:
    """From 1, equal values sharing their mean rank."""
    _, where, sizes = np.unique(np.asarray(values, np.float64), return_inverse=True, return_counts=True)
    last = np.cumsum(sizes)
    ranks: NDArray[np.float64] = (last - (sizes - 1) / 2)[where]
    return ranks


def cohen_kappa(first: Sequence[Hashable], second: Sequence[Hashable]) -> Rate:
    """Agreement of two raters beyond what their habits alone would give (Cohen, 1960).

    The interval is Wilson's of the agreement, with their habits taken as known, as Cohen takes them; his own has no
    width where few things were rated and all alike. No value where both say one and the same thing about everything:
    then habit explains all of it.

    Raises:
        ValueError: they did not rate the same number of things.
    """
    n = len(first)
    if len(second) != n:
        raise ValueError(f"ratings {n} and {len(second)}: both raters must rate the same things.")
    ours, theirs = Counter(first), Counter(second)
    expected = sum(ours[label] * theirs[label] for label in ours) / n**2 if n else 1.0
    return _kappa(sum(a == b for a, b in zip(first, second, strict=True)), expected, n)


def pair_kappa(judge: Sequence[Label], people: Sequence[Label]) -> Rate:
    """Cohen's kappa of verdicts on pairs, as if each pair were named in both ways, each answer first once.

    Data that always names the better answer first has people say one and the same thing about every pair,
    which would make kappa zero whatever the judge says. Named both ways, neither side has such a habit.

    Raises:
        ValueError: they did not rate the same number of pairs.
    """
    n = len(judge)
    agreed = sum(a == b for a, b in zip(judge, people, strict=True))
    if n == 0:
        return NOTHING
    ties, others = (sum(label == "tie" for label in labels) / n for labels in (judge, people))
    return _kappa(agreed, ties * others + (1 - ties) * (1 - others) / 2, n)


def _kappa(agreed: int, expected: float, n: int) -> Rate:
    if n == 0 or expected >= 1:
        return NOTHING
    share = wilson(agreed, n)
    value, low, high = ((part - expected) / (1 - expected) for part in (agreed / n, share.low, share.high))
    return Rate(value, max(-1.0, low), high, n)


"""What a judge or a person says about the answer that the data calls the better one."""

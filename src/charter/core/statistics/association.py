"""Association of two measurements of the same pairs: exact tests, rank correlation, agreement beyond chance.

scipy.stats is imported inside the functions that need it, because it takes a second to import.
"""

import math
from collections.abc import Sequence
from statistics import NormalDist
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from charter.core.statistics.intervals import Rate, rate_of, wilson

Label = Literal["better", "worse", "tie"]
"""How a person or a judge rates the first of two answers: the one that the data names as the better one."""
NOT_MEASURED = Rate(None, -1.0, 1.0, 0)


def compare_groups(outcomes: Sequence[bool], groups: Sequence[bool], names: tuple[str, str]) -> dict[str, Any]:
    """The share of true outcomes in each of two groups, the gap (first minus second), and Fisher's exact p of no gap.

    Args:
        outcomes: one per observation.
        groups: whether each observation is in the first group.
        names: of the first and the second group.
    """
    from scipy.stats import fisher_exact

    first = [o for o, in_first in zip(outcomes, groups, strict=True) if in_first]
    second = [o for o, in_first in zip(outcomes, groups, strict=True) if not in_first]
    a, b = rate_of(first), rate_of(second)
    rates = {names[0]: a.to_dict(), names[1]: b.to_dict()}
    if a.value is None or b.value is None:
        return {**rates, "gap": None, "p": None}
    table = [[sum(group), len(group) - sum(group)] for group in (first, second)]
    return {**rates, "gap": a.value - b.value, "p": float(fisher_exact(table).pvalue)}


def rank_correlation(first: ArrayLike, second: ArrayLike) -> Rate:
    """Spearman's correlation, with an interval by Fisher's z; no value if one of the two does not vary.

    z has the variance of Bonett and Wright (2000), which holds for few values and strong correlations as well. A
    perfect correlation has no finite z: it counts as half way to the next value that n ranks can have.
    """
    from scipy.stats import spearmanr

    a, b = np.asarray(first, np.float64), np.asarray(second, np.float64)
    n = int(a.size)
    # The variance of z divides by n - 3, and a constant has no ranks.
    if n < 4 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return NOT_MEASURED
    value = float(np.clip(spearmanr(a, b).statistic, -1.0, 1.0))
    most = 1 - 6 / (n * (n**2 - 1))  # swapping two neighbours costs 12 / (n (n² - 1)); half of that keeps z finite
    z = math.atanh(min(max(value, -most), most))
    spread = NormalDist().inv_cdf(0.975) * math.sqrt((1 + value**2 / 2) / (n - 3))
    return Rate(value, min(value, math.tanh(z - spread)), max(value, math.tanh(z + spread)), n)


def pair_kappa(judge: Sequence[Label], people: Sequence[Label]) -> Rate:
    """Cohen's (1960) kappa of verdicts on pairs, as if each pair were rated twice, with either answer first.

    Data that always name the better answer first have people give the same verdict on every pair, which would make
    kappa zero whatever the judge does. Rated in both orders, neither side has such a habit. The interval is Wilson's
    of the agreement, with the chance agreement taken as known, as Cohen takes it; Cohen's own interval has no width
    if few pairs were rated and all alike. No value if chance alone explains all agreement.

    Raises:
        ValueError: they did not rate the same number of pairs.
    """
    n = len(judge)
    agreed = sum(a == b for a, b in zip(judge, people, strict=True))
    if n == 0:
        return NOT_MEASURED
    ties, other_ties = (sum(label == "tie" for label in labels) / n for labels in (judge, people))
    # Both orders of a pair: someone who does not call it a tie says better as often as worse, hence the half.
    expected = ties * other_ties + (1 - ties) * (1 - other_ties) / 2
    if expected >= 1:
        return NOT_MEASURED
    share = wilson(agreed, n)
    # Kappa is linear in the agreement, so the ends of its interval become those of kappa's.
    value, low, high = ((part - expected) / (1 - expected) for part in (agreed / n, share.low, share.high))
    return Rate(value, max(-1.0, low), high, n)

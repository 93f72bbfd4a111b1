"""Has a rate risen? A test that may be looked at after every probe, for ever.

A test at one per cent that is made anew every hour cries wolf every four days. Here alpha bounds the chance that an
unchanged model is *ever* said to have drifted, over all probes together. Two comparisons are made, each on its share
of alpha.

*Fresh requests* are drawn independently for every probe, so that their outcomes add up over the hours:

1. What was accepted is known from a finite evaluation only. `upper_bound` is the highest rate that it leaves open
   (Clopper and Pearson, 1934); being under it is the null hypothesis.
2. `log_evidence` is the likelihood ratio of a higher rate to that limit, as in Wald's sequential probability ratio test
   (1945), averaged over several higher rates (mixtures: Robbins, 1970) and over the probes with which the change may
   have come (sums over starting times: Shin, Ramdas and Rinaldo, "E-detectors", 2023; here with weights that sum to
   one). While the rate is under the limit, each ratio is a non-negative supermartingale that starts at one, and so is
   their average; by Ville's inequality (1939) it reaches 1 / alpha at any time with probability alpha at most. Without
   the sum over starting times, a thousand quiet probes would have to be outweighed before a change were seen.

*Fixed requests* are the same in every probe, so that their outcomes do not add up: a model that decodes greedily gives
the same answers again. They are compared with the accepted answers to them in pairs, by an exact sign test
(`sign_test`), and probe t spends alpha / (t (t + 1)), which sums to alpha over all t whatever the hours have to do with
each other.
"""

import math
from collections.abc import Sequence

import numpy as np

_ODDS = 2.0 ** np.arange(1, 11)
"""The alternatives: odds twice to a thousand times those of the limit, each with the same weight."""


def upper_bound(bad: int, n: int, alpha: float) -> float:
    """The highest rate that `bad` of `n` leave open; the true one is above it with probability alpha at most."""
    if bad >= n:
        return 1.0
    low, high = bad / n, 1.0
    while high - low > 1e-9:
        middle = (low + high) / 2
        low, high = (middle, high) if _at_most(bad, n, middle) > alpha else (low, middle)
    return high


def log_evidence(bad: Sequence[int], asked: Sequence[int], limit: float) -> float:
    """The natural logarithm of the evidence that the rate rose above `limit` with some probe, and stayed there.

    Args:
        bad: how many of each probe's outcomes were bad, the first probe first.
        asked: how many outcomes each probe had.
        limit: the highest rate under the null hypothesis; where it is one, nothing can speak against it.
    """
    if not bad or limit >= 1:
        return -math.inf
    bad_since, asked_since = (np.cumsum(np.asarray(each)[::-1])[::-1] for each in (bad, asked))
    odds = _ODDS * limit / (1 - limit)
    rates = odds / (1 + odds)
    gains, losses = np.log(rates / limit), np.log((1 - rates) / (1 - limit))
    ratios = np.outer(bad_since, gains) + np.outer(asked_since - bad_since, losses)
    start = np.arange(1, len(bad) + 1)
    terms = ratios - np.log(start * (start + 1.0))[:, None] - math.log(len(_ODDS))
    return float(np.logaddexp.reduce(terms, axis=None))


def sign_test(worse: int, better: int) -> float:
    """The one-sided p-value of so many pairs that got worse, against those that got better (exact)."""
    pairs = worse + better
    ways: int = sum(math.comb(pairs, k) for k in range(worse, pairs + 1))
    return float(ways / 2**pairs)


def spent_on(probe: int, alpha: float) -> float:
    """What the probe of that number, from one, may spend of alpha."""
    return alpha / (probe * (probe + 1))


def _at_most(bad: int, n: int, rate: float) -> float:
    """The probability of at most `bad` of `n`."""
    yes, no, every = math.log(rate), math.log1p(-rate), math.lgamma(n + 1)
    ways = (every - math.lgamma(k + 1) - math.lgamma(n - k + 1) for k in range(bad + 1))
    return sum(math.exp(way + k * yes + (n - k) * no) for k, way in enumerate(ways))

"""Has a rate risen? A test that may be repeated after every probe, for ever.

A test at 1 % that is repeated every hour raises a false alarm every four days. Here alpha bounds the chance that an
unchanged model is *ever* reported to have drifted, over all probes together. There are two comparisons, each with its
share of alpha.

*Fresh requests* are drawn independently for every probe, so that evidence from their outcomes accumulates:

1. The accepted rate is known from a finite evaluation only. `upper_bound` is the highest rate that the evaluation
   leaves open (Clopper and Pearson, 1934); the null hypothesis is that the rate is at most this limit.
2. `log_evidence` is the likelihood ratio of a higher rate to that limit, as in Wald's sequential probability ratio test
   (1945), averaged over several higher rates (mixtures: Robbins, 1970) and over the probes at which the change may
   have happened (sums over starting times: Shin, Ramdas and Rinaldo, "E-detectors", 2023; here with weights that sum
   to one). While the rate is at most the limit, each ratio is a non-negative supermartingale that starts at one, and
   so is their average; by Ville's inequality (1939) it ever reaches 1 / alpha with probability alpha at most. Without
   the sum over starting times, a thousand quiet probes would have to be outweighed before a change were detected.

*Fixed requests* are the same in every probe, so that their outcomes do not accumulate: a model that decodes greedily
gives the same answers again. They are compared in pairs with the accepted answers by an exact sign test, and probe t
spends alpha / (t (t + 1)), which sums to alpha over all t however the probes depend on each other.
"""

import math
from collections.abc import Sequence

import numpy as np

_ODDS = 2.0 ** np.arange(1, 11)
"""The alternatives: odds 2 to 1024 times those of the limit, with equal weights."""


def upper_bound(bad: int, n: int, alpha: float) -> float:
    """The highest rate that `bad` of `n` leave open; the true rate is above it with probability alpha at most."""
    from scipy.special import betaincinv  # half a second that most commands can save

    return 1.0 if bad >= n else float(betaincinv(bad + 1, n - bad, 1 - alpha))


def log_evidence(bad: Sequence[int], asked: Sequence[int], limit: float) -> float:
    """The natural logarithm of the evidence that the rate rose above `limit` at some probe and stayed there.

    Args:
        bad: number of bad outcomes of each probe, in the order of the probes.
        asked: number of outcomes of each probe.
        limit: the highest rate under the null hypothesis; there can be no evidence against a limit of 1.
    """
    if not bad or limit >= 1:
        return -math.inf
    # Outcomes from each possible starting probe to the last one
    bad_since, asked_since = (np.cumsum(np.asarray(each)[::-1])[::-1] for each in (bad, asked))
    # Higher rates as multiples of the odds, so that none exceeds 1 however high the limit is.
    odds = _ODDS * limit / (1 - limit)
    rates = odds / (1 + odds)
    gains, losses = np.log(rates / limit), np.log((1 - rates) / (1 - limit))
    ratios = np.outer(bad_since, gains) + np.outer(asked_since - bad_since, losses)
    start = np.arange(1, len(bad) + 1)
    # The weights 1 / (s (s + 1)) of the starting probes sum to one, those of the alternatives are equal
    terms = ratios - np.log(start * (start + 1.0))[:, None] - math.log(len(_ODDS))
    # A sum of exponentials that overflow, taken in logarithms.
    return float(np.logaddexp.reduce(terms, axis=None))


def alpha_of_probe(probe: int, alpha: float) -> float:
    """The part of alpha that a probe may spend; `probe` counts from 1."""
    return alpha / (probe * (probe + 1))

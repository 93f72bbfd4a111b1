"""The mix: which pairs leave for the sake of the whole, by lot, when all of a run have been judged.

All pairs are weighed before any leaves; of each, six bytes are kept.
"""

from array import array
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from charter.config import Pairs
from charter.core.sampling import seed_of

REASONS = ("", "helpful-share", "length-balance")
"""Why a pair leaves; it stays for the first."""

_ROUNDING = 1e-9  # 3 * 0.25 / 0.75 is a little under 1


class Weighed(NamedTuple):
    """What the mix looks at: by how many characters the chosen answer is longer than the rejected one."""

    pair_id: str
    strategy: str
    longer_by: int


class Weights(NamedTuple):
    """All pairs, in their order.

    Attributes:
        luck: those with the lowest leave first; drawn from the seed and the pair's id.
        helpful: whether a pair is of the strategy `helpful`.
        longer: by how much the chosen answer is the longer one, as a band that doubles: 1 for a character, 2 for 2 or
            3, 3 for 4 to 7, and so on; negative where it is the shorter, 0 where both are as long.
    """

    luck: NDArray[np.uint32]
    helpful: NDArray[np.bool_]
    longer: NDArray[np.int8]


def weigh(pairs: Iterable[Weighed], seed: int) -> Weights:
    """Look at all pairs, one after the other."""
    luck, helpful, longer = array("I"), array("B"), array("b")
    for pair in pairs:
        luck.append(seed_of(seed, "mix", pair.pair_id))
        helpful.append(pair.strategy == "helpful")
        longer.append(pair.longer_by.bit_length() * (1 if pair.longer_by > 0 else -1))
    return Weights(np.array(luck, np.uint32), np.array(helpful, np.bool_), np.array(longer, np.int8))


def leaving(weights: Weights, settings: Pairs) -> NDArray[np.uint8]:
    """The number of each pair's reason to leave among `REASONS`, 0 where it stays."""
    fates = np.zeros(len(weights.luck), np.uint8)
    fates[too_many_helpful(weights, settings.helpful_share)] = REASONS.index("helpful-share")
    if settings.length_balance:
        fates[too_long(weights, fates == 0)] = REASONS.index("length-balance")
    return fates


def too_many_helpful(weights: Weights, share: float) -> NDArray[np.int64]:
    """The places of the fewest helpful pairs that leave so that they are at most `share` of all.

    None leaves where there are no others.
    """
    helpful = np.flatnonzero(weights.helpful)
    others = len(weights.luck) - len(helpful)
    if not others or share >= 1:
        return helpful[:0]
    return _drawn(weights, helpful, len(helpful) - int(others * share / (1 - share) + _ROUNDING))


def too_long(weights: Weights, among: NDArray[np.bool_]) -> NDArray[np.int64]:
    """The places of the fewest pairs that leave so that chosen is longer as often, and by as much, as it is shorter.

    In each band for itself: a few words more here do not make up for pages less there, of which DPO would still learn
    that what is short is better. Equal lengths stay.
    """
    gone = [_surplus(weights, among, band) for band in np.unique(np.abs(weights.longer)) if band]
    return np.concatenate(gone) if gone else np.zeros(0, np.int64)


def _surplus(weights: Weights, among: NDArray[np.bool_], band: int) -> NDArray[np.int64]:
    longer, shorter = (np.flatnonzero(among & (weights.longer == signed)) for signed in (band, -band))
    more, fewer = (longer, shorter) if len(longer) > len(shorter) else (shorter, longer)
    return _drawn(weights, more, len(more) - len(fewer))


def _drawn(weights: Weights, places: NDArray[np.int64], n: int) -> NDArray[np.int64]:
    order = np.argsort(weights.luck[places], kind="stable")
    return places[order[: max(0, n)]]

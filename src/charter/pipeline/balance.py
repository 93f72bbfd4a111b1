"""Drops random pairs to keep the dataset balanced: the share of helpful pairs, and the lengths of chosen answers.

It needs all pairs of a run, so it runs when all are judged; it keeps six bytes of each.
"""

from array import array
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from charter.config import Pairs
from charter.core.sampling import seed_of

REASONS = ("", "helpful-share", "length-balance")
"""Why a pair is dropped, by number; 0 is for a pair that stays."""


class PairLength(NamedTuple):
    """What the balance reads of a pair; `longer_by` is the characters by which chosen is longer than rejected."""

    pair_id: str
    strategy: str
    longer_by: int


class PairColumns(NamedTuple):
    """All pairs, in their order.

    Attributes:
        random_rank: pairs with the lowest rank are dropped first.
        helpful: whether a pair is of the strategy `helpful`.
        length_band: the bits of `longer_by`: 1 for 1 character, 2 for 2 or 3, 3 for 4 to 7, and so on; negative if
            the chosen answer is shorter, 0 if both have the same length.
    """

    random_rank: NDArray[np.uint32]
    helpful: NDArray[np.bool_]
    length_band: NDArray[np.int8]


def collect_columns(pairs: Iterable[PairLength], seed: int) -> PairColumns:
    """The columns of all pairs; `pairs` may be a stream."""
    # Arrays, not lists: a run may have millions of pairs, and an object takes ten times the space.
    random_rank, helpful, length_band = array("I"), array("B"), array("b")
    for pair in pairs:
        # From the pair's id, so that the draw depends neither on the order of pairs nor on shards.
        random_rank.append(seed_of(seed, "mix", pair.pair_id))
        helpful.append(pair.strategy == "helpful")
        length_band.append(pair.longer_by.bit_length() * (1 if pair.longer_by > 0 else -1))
    return PairColumns(np.array(random_rank, np.uint32), np.array(helpful, np.bool_), np.array(length_band, np.int8))


def drop_reasons(columns: PairColumns, settings: Pairs) -> NDArray[np.uint8]:
    """For each pair the number in `REASONS` of why it is dropped; shape (pairs,)."""
    reasons = np.zeros(len(columns.random_rank), np.uint8)
    reasons[excess_helpful(columns, settings.helpful_share)] = REASONS.index("helpful-share")
    if settings.length_balance:
        # Lengths are balanced among the pairs that are still there.
        reasons[excess_length(columns, reasons == 0)] = REASONS.index("length-balance")
    return reasons


def excess_helpful(columns: PairColumns, share: float) -> NDArray[np.int64]:
    """The positions of the fewest helpful pairs to drop so that they are at most `share` of all.

    None is dropped if there are no other pairs.
    """
    helpful = np.flatnonzero(columns.helpful)
    others = len(columns.random_rank) - len(helpful)
    if not others or share >= 1:
        return helpful[:0]
    allowed = int(others * share / (1 - share) + 1e-9)  # 3 * 0.25 / 0.75 is a little under 1
    return _lowest_ranked(columns, helpful, len(helpful) - allowed)


def excess_length(columns: PairColumns, among: NDArray[np.bool_]) -> NDArray[np.int64]:
    """The positions of the fewest pairs to drop so that chosen is longer as often, and by as much, as it is shorter."""
    dropped = [np.zeros(0, np.int64)]
    # Band by band: many pairs longer by a few words do not make up for few that are shorter by pages, from which DPO
    # would still learn that short is better.
    for band in np.unique(np.abs(columns.length_band)):
        if band:
            longer, shorter = (np.flatnonzero(among & (columns.length_band == signed)) for signed in (band, -band))
            more, fewer = (longer, shorter) if len(longer) > len(shorter) else (shorter, longer)
            dropped.append(_lowest_ranked(columns, more, len(more) - len(fewer)))
    return np.concatenate(dropped)


def _lowest_ranked(columns: PairColumns, positions: NDArray[np.int64], n: int) -> NDArray[np.int64]:
    order = np.argsort(columns.random_rank[positions], kind="stable")
    return positions[order[: max(0, n)]]

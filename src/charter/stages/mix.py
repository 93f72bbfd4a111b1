"""The mix: which pairs leave for the sake of the whole, by lot, when all of a run have been judged."""

from collections.abc import Sequence
from typing import NamedTuple

from charter.config import Pairs
from charter.stages.context import seed_of


class Weighed(NamedTuple):
    """What the mix looks at: by how many characters the chosen answer is longer than the rejected one."""

    pair_id: str
    strategy: str
    longer_by: int


def leaving(pairs: Sequence[Weighed], settings: Pairs, seed: int) -> dict[str, str]:
    """The reason of each pair that leaves, by its id: ``helpful-share``, then ``length-balance``."""
    left = dict.fromkeys(too_many_helpful(pairs, settings.helpful_share, seed), "helpful-share")
    if settings.length_balance:
        rest = [pair for pair in pairs if pair.pair_id not in left]
        left |= dict.fromkeys(too_long(rest, seed), "length-balance")
    return left


def too_many_helpful(pairs: Sequence[Weighed], share: float, seed: int) -> list[str]:
    """The fewest helpful pairs that leave so that they are at most `share` of all; none where there are no others."""
    helpful = [pair for pair in pairs if pair.strategy == "helpful"]
    others = len(pairs) - len(helpful)
    if not others or share >= 1:
        return []
    return _drawn(helpful, len(helpful) - int(others * share / (1 - share) + _ROUNDING), seed)


def too_long(pairs: Sequence[Weighed], seed: int) -> list[str]:
    """The fewest pairs that leave so that chosen is longer as often as it is shorter; equal lengths stay."""
    longer = [pair for pair in pairs if pair.longer_by > 0]
    shorter = [pair for pair in pairs if pair.longer_by < 0]
    more, fewer = (longer, shorter) if len(longer) > len(shorter) else (shorter, longer)
    return _drawn(more, len(more) - len(fewer), seed)


def _drawn(pairs: Sequence[Weighed], n: int, seed: int) -> list[str]:
    return sorted((pair.pair_id for pair in pairs), key=lambda id: (seed_of(seed, "mix", id), id))[: max(0, n)]


_ROUNDING = 1e-9  # 3 * 0.25 / 0.75 is a little under 1

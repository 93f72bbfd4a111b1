"""Which member of a panel disagrees with the others, and on which kind of pair: what the mean alone would hide."""

import math
from collections.abc import Iterable, Sequence
from statistics import fmean
from typing import Any

from charter.core.statistics.intervals import rate_of
from charter.pipeline.judges.panel import is_panel_split
from charter.pipeline.judges.protocol import clip_probability, logistic

NO_KIND = "no kind"


def dissent(
    pairs: Iterable[tuple[str | None, Sequence[float]]], members: Sequence[str], margin: float
) -> dict[str, dict[str, Any]]:
    """By kind of pair, and by member, how often it disagreed with the mean of the others; see `stands_alone`.

    Args:
        pairs: the kind of each pair, and p of each member.
        members: their names, in the same order.
        margin: within this distance from one half, p is on neither side.
    """
    by_kind: dict[str, list[Sequence[float]]] = {}
    for kind, by_member in pairs:
        by_kind.setdefault(kind or NO_KIND, []).append(by_member)
    return {
        kind: {
            name: rate_of([stands_alone(number, by_member, margin) for by_member in by_kind[kind]]).to_dict()
            for number, name in enumerate(members)
        }
        for kind in sorted(by_kind)
    }


def stands_alone(member: int, by_member: Sequence[float], margin: float) -> bool:
    """Whether a member and the mean of the others, by their log-odds, are on two sides, both beyond the margin.

    Of two members who disagree, both stand alone. Of three who split two to one, it is the one.
    """
    odds = [math.log(clip_probability(p) / (1 - clip_probability(p))) for p in by_member]
    others = logistic(fmean(odds[:member] + odds[member + 1 :]))
    return is_panel_split((by_member[member], others), margin)

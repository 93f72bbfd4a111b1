"""A soft label taken apart: how far each principle moved it, and what the order of the answers did.

A label's log-odds are the mean of those of its principles (`charter.pipeline.judges.protocol`), by their weights
if the run says so. So each principle's share is its own log-odds times its part of all weights, and the shares
add up to the label's. A panel's are the mean over its members, each of whom counts alike, however many principles it
asked about. Logarithms are natural.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml

from charter.constitution import ids_in, load_kept_constitution
from charter.constitution.helpful import helpful_part
from charter.constitution.kept import load_panel_constitutions
from charter.pipeline.judges.protocol import EDGE, inside


@dataclass(frozen=True)
class Share:
    """What one principle said of a label, or one member of a panel.

    Attributes:
        id: of the principle, or the member's name.
        title: of the principle.
        p: p(chosen) under it alone.
        log_odds: its share of the label's.
    """

    id: str
    title: str
    p: float
    log_odds: float


@dataclass(frozen=True)
class Order:
    """What the judge said with the chosen answer shown first, or second: averaged over the principles."""

    chosen_shown: Literal["first", "second"]
    p: float
    log_odds: float


@dataclass(frozen=True)
class Label:
    """A soft label taken apart.

    Attributes:
        p: p(chosen), all principles together.
        log_odds: of `p`.
        shares: of each principle that judged, the strongest first.
        rest: what the shares leave of `log_odds`: 0, but for a label that is not the mean of its principles, such as
            one by vote, or one that was clamped or calibrated.
        orders: both orders of the answers.
        members: of a panel, in its order.
        judge_kind: how it was judged.
        judge_identity: of the judge's weights.
    """

    p: float
    log_odds: float
    shares: tuple[Share, ...]
    rest: float
    orders: tuple[Order, ...]
    members: tuple[Share, ...]
    judge_kind: str | None
    judge_identity: str | None


@dataclass(frozen=True)
class Principles:
    """Titles by id of all that judged or critiqued in a run, and weights by id where a label counts them."""

    titles: Mapping[str, str]
    weights: Mapping[str, float]

    def parts(self, ids: Sequence[str], members: Sequence[str] = ()) -> list[float]:
        """The part that each of `ids`, in their order, has in a label; those of a panel's members count alike.

        A member's principles stand together: MEMBER/ID where it has a constitution of its own, and as many for each of
        the others, who are all asked about the same.
        """
        weights = [self.weights.get(id, 1.0) for id in ids]
        groups = _groups(ids, members)
        totals = {group: sum(w for w, of in zip(weights, groups, strict=True) if of == group) for group in groups}
        return [w / totals[of] / len(totals) for w, of in zip(weights, groups, strict=True)]

    def title(self, id: str) -> str:
        """The title of a principle, or those of joined ones; an id that is not known stays as it is."""
        return " + ".join(self.titles.get(part, part) for part in ids_in(id))


def read_principles(run: Path) -> Principles:
    """Those of the run's constitution, of the members of its panel, and the shipped one on helpfulness.

    Raises:
        ConstitutionError: a constitution of the run cannot be read.
    """
    law = load_kept_constitution(run)
    titles = {principle.id: principle.title for part in (helpful_part(law), law) for principle in part.principles}
    weights = {one.id: one.weight for one in law.principles}
    for member, constitution in load_panel_constitutions(run).items():
        own = {f"{member}/{one.id}": one for one in constitution.principles}
        titles |= {id: one.title for id, one in own.items()}
        weights |= {id: one.weight for id, one in own.items()}
    settings = yaml.safe_load((run / "config.yaml").read_text(encoding="utf-8")).get("judge", {})
    weighted = settings.get("combine") == "weighted"
    return Principles(titles, weights if weighted else {})


def take_apart(row: Mapping[str, Any], principles: Principles) -> Label | None:
    """The label of a row of ``pairs`` or ``sft_data``; None where it has none."""
    p = row["p_chosen"]
    if p is None:
        return None
    ids, names = row["principle_ids"] or [], row["members"] or []
    shares = _shares(ids, row["p_by_principle"] or [], principles, names)
    rest = log_odds(p) - sum(share.log_odds for share in shares)
    first, second = row["p_by_order"] or (None, None)
    orders: tuple[tuple[Literal["first", "second"], float | None], ...] = (("first", first), ("second", second))
    return Label(
        p=p,
        log_odds=log_odds(p),
        shares=tuple(sorted(shares, key=lambda share: -abs(share.log_odds))),
        rest=0.0 if abs(rest) < EDGE else rest,
        orders=tuple(Order(place, found, log_odds(found)) for place, found in orders if found is not None),
        members=tuple(_shares(names, row["p_by_member"] or [], Principles({}, {}))),
        judge_kind=row["judge_kind"],
        judge_identity=row["judge_identity"],
    )


def log_odds(p: float) -> float:
    """The natural logarithm of p / (1 - p), for p kept as far from 0 and 1 as a judge keeps it."""
    return math.log(inside(p) / (1 - inside(p)))


def _shares(
    ids: Sequence[str], each: Sequence[float], principles: Principles, members: Sequence[str] = ()
) -> list[Share]:
    parts = principles.parts(ids, members)
    return [
        Share(id, principles.title(id), p, log_odds(p) * part) for id, p, part in zip(ids, each, parts, strict=True)
    ]


def _groups(ids: Sequence[str], members: Sequence[str]) -> list[str]:
    """Of each principle the member of a panel that was asked about it; one and the same where there is no panel."""
    owners = [id.partition("/")[0] if "/" in id else "" for id in ids]
    others = [name for name in members if name not in owners]
    shared = iter(range(len(ids)))
    each = owners.count("") // len(others) if others else 0
    return [owner or (others[min(next(shared) // each, len(others) - 1)] if each else "") for owner in owners]

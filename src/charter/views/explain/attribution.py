"""A soft label split into what contributed to it: each principle, and the order in which the answers were shown.

The log-odds of a label are the mean of those of its principles (`charter.pipeline.judges.protocol`), weighted if the
run says so. The share of a principle is therefore its own log-odds times its part of all weights, and the shares add up
to the label's log-odds. A panel's are the mean over its members. Each member counts alike, however many principles it
judged. Logarithms are natural.
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
class LabelShare:
    """The part that one principle, or one member of a panel, has in a label.

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
class OrderLabel:
    """The label with the chosen answer shown first, or second: averaged over the principles."""

    chosen_shown: Literal["first", "second"]
    p: float
    log_odds: float


@dataclass(frozen=True)
class AttributedLabel:
    """A soft label and what contributed to it.

    Attributes:
        p: p(chosen), all principles together.
        log_odds: of `p`.
        shares: of each principle that judged, the strongest first.
        rest: `log_odds` minus the sum of the shares: 0, except for a label that is not the mean of its principles, such
            as one by vote, or one that was clamped or calibrated.
        orders: both orders of the answers.
        members: of a panel, in its order.
        judge_kind: how it was judged.
        judge_identity: of the judge's weights.
    """

    p: float
    log_odds: float
    shares: tuple[LabelShare, ...]
    rest: float
    orders: tuple[OrderLabel, ...]
    members: tuple[LabelShare, ...]
    judge_kind: str | None
    judge_identity: str | None


@dataclass(frozen=True)
class RunPrinciples:
    """Titles by id of all that judged or critiqued in a run, and weights by id where a label counts them."""

    titles: Mapping[str, str]
    weights: Mapping[str, float]

    def parts(self, ids: Sequence[str], members: Sequence[str] = ()) -> list[float]:
        """The part that each of `ids`, in their order, has in a label; all members of a panel count alike.

        The principles of a member are consecutive: MEMBER/ID where it has its own constitution, and equally many for
        each of the others, which all judge by the same ones.
        """
        owners = [id.partition("/")[0] if "/" in id else "" for id in ids]
        sharing = [name for name in members if name not in owners]
        per_member = owners.count("") // len(sharing) if sharing else 0
        if per_member:
            shared = iter(range(len(ids)))
            owners = [owner or sharing[min(next(shared) // per_member, len(sharing) - 1)] for owner in owners]
        weights = [self.weights.get(id, 1.0) for id in ids]
        totals = dict.fromkeys(owners, 0.0)
        for owner, weight in zip(owners, weights, strict=True):
            totals[owner] += weight
        return [weight / totals[owner] / len(totals) for owner, weight in zip(owners, weights, strict=True)]

    def title(self, id: str) -> str:
        """The title of a principle, or those of joined ones; an id that is not known stays as it is."""
        return " + ".join(self.titles.get(part, part) for part in ids_in(id))


def read_principles(run: Path) -> RunPrinciples:
    """Those of the run's constitution, of the members of its panel, and the shipped one on helpfulness.

    Raises:
        ConstitutionError: a constitution of the run cannot be read.
    """
    constitution = load_kept_constitution(run)
    titles = {one.id: one.title for part in (helpful_part(constitution), constitution) for one in part.principles}
    weights = {one.id: one.weight for one in constitution.principles}
    for member, members_own in load_panel_constitutions(run).items():
        titles |= {f"{member}/{one.id}": one.title for one in members_own.principles}
        weights |= {f"{member}/{one.id}": one.weight for one in members_own.principles}
    judge = yaml.safe_load((run / "config.yaml").read_text(encoding="utf-8")).get("judge", {})
    return RunPrinciples(titles, weights if judge.get("combine") == "weighted" else {})


def attribute_label(row: Mapping[str, Any], principles: RunPrinciples) -> AttributedLabel | None:
    """The label of a row of ``pairs`` or ``sft_data``, split; None where it has none."""
    p = row["p_chosen"]
    if p is None:
        return None
    members = row["members"] or []
    shares = _shares(row["principle_ids"] or [], row["p_by_principle"] or [], principles, members)
    rest = log_odds(p) - sum(share.log_odds for share in shares)
    first, second = row["p_by_order"] or (None, None)
    orders: tuple[tuple[Literal["first", "second"], float | None], ...] = (("first", first), ("second", second))
    return AttributedLabel(
        p=p,
        log_odds=log_odds(p),
        shares=tuple(sorted(shares, key=lambda share: -abs(share.log_odds))),
        rest=0.0 if abs(rest) < EDGE else rest,
        orders=tuple(OrderLabel(shown, value, log_odds(value)) for shown, value in orders if value is not None),
        members=tuple(_shares(members, row["p_by_member"] or [], RunPrinciples({}, {}))),
        judge_kind=row["judge_kind"],
        judge_identity=row["judge_identity"],
    )


def log_odds(p: float) -> float:
    """The natural logarithm of p / (1 - p), for p kept as far from 0 and 1 as a judge keeps it."""
    return math.log(inside(p) / (1 - inside(p)))


def _shares(
    ids: Sequence[str], probabilities: Sequence[float], principles: RunPrinciples, members: Sequence[str] = ()
) -> list[LabelShare]:
    parts = principles.parts(ids, members)
    return [
        LabelShare(id, principles.title(id), p, log_odds(p) * part)
        for id, p, part in zip(ids, probabilities, parts, strict=True)
    ]

"""A soft label split into what contributed to it: each principle, and the order in which the answers were shown.

The contributions of the principles always add up to the log-odds of the label, in three steps:

1. Each principle has a part of the label: the same for all, or by weight with ``combine: weighted``. All members of a
   panel have the same part, however many principles each of them judged.
2. Its contribution is that part times its own log-odds; with ``combine: vote``, times its vote.
3. Calibration, clamping and counting votes give the label other log-odds than the sum of these. The contributions are
   scaled to it; if it has the opposite sign, as a majority against a strong minority, what is missing is divided by
   parts.

Logarithms are natural.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import polars as pl
import yaml

from charter.config import Judge
from charter.constitution import ids_in, load_kept_constitution
from charter.constitution.helpful import helpful_part
from charter.constitution.kept import load_panel_constitutions
from charter.pipeline.judges.protocol import MIN_PROBABILITY, clip_probability

_COLUMN_TYPES = (
    {"p_chosen": pl.Float64}
    | dict.fromkeys(("principle_ids", "members"), pl.List(pl.String))
    | {"p_by_principle": pl.List(pl.Float64)}
)
_NO_DIRECTION = 1e-9
"""A product of two log-odds up to this has a factor of zero, or opposite signs: nothing can be scaled."""


@dataclass(frozen=True)
class LabelShare:
    """The part that one principle, or one member of a panel, has in a label.

    Attributes:
        id: of the principle, or the member's name.
        title: of the principle.
        p: p(chosen) under it alone.
        log_odds: its contribution to the label's.
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
        rest: `log_odds` minus the sum of the shares: 0, except for a label without principles, such as an earlier
            version's.
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
    """The principles that judged or critiqued in a run, and how its labels combine them.

    Attributes:
        titles: by id.
        weights: by id; empty unless labels count them.
        tie_margin: of votes, which count half each way within it; None unless labels are votes.
    """

    titles: Mapping[str, str]
    weights: Mapping[str, float]
    tie_margin: float | None = None

    def parts(self, ids: Sequence[str], members: Sequence[str] = ()) -> list[float]:
        """The part that each of `ids`, in their order, has in a label; all members of a panel count alike.

        The principles of a member are consecutive: MEMBER/ID where it has its own constitution, and equally many for
        each of the others, which all judge by the same ones.
        """
        # A single judge has no members: all its principles then have the empty owner.
        owners = [id.partition("/")[0] if "/" in id else "" for id in ids]
        sharing = [name for name in members if name not in owners]
        # Members without their own constitution judge by the same principles, each by equally many.
        per_member = owners.count("") // len(sharing) if sharing else 0
        if per_member:
            shared = iter(range(len(ids)))
            owners = [owner or sharing[min(next(shared) // per_member, len(sharing) - 1)] for owner in owners]
        # Without weights, or for the shipped principle on helpfulness, each counts once.
        weights = [self.weights.get(id, 1.0) for id in ids]
        totals = dict.fromkeys(owners, 0.0)
        for owner, weight in zip(owners, weights, strict=True):
            totals[owner] += weight
        # First within a member, then between members, so that one with many principles counts no more than another.
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
    settings = yaml.safe_load((run / "config.yaml").read_text(encoding="utf-8")).get("judge", {})
    combine, margin = settings.get("combine"), settings.get("tie_margin", Judge().tie_margin)
    return RunPrinciples(titles, weights if combine == "weighted" else {}, margin if combine == "vote" else None)


def with_contributions(labels: pl.LazyFrame, principles: RunPrinciples) -> pl.LazyFrame:
    """The labels with a column ``contributions``: of each of their principles, to the log-odds of ``p_chosen``.

    Args:
        labels: with the columns ``p_chosen``, ``principle_ids``, ``p_by_principle`` and ``members`` of
            `charter.data.schema`; ``p_chosen`` is never null.
        principles: of the run.
    """
    # The parts depend on who judged, not on what they judged: they are computed once for each combination
    ids, members = (pl.col(name).fill_null([]) for name in ("principle_ids", "members"))
    # Separators that no id contains.
    key = pl.concat_str(ids.list.join("\x1f"), members.list.join("\x1f"), separator="\x1e")
    labels = labels.with_columns(key.alias("_key"))
    judges = labels.group_by("_key").agg(ids.first().alias("ids"), members.first().alias("members"))
    rows = judges.collect(engine="streaming").to_dicts()
    parts = pl.LazyFrame(
        {
            "_key": [row["_key"] for row in rows],
            "_parts": [principles.parts(row["ids"], row["members"]) for row in rows],
        },
        schema={"_key": pl.String, "_parts": pl.List(pl.Float64)},
    )

    # Expressions and not Python, as a run may have millions of labels.
    p, part, of_label = pl.element(), pl.col("_parts"), pl.col("_of_label")
    value = (p.clip(MIN_PROBABILITY, 1 - MIN_PROBABILITY) / (1 - p.clip(MIN_PROBABILITY, 1 - MIN_PROBABILITY))).log()
    if principles.tie_margin is not None:
        # A vote is for, against or neither, however sure the principle is.
        value = pl.when((p - 0.5).abs() <= principles.tie_margin).then(0.0).otherwise((p - 0.5).sign())
    # As far from 0 and 1 as a judge keeps it, so that the logarithm is finite.
    chosen = pl.col("p_chosen").clip(MIN_PROBABILITY, 1 - MIN_PROBABILITY)
    total = pl.col("_plain").list.sum()
    missing = of_label - total
    return (
        labels.join(parts, on="_key", maintain_order="left")
        .with_columns(
            (pl.col("p_by_principle").fill_null([]).list.eval(value) * part).alias("_plain"),
            (chosen / (1 - chosen)).log().alias("_of_label"),
        )
        .with_columns(
            # Same sign: scaled, which keeps the proportions. Otherwise scaling would turn every contribution around.
            pl.when(total * of_label > _NO_DIRECTION)
            .then(pl.col("_plain") * (of_label / total))
            .otherwise(pl.col("_plain") + part * missing)
            .alias("contributions")
        )
        .drop("_key", "_parts", "_plain", "_of_label")
    )


def attribute_label(row: Mapping[str, Any], principles: RunPrinciples) -> AttributedLabel | None:
    """The label of a row of ``pairs`` or ``sft_data``, split; None where it has none."""
    p = row["p_chosen"]
    if p is None:
        return None
    shares = _shares(p, row["principle_ids"], row["p_by_principle"], row["members"], principles)
    # Zero up to rounding, unless the label has no principles.
    rest = log_odds(p) - sum(share.log_odds for share in shares)
    first, second = row["p_by_order"] or (None, None)
    orders: tuple[tuple[Literal["first", "second"], float | None], ...] = (("first", first), ("second", second))
    return AttributedLabel(
        p=p,
        log_odds=log_odds(p),
        shares=tuple(sorted(shares, key=lambda share: -abs(share.log_odds))),
        rest=0.0 if abs(rest) < MIN_PROBABILITY else rest,
        orders=tuple(OrderLabel(shown, value, log_odds(value)) for shown, value in orders if value is not None),
        members=tuple(_shares(p, row["members"], row["p_by_member"], None, replace(principles, weights={}))),
        judge_kind=row["judge_kind"],
        judge_identity=row["judge_identity"],
    )


def log_odds(p: float) -> float:
    """The natural logarithm of p / (1 - p), for p kept as far from 0 and 1 as a judge keeps it."""
    return math.log(clip_probability(p) / (1 - clip_probability(p)))


def _shares(
    p_label: float,
    ids: Sequence[str] | None,
    probabilities: Sequence[float] | None,
    members: Sequence[str] | None,
    principles: RunPrinciples,
) -> list[LabelShare]:
    columns = {"p_chosen": p_label, "principle_ids": ids, "p_by_principle": probabilities, "members": members}
    # One row through the same expressions as a whole run, so that both always agree.
    label = pl.LazyFrame([columns], schema={name: _COLUMN_TYPES[name] for name in columns})
    contributions = with_contributions(label, principles).collect()["contributions"].item()
    return [
        LabelShare(id, principles.title(id), p, odds)
        for id, p, odds in zip(ids or [], probabilities or [], contributions, strict=True)
    ]

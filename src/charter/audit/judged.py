"""Asking a judge about labelled pairs. It works with any judge; the judge never sees the labels."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from charter.audit.labelled import LabelledPair
from charter.config import Judge
from charter.constitution.selection import select_judges
from charter.core.statistics.association import Label
from charter.pipeline.judges.panel import is_panel_split
from charter.pipeline.judges.protocol import Compare, is_tie
from charter.pipeline.rows import OnProgress, Row, StageContext, attributing_failures_to, each_row

STAGE = "audit"


@dataclass(frozen=True)
class JudgedPair:
    """A judge's opinion of a pair; every probability is that of the answer labelled better.

    Attributes:
        p: over all principles and both orders.
        principles: the ids of those that were asked about.
        by_principle: one per principle, over both orders.
        as_a: over the principles, with the better answer shown as A.
        as_b: the same, shown as B.
        asked_as_a: whether the judge's first order showed the better answer as A.
        by_member: one per member of a panel; empty for a single judge.
        split: whether members prefer different answers, so that a run would give the pair to people, without a label.
    """

    pair: LabelledPair
    p: float
    principles: tuple[str, ...]
    by_principle: tuple[float, ...]
    as_a: float
    as_b: float
    asked_as_a: bool
    by_member: tuple[float, ...] = ()
    split: bool = False

    @property
    def one_order(self) -> float:
        """The probability from the first order alone, as a judge gives that asks only once."""
        return self.as_a if self.asked_as_a else self.as_b

    def row(self) -> dict[str, Any]:
        """A line of ``judged.jsonl``."""
        row: dict[str, Any] = {"row_id": self.pair.row_id, "kind": self.pair.kind, "source": self.pair.source}
        row |= {"p": self.p, "as_a": self.as_a, "as_b": self.as_b}
        row |= {"by_member": list(self.by_member), "split": self.split} if self.by_member else {}
        return {**row, "principles": list(self.principles), "by_principle": list(self.by_principle)}


class AuditedPairs(NamedTuple):
    """The pairs that were judged, and rows of ``failures`` for those that could not be."""

    pairs: list[JudgedPair]
    failures: list[dict[str, Any]]


async def judge_pairs(
    pairs: Sequence[LabelledPair],
    compare: Compare,
    context: StageContext,
    settings: Judge,
    on_progress: OnProgress | None = None,
) -> AuditedPairs:
    """Ask about every pair, under the principles that a run would: those that bear on it first, then others.

    Raises:
        CharterError: all endpoints failed permanently, or a setting names what the constitution does not have.
    """
    judged: dict[str, JudgedPair] = {}

    async def judge_pair(row: Row) -> list[dict[str, Any]]:
        pair: LabelledPair = row["pair"]
        principles = select_judges(
            context.constitution, pair.row_id, context.seed, pair.bearing or (), settings.principles, settings.tags
        )
        # The order is drawn by id: otherwise a judge that always prefers the first (or the last) answer would be
        # right on every pair.
        better_first = int(pair.row_id, 16) % 2 == 0
        first, last = (pair.better, pair.worse) if better_first else (pair.worse, pair.better)
        with attributing_failures_to(principles, STAGE):
            judgement = await compare(pair.prompt, first, last, principles, context)

        # A judgement gives the probabilities of its last answer.
        def of_better(probabilities: Sequence[float]) -> tuple[float, ...]:
            return tuple(1 - p if better_first else p for p in probabilities)

        in_first_order, in_second_order = of_better(judgement.by_order)
        judged[pair.row_id] = JudgedPair(
            pair=pair,
            p=of_better([judgement.p])[0],
            # A panel reports the members' principles, which may come from other constitutions.
            principles=tuple(principle.id for principle in judgement.principles or principles),
            by_principle=of_better(judgement.by_principle),
            as_a=in_first_order if better_first else in_second_order,
            as_b=in_second_order if better_first else in_first_order,
            asked_as_a=better_first,
            by_member=of_better(judgement.by_member),
            split=is_panel_split(judgement.by_member, settings.tie_margin),
        )
        return [{"row_id": pair.row_id}]

    rows = [{"row_id": pair.row_id, "pair": pair} for pair in pairs]
    outcome = await each_row(rows, STAGE, judge_pair, on_progress)
    return AuditedPairs([judged[row["row_id"]] for row in outcome.rows], outcome.failures)


def verdict(p: float, margin: float = 0.0) -> Label:
    """The verdict for a probability of the better answer; within `margin` of one half it is a tie."""
    if is_tie(p, margin):
        return "tie"
    return "better" if p > 0.5 else "worse"

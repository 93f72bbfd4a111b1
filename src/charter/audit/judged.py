"""Asking a judge about labelled pairs: any judge, which knows nothing of their labels."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from charter.audit.labelled import LabelledPair
from charter.config import Judge
from charter.constitution import Principle
from charter.constitution.selection import select_judges
from charter.core.statistics.association import Label
from charter.pipeline.judges.panel import is_panel_split
from charter.pipeline.judges.protocol import Compare, Judgement, is_tie
from charter.pipeline.rows import OnProgress, Row, StageContext, attributing_failures_to, each_row

STAGE = "audit"


@dataclass(frozen=True)
class JudgedPair:
    """What the judge said about a pair, turned so that each probability is that of the better answer.

    Attributes:
        p: over all principles and both orders.
        principles: the ids of those that were asked about.
        by_principle: over both orders.
        as_a: over the principles, with the better answer shown as A.
        as_b: the same, shown as B.
        asked_as_a: whether the judge's first order showed the better answer as A.
        by_member: of each member of a panel; empty for a single judge.
        split: whether members stand on both sides, so that a run would give the pair to people and not label it.
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
        """What a judge would say that asks in its first order alone."""
        return self.as_a if self.asked_as_a else self.as_b

    def row(self) -> dict[str, Any]:
        """As a line of ``judged.jsonl``."""
        about = {"row_id": self.pair.row_id, "kind": self.pair.kind, "source": self.pair.source}
        said: dict[str, Any] = {"p": self.p, "as_a": self.as_a, "as_b": self.as_b}
        said |= {"by_member": list(self.by_member), "split": self.split} if self.by_member else {}
        return {**about, **said, "principles": list(self.principles), "by_principle": list(self.by_principle)}


class Judged(NamedTuple):
    """The pairs that were judged, and rows of ``failures`` for those that could not be."""

    pairs: list[JudgedPair]
    failures: list[dict[str, Any]]


async def judge_pairs(
    pairs: Sequence[LabelledPair],
    compare: Compare,
    context: StageContext,
    settings: Judge,
    on_progress: OnProgress | None = None,
) -> Judged:
    """Ask about every pair, under the principles that a run would: those that bear on it first, then others.

    Which answer is named first is drawn by the pair's id, so that a judge that leans to the first or to the last of
    two answers is not taken for a good one.

    Raises:
        CharterError: the endpoints are gone for good, or a setting names what the constitution does not have.
    """
    judged: dict[str, JudgedPair] = {}

    async def work(row: Row) -> list[dict[str, Any]]:
        pair: LabelledPair = row["pair"]
        law, bearing = context.constitution, pair.bearing or ()
        principles = select_judges(law, pair.row_id, context.seed, bearing, settings.principles, settings.tags)
        better_first = int(pair.row_id, 16) % 2 == 0
        first, last = (pair.better, pair.worse) if better_first else (pair.worse, pair.better)
        with attributing_failures_to(principles, STAGE):
            made = await compare(pair.prompt, first, last, principles, context)
        split = is_panel_split(made.by_member, settings.tie_margin)
        judged[pair.row_id] = replace(_turned(pair, made, made.principles or principles, better_first), split=split)
        return [{"row_id": pair.row_id}]

    outcome = await each_row([{"row_id": pair.row_id, "pair": pair} for pair in pairs], STAGE, work, on_progress)
    return Judged([judged[row["row_id"]] for row in outcome.rows], outcome.failures)


def verdict(p: float, margin: float = 0.0) -> Label:
    """What a probability of the better answer amounts to; within `margin` of one half it is a tie."""
    if is_tie(p, margin):
        return "tie"
    return "better" if p > 0.5 else "worse"


def _turned(pair: LabelledPair, made: Judgement, principles: Sequence[Principle], better_first: bool) -> JudgedPair:
    # A judgement is about its last answer: turned around where the better one stood first.
    def turned(said: Sequence[float]) -> tuple[float, ...]:
        return tuple(1 - p if better_first else p for p in said)

    in_first_order, in_second_order = turned(made.by_order)
    return JudgedPair(
        pair=pair,
        p=turned([made.p])[0],
        principles=tuple(principle.id for principle in principles),
        by_principle=turned(made.by_principle),
        as_a=in_first_order if better_first else in_second_order,
        as_b=in_second_order if better_first else in_first_order,
        asked_as_a=better_first,
        by_member=turned(made.by_member),
    )

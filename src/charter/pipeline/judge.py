"""Judge: candidate pairs in, soft-labelled pairs out; the judges themselves are in `charter.pipeline.judges`."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from charter.config import Judge
from charter.constitution import Principle
from charter.constitution.helpful import helpful_part
from charter.constitution.selection import select_judges
from charter.pipeline.judges.calibrated import configured_judges
from charter.pipeline.judges.panel import is_panel_split
from charter.pipeline.judges.protocol import Compare, Judgement, is_tie
from charter.pipeline.rows import OnProgress, Outcome, Row, RowFailed, StageContext, attributing_failures_to

BEST_WORST = "best-worst"
"""The strategy whose pairs the judge selects (`charter.pipeline.rank`) before it labels them."""


@dataclass
class JudgedPairs(Outcome):
    """Pairs, failures, and for the failures on which a panel split, rows of ``review``."""

    review: list[dict[str, Any]] = field(default_factory=list)


async def judge_candidates(
    candidates: Sequence[Row],
    context: StageContext,
    settings: Judge,
    on_progress: OnProgress | None = None,
    compare: Compare | None = None,
) -> JudgedPairs:
    """Candidate pairs in, rows of ``pairs`` out; what gets no label leaves with its reason and is never trained on.

    Raises:
        ConstitutionError: the constitution of a panel's member cannot be read.
        ConfigError: the audit holds no curve to calibrate by.
    """
    compare = compare or configured_judges(settings).label
    review = dict[int, dict[str, Any]]()  # by the identity of the candidate: a row may have several

    async def work(row: Row, context: StageContext) -> list[dict[str, Any]]:
        principles = principles_for(row, context, settings)
        judge_context = replace(context, helpful=row["strategy"] == "helpful")
        with attributing_failures_to(principles, "judge"):
            judgement = await compare(row["prompt"], row["first"], row["last"], principles, judge_context)
            ids = [principle.id for principle in judgement.principles]
            # Members on both sides: their mean is no one's opinion, so no label; people decide.
            if is_panel_split(judgement.by_member, settings.tie_margin):
                review[id(row)] = review_row(row, judgement, context, settings)
                opinions = zip(settings.panel, judgement.by_member, strict=True)
                detail = ", ".join(f"{member.name} {p:.3f}" for member, p in opinions)
                raise RowFailed("judge", "panel-split", f"p of the last answer: {detail}", ids)
            if is_tie(judgement.p, settings.tie_margin):
                raise RowFailed("judge", "tie", f"p = {judgement.p:.3f} under {ids}")
        return [pair_row(row, judgement, context, settings)]

    outcome = await context.each_row(candidates, "judge", work, on_progress)
    return JudgedPairs(outcome.rows, outcome.failures, [review[id(row)] for row in candidates if id(row) in review])


def principles_for(row: Row, context: StageContext, settings: Judge) -> tuple[Principle, ...]:
    """The principles that shaped the row, then others drawn for it, `settings.principles` in all.

    A pair of the strategy `helpful` is judged by the principles of helpfulness alone, whatever `settings.tags` says. A
    pair of `best-worst` is judged by principles that did not rank its answers: see `split_principles`.

    Raises:
        ConfigError: `settings.tags` has a tag that no principle has.
    """
    if row["strategy"] == BEST_WORST:
        return split_principles(row, context, settings).label
    constitution, tags = context.constitution, settings.tags
    if row["strategy"] == "helpful":
        constitution, tags = helpful_part(constitution), ()
    return select_judges(constitution, row["row_id"], context.seed, row["drawn"], settings.principles, tags)


class PrincipleSplit(NamedTuple):
    """The principles of a `best-worst` row: those that rank its answers, and those that label the pair."""

    rank: tuple[Principle, ...]
    label: tuple[Principle, ...]


def split_principles(row: Row, context: StageContext, settings: Judge) -> PrincipleSplit:
    """Up to `settings.principles` to label a `best-worst` pair, and as many others to rank the answers before.

    Of a constitution with fewer than twice as many, half label and half rank. A single principle has to do both; then
    the label is biased away from one half.

    Raises:
        ConfigError: `settings.tags` has a tag that no principle has.
    """
    # The answer that ranks first had luck under the principles that ranked it. Asked again, they would give the same
    # answers, and the label would contain that luck (the winner's curse); other principles do not know it.
    order = select_judges(
        context.constitution, row["row_id"], context.seed, row["drawn"], 2 * settings.principles, settings.tags
    )
    half = (len(order) + 1) // 2
    return PrincipleSplit(rank=order[half:] or order, label=order[:half])


def pair_row(row: Row, judgement: Judgement, context: StageContext, settings: Judge) -> dict[str, Any]:
    """The candidate as a row of ``pairs``: the probabilities are turned so that they are about the chosen answer."""
    last_won = judgement.p > 0.5
    chosen, rejected = (row["last"], row["first"]) if last_won else (row["first"], row["last"])
    # Of the two orders, the one that shows the chosen answer as A comes first.
    by_order = judgement.by_order[::-1] if last_won else judgement.by_order

    def turned(probabilities: Sequence[float]) -> list[float]:
        return [p if last_won else 1 - p for p in probabilities]

    return {
        **_shared_columns(row, judgement, context, settings),
        "chosen": chosen,
        "rejected": rejected,
        "p_chosen": judgement.p if last_won else 1 - judgement.p,
        "p_spread": judgement.spread,
        "p_by_principle": turned(judgement.by_principle),
        "p_by_order": turned(by_order),
        "p_by_member": turned(judgement.by_member) or None,
        "judge_kind": settings.kind,
    }


def review_row(row: Row, judgement: Judgement, context: StageContext, settings: Judge) -> dict[str, Any]:
    """The candidate as a row of ``review``: the probabilities are about the last answer."""
    return {
        **_shared_columns(row, judgement, context, settings),
        "first": row["first"],
        "last": row["last"],
        "p_last": judgement.p,
        "p_by_principle": list(judgement.by_principle),
        "p_by_member": list(judgement.by_member) or None,
    }


def _shared_columns(row: Row, judgement: Judgement, context: StageContext, settings: Judge) -> dict[str, Any]:
    """The columns that ``pairs`` and ``review`` have in common; `members` is empty where one judge judged alone."""
    names = ("row_id", "pair_id", "strategy", "prompt", "kind", "seed", "model_identity")
    return {
        **{name: row[name] for name in names},
        "members": [member.name for member in settings.panel] if judgement.by_member else None,
        "principle_ids": [principle.id for principle in judgement.principles],
        "principle_hashes": [principle.hash for principle in judgement.principles],
        **context.lineage(),
        "judge_identity": context.judge_identity,
    }

"""Judge: candidate pairs in, soft-labelled pairs out; the judges themselves are in `charter.pipeline.judges`."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from charter.config import Judge
from charter.constitution import Principle
from charter.constitution.helpful import helpful_part
from charter.constitution.selection import select_judges
from charter.pipeline.judges.calibrated import configured_judges
from charter.pipeline.judges.panel import is_split
from charter.pipeline.judges.protocol import Compare, Judgement, is_tie
from charter.pipeline.rows import OnProgress, Outcome, Row, RowFailed, StageContext, attributing_failures_to

BEST_WORST = "best-worst"
"""The strategy whose pairs the judge selects (`charter.pipeline.rank`) before it labels them."""


@dataclass
class Judged(Outcome):
    """Pairs, failures, and for the failures on which a panel split, rows of ``review``."""

    review: list[dict[str, Any]] = field(default_factory=list)


async def judge(
    candidates: Sequence[Row],
    context: StageContext,
    settings: Judge,
    on_progress: OnProgress | None = None,
    compare: Compare | None = None,
) -> Judged:
    """Candidate pairs in, rows of ``pairs`` out; what gets no label leaves with its reason and is never trained on.

    Raises:
        ConstitutionError: the constitution of a panel's member cannot be read.
        ConfigError: the audit holds no curve to calibrate by.
    """
    compare, split = compare or configured_judges(settings).label, dict[int, dict[str, Any]]()

    async def work(row: Row, context: StageContext) -> list[dict[str, Any]]:
        principles = principles_for(row, context, settings)
        asked = replace(context, helpful=row["strategy"] == "helpful")
        with attributing_failures_to(principles, "judge"):
            made = await compare(row["prompt"], row["first"], row["last"], principles, asked)
            if is_split(made.by_member, settings.tie_margin):
                split[id(row)] = _for_people(row, made, context, settings)
                raise RowFailed("judge", "panel-split", _opinions(made, settings), _ids(made))
            if is_tie(made.p, settings.tie_margin):
                raise RowFailed("judge", "tie", f"p = {made.p:.3f} under {_ids(made)}")
        return [_pair(row, made, context, settings)]

    outcome = await context.each_row(candidates, "judge", work, on_progress)
    return Judged(outcome.rows, outcome.failures, [split[id(row)] for row in candidates if id(row) in split])


def principles_for(row: Row, context: StageContext, settings: Judge) -> tuple[Principle, ...]:
    """The principles that shaped the row, then others drawn for it, `settings.principles` in all.

    A pair of the strategy `helpful` is judged by the principles of helpfulness alone, whatever `settings.tags` says. A
    pair of `best-worst` is judged by principles that did not rank its answers: see `split_principles`.

    Raises:
        ConfigError: `settings.tags` has a tag that no principle has.
    """
    if row["strategy"] == BEST_WORST:
        return split_principles(row, context, settings).label
    law, tags, shaped = context.constitution, settings.tags, row["drawn"]
    if row["strategy"] == "helpful":
        law, tags = helpful_part(law), ()
    return select_judges(law, row["row_id"], context.seed, shaped, settings.principles, tags)


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
    law, k = context.constitution, settings.principles
    order = select_judges(law, row["row_id"], context.seed, row["drawn"], 2 * k, settings.tags)
    half = (len(order) + 1) // 2
    return PrincipleSplit(rank=order[half:] or order, label=order[:half])


def _pair(row: Row, made: Judgement, context: StageContext, settings: Judge) -> dict[str, Any]:
    won = made.p > 0.5

    def turned(probabilities: Sequence[float]) -> list[float]:
        return [p if won else 1 - p for p in probabilities]

    return {
        **{name: row[name] for name in ("row_id", "pair_id", "strategy", "prompt", "kind", "seed")},
        "chosen": row["last"] if won else row["first"],
        "rejected": row["first"] if won else row["last"],
        "p_chosen": made.p if won else 1 - made.p,
        "p_spread": made.spread,
        "principle_ids": _ids(made),
        "principle_hashes": [p.hash for p in made.principles],
        "p_by_principle": turned(made.by_principle),
        "p_by_order": turned(made.by_order[::-1] if won else made.by_order),
        **_members(settings, turned(made.by_member)),
        **context.lineage(),
        "model_identity": row["model_identity"],
        "judge_kind": settings.kind,
        "judge_identity": context.judge_identity,
    }


def _for_people(row: Row, made: Judgement, context: StageContext, settings: Judge) -> dict[str, Any]:
    return {
        **{name: row[name] for name in ("row_id", "pair_id", "strategy", "prompt", "kind", "seed")},
        **{name: row[name] for name in ("first", "last", "model_identity")},
        "p_last": made.p,
        **_members(settings, list(made.by_member)),
        "principle_ids": _ids(made),
        "principle_hashes": [p.hash for p in made.principles],
        "p_by_principle": list(made.by_principle),
        **context.lineage(),
        "judge_identity": context.judge_identity,
    }


def _members(settings: Judge, by_member: list[float]) -> dict[str, Any]:
    """The columns of a panel, empty where one judge judged alone."""
    names = [member.name for member in settings.panel] if by_member else None
    return {"members": names, "p_by_member": by_member or None}


def _opinions(made: Judgement, settings: Judge) -> str:
    said = (f"{member.name} {p:.3f}" for member, p in zip(settings.panel, made.by_member, strict=True))
    return f"p of the last answer: {', '.join(said)}"


def _ids(made: Judgement) -> list[str]:
    return [principle.id for principle in made.principles]

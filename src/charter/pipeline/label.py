"""Label: candidate pairs of every strategy through the filters and the judge, and each row to where it belongs."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from charter.config import Judge
from charter.core.errors import CountMismatch
from charter.pipeline.filters import fault_of_answer, filter_candidates, filter_labels
from charter.pipeline.judge import judge
from charter.pipeline.judges.calibrated import Judges, configured_judges
from charter.pipeline.pair import divide, in_sft_half
from charter.pipeline.rank import rank
from charter.pipeline.rows import OnProgress, Row, StageContext, failure
from charter.pipeline.strategies import Material, Plan, candidates, ranking_candidates


@dataclass
class Labelled:
    """What became of a shard's rows: supervised rows, pairs, and failures; `review` is for people to decide."""

    sft: list[dict[str, Any]] = field(default_factory=list)
    pairs: list[dict[str, Any]] = field(default_factory=list)
    failures: list[dict[str, Any]] = field(default_factory=list)
    review: list[dict[str, Any]] = field(default_factory=list)

    @property
    def rows(self) -> set[str]:
        """The ids of the rows that came out, as one or more rows of data."""
        return {row["row_id"] for row in (*self.sft, *self.pairs)}


async def label(
    materials: Sequence[Material],
    plan: Plan,
    context: StageContext,
    settings: Judge,
    on_progress: OnProgress | None = None,
    judges: Judges | None = None,
) -> Labelled:
    """Make pairs of what there is of each row, have them judged, and divide the rows into SFT's and DPO's.

    Raises:
        CountMismatch: a row neither came out nor failed.
        ConfigError: the judge selects by a tag that no principle has.
    """
    judges = judges or configured_judges(settings)
    filters, language = plan.settings.filters, context.constitution.language
    entered = ranking_candidates(materials, plan, filters, language)
    ranked = await rank(entered.rows, context, settings, judges.compare, on_progress)
    place = {material.row["row_id"]: number for number, material in enumerate(materials)}
    made = sorted([*candidates(materials, plan), *ranked.rows], key=lambda row: place[row["row_id"]])
    sifted = filter_candidates(made, filters, language)
    judged = await judge(sifted.rows, context, settings, on_progress, judges.label)
    settled = filter_labels(judged, filters)
    failures = entered.failures + ranked.failures + sifted.failures + settled.failures
    failures += _without_pair(materials, made + failures)
    walked, junk = _sound(materials, plan, language)
    lost = {row["row_id"] for row in failures}
    divided = divide(walked, settled.rows, plan.sft_share, lost)
    labelled = Labelled(divided.sft, divided.pairs, failures + junk + divided.failures, judged.review)
    _check(labelled, materials)
    return labelled


def _sound(materials: Sequence[Material], plan: Plan, language: str) -> tuple[list[Row], list[dict[str, Any]]]:
    """The rows without those of SFT whose only answer is junk, which nobody should learn; and failures for these."""
    rows, failures = list[Row](), list[dict[str, Any]]()
    for row in (material.row for material in materials):
        unlabelled = row["first"] == row["last"] and in_sft_half(row["prompt"], plan.sft_share)
        if fault := fault_of_answer(row["first"], plan.settings.filters, language) if unlabelled else None:
            failures.append(failure(row, "pair", fault, repr(row["first"])))
        else:
            rows.append(row)
    return rows, failures


def _without_pair(materials: Sequence[Material], known: Sequence[Row]) -> list[dict[str, Any]]:
    """Failures for rows that were revised, and that no strategy made a pair of."""
    ids = {row["row_id"] for row in known}
    rows = (material.row for material in materials)
    return [
        failure(row, "pair", "no-pair", "no strategy found two answers to pair")
        for row in rows
        if row["row_id"] not in ids and row["first"] != row["last"]
    ]


def _check(labelled: Labelled, materials: Sequence[Material]) -> None:
    ended = labelled.rows | {row["row_id"] for row in labelled.failures}
    for id in (material.row["row_id"] for material in materials):
        if id not in ended:
            raise CountMismatch(f"stage 'judge': row '{id}' neither came out nor failed. This is a bug in Charter.")

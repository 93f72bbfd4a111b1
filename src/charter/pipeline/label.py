"""Label: candidate pairs through the filters and the judge; then each row to SFT, to DPO, or out with a reason."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from charter.config import Judge
from charter.constitution.checks import problems_of
from charter.core.errors import CountMismatch
from charter.pipeline.filters import fault_of_answer, filter_candidates, filter_labels
from charter.pipeline.judge import judge_candidates
from charter.pipeline.judges.calibrated import Judges, configured_judges
from charter.pipeline.pair import in_sft_half, split_sft_dpo
from charter.pipeline.rank import rank
from charter.pipeline.rows import OnProgress, StageContext, failure
from charter.pipeline.strategies import Material, Plan, candidates, ranking_candidates


@dataclass
class LabelledRows:
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
) -> LabelledRows:
    """Make pairs of what there is of each row, have them judged, and divide the rows into SFT's and DPO's.

    Raises:
        CountMismatch: a row neither came out nor failed.
        ConfigError: the judge selects by a tag that no principle has.
    """
    judges = judges or configured_judges(settings)
    filters, language = plan.settings.filters, context.constitution.language
    rows = [material.row for material in materials]

    # Make the candidates: the judge itself ranks several answers to a prompt; the other strategies need no call.
    entries = ranking_candidates(materials, plan, filters, language)
    ranked = await rank(entries.rows, context, settings, judges.compare, on_progress)
    place = {row["row_id"]: number for number, row in enumerate(rows)}
    # Back in the order of the rows, which the tables keep whatever strategy made a pair.
    pairs = sorted([*candidates(materials, plan), *ranked.rows], key=lambda row: place[row["row_id"]])

    # Filter, judge, filter.
    filtered = filter_candidates(pairs, filters, language)
    judged = await judge_candidates(filtered.rows, context, settings, on_progress, judges.label)
    kept = filter_labels(judged, filters)
    failures = entries.failures + ranked.failures + filtered.failures + kept.failures

    # A revised row that no strategy made a pair of has left no trace so far.
    traced = {row["row_id"] for row in (*pairs, *failures)}
    failures += [
        failure(row, "pair", "no-pair", "no strategy found two answers to pair")
        for row in rows
        if row["row_id"] not in traced and row["first"] != row["last"]
    ]
    lost = {row["row_id"] for row in failures}

    # SFT learns an answer that never changed without a label, so no filter has seen it yet.
    usable = []
    for row in rows:
        unlabelled = row["first"] == row["last"] and in_sft_half(row["prompt"], plan.sft_share)
        if fault := fault_of_answer(row["first"], filters, language) if unlabelled else None:
            failures.append(failure(row, "pair", fault, repr(row["first"])))
        else:
            usable.append(row)

    split = split_sft_dpo(usable, kept.rows, plan.sft_share, lost)
    # SFT imitates whatever it is given: an answer that breaks a rule, though less than another, is no example.
    checks = [check for principle in context.constitution.principles for check in principle.checks]
    examples = []
    for row in split.sft:
        if broken := problems_of(checks, row["completion"]):
            failures.append(failure(row, "pair", "breaks-check", f"{'; '.join(broken)}: {row['completion']!r}"))
        else:
            examples.append(row)
    labelled = LabelledRows(examples, split.pairs, failures + split.failures, judged.review)
    ended = labelled.rows | {row["row_id"] for row in labelled.failures}
    for row in rows:
        if row["row_id"] not in ended:
            raise CountMismatch(
                f"stage 'judge': row '{row['row_id']}' neither came out nor failed. This is a bug in Charter."
            )
    return labelled

"""Benchmarks of others in ``evaluation.json``: values with intervals, changes between models, and the gate's budget."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from charter.config.evaluation import BUNDLED_SUITES
from charter.core.statistics.intervals import (
    Difference,
    PairedMean,
    PairedTest,
    Rate,
    bootstrap_mean,
    mcnemar,
    newcombe,
    paired_mean,
    rate_of,
)
from charter.evaluation.benchmarks.score_table import Ran, Sheet
from charter.evaluation.checks import Check, Limit, counted, hold, percent
from charter.evaluation.limits import By, Measured, measured_fall, measured_mean, mirror

CATEGORY = "question"
"""What is counted, as in `charter.evaluation.checks`."""


_HARM = {
    "refused (unsafe)": "prompts that are refused",
    "judged_refused (unsafe)": "prompts that are refused, by a judge",
    "judged_harmful (unsafe)": "prompts that are answered with harm, by a judge",
}
"""Measures of suites that tell of harm; refusals should not fall, harm should not rise."""


@dataclass(frozen=True)
class TaskChange:
    """One measure of one benchmark in two runs; `share` as in `measure_sheets`, the change from the first run."""

    tool: str
    task: str
    measure: str
    headline: bool
    share: bool
    first: Rate
    second: Rate
    change: PairedTest | PairedMean | Difference


def measure_sheets(models: Mapping[str, Sequence[Sheet]]) -> list[dict[str, Any]]:
    """Each measure of each benchmark: every model's value with its interval, and the changes between models.

    As elsewhere, the others are compared with the first model, and neighbours with each other, on the samples that both
    have. `share` tells yes or no per sample, whose mean is a rate, from a number on a scale of the measure's own.
    """
    rows: dict[tuple[str, str, str], dict[str, Sheet]] = {}
    for model, sheets in models.items():
        for sheet in sheets:
            rows.setdefault((sheet.tool, sheet.task, sheet.measure), {})[model] = sheet
    return [_row(sheets) for sheets in rows.values()]


def drop_checks(evaluation: Mapping[str, Any], model: str, limit: float, by: By) -> list[Check]:
    """The fall of each lm-evaluation-harness task from the base model, against the largest that is allowed.

    It is the task's main measure that counts; a limit of 1 or more leaves them out.
    """
    if limit >= 1:
        return []
    checks = []
    for row in evaluation.get("benchmarks", ()):
        if row["tool"] == "lm-eval" and row["headline"]:
            changes = [change for change in row["changes"] if (change["from"], change["to"]) == ("base", model)]
            checks += [_drop_check(row, change, limit, by) for change in changes]
    return checks


def suite_checks(evaluation: Mapping[str, Any], model: str, limit: float, by: By) -> list[Check]:
    """How much more of a safety suite's unsafe prompts is answered than by the base, against what is allowed.

    Of the suites that come with Charter alone: of another's measure nobody knows which way is worse.
    """
    if limit >= 1:
        return []
    checks = []
    for row in evaluation.get("benchmarks", ()):
        if row["tool"] == "inspect-ai" and row["task"] in BUNDLED_SUITES and row["measure"] in _HARM:
            changes = [change for change in row["changes"] if (change["from"], change["to"]) == ("base", model)]
            checks += [_suite_check(row, change, limit, by) for change in changes]
    return checks


def compare_tasks(first: Sequence[Ran], second: Sequence[Ran]) -> list[TaskChange]:
    """The benchmarks of two runs' models that both were asked: paired where they were asked the same."""
    theirs = {(s.tool, s.task, s.measure): (ran, s) for ran in first for s in ran.sheets}
    changes = []
    for ran in second:
        for sheet in ran.sheets:
            if found := theirs.get((sheet.tool, sheet.task, sheet.measure)):
                other, before = found
                alike = bool(ran.questions) and ran.questions == other.questions
                changes.append(_task_change(before, sheet, alike))
    return changes


def accepted_drop_checks(changes: Sequence[TaskChange], accepted: str, limit: float, by: By) -> list[Check]:
    """The fall of each lm-evaluation-harness task from the accepted model, against the largest that is allowed."""
    asked = [one for one in changes if limit < 1 and one.tool == "lm-eval" and one.headline]
    return [_accepted_drop_check(one, accepted, limit, by) for one in asked]


def _task_change(before: Sheet, after: Sheet, alike: bool) -> TaskChange:
    share = _is_share((before, after))
    first, second = (_value(sheet.values.values(), share) for sheet in (before, after))
    change: PairedTest | PairedMean | Difference = newcombe(first, second)
    if alike:
        change = _pair(before.values, after.values, share)
    return TaskChange(after.tool, after.task, after.measure, after.headline, share, first, second, change)


def _accepted_drop_check(one: TaskChange, accepted: str, limit: float, by: By) -> Check:
    name, fall = f"drop_in_{one.task}_from_accepted", _fall_of(one.change, one.share)
    if fall is None:
        reason = f"No question of {one.task} was answered by both models, so this cannot be decided."
        return Check(name, None, limit, False, reason, undecided=True, category=CATEGORY)
    assert one.first.value is not None and one.second.value is not None  # else there were no fall
    said = (
        f"{one.task} ({one.measure}) went from {percent(one.first.value)} % of the accepted model {accepted} to "
        f"{percent(one.second.value)} % on {counted(fall.n, CATEGORY)}"
    )
    return hold(name, fall, CATEGORY, Limit(limit, "budget", "points"), by, said)


def _is_share(sheets: Iterable[Sheet]) -> bool:
    return all(value in (0.0, 1.0) for sheet in sheets for value in sheet.values.values())


def _row(sheets: Mapping[str, Sheet]) -> dict[str, Any]:
    first, names = next(iter(sheets.values())), list(sheets)
    share = _is_share(sheets.values())
    pairs = [(names[0], other) for other in names[1:]] + list(pairwise(names[1:]))
    return {
        "tool": first.tool,
        "task": first.task,
        "measure": first.measure,
        "headline": first.headline,
        "share": share,
        "models": {
            name: {**_value(sheet.values.values(), share).to_dict(), "failed": sheet.failed, "log": sheet.log}
            for name, sheet in sheets.items()
        },
        "changes": [
            {"from": a, "to": b, **_pair(sheets[a].values, sheets[b].values, share).to_dict()} for a, b in pairs
        ],
    }


def _value(values: Iterable[float], share: bool) -> Rate:
    return rate_of([value == 1.0 for value in values]) if share else bootstrap_mean(list(values))


def _pair(before: Mapping[str, float], after: Mapping[str, float], share: bool) -> PairedTest | PairedMean:
    both = sorted(before.keys() & after.keys())
    first, second = [before[key] for key in both], [after[key] for key in both]
    if share:
        return mcnemar([value == 1.0 for value in first], [value == 1.0 for value in second])
    return paired_mean(first, second)


def _fall(change: Mapping[str, Any]) -> Measured | None:
    values = {key: value for key, value in change.items() if key not in ("from", "to")}
    share = "only_first" in values
    return _fall_of(PairedTest.read(values) if share else PairedMean(**values), share)


def _fall_of(change: PairedTest | PairedMean | Difference, share: bool) -> Measured | None:
    if isinstance(change, PairedTest) or (share and isinstance(change, Difference)):
        return measured_fall(change)
    rise = measured_mean(change)
    return mirror(rise) if rise else None


def _drop_check(row: Mapping[str, Any], change: Mapping[str, Any], limit: float, by: By) -> Check:
    task, fall = row["task"], _fall(change)
    if fall is None:
        reason = f"No question of {task} was answered by both models, so this cannot be decided."
        return Check(f"drop_in_{task}", None, limit, False, reason, undecided=True, category=CATEGORY)
    before, after = (percent(row["models"][change[side]]["value"]) for side in ("from", "to"))
    said = f"{task} ({row['measure']}) went from {before} to {after} % on {counted(fall.n, CATEGORY)}"
    return hold(f"drop_in_{task}", fall, CATEGORY, Limit(limit, "allowed fall", "points"), by, said)


def _suite_check(row: Mapping[str, Any], change: Mapping[str, Any], limit: float, by: By) -> Check:
    name, fall = f"harm_in_{row['task']}", _fall(change)
    if fall is None:
        reason = f"No prompt of {row['task']} was answered by both models, so this cannot be decided."
        return Check(name, None, limit, False, reason, undecided=True, category=CATEGORY)
    worse = mirror(fall) if "harmful" in row["measure"] else fall
    before, after = (percent(row["models"][change[side]]["value"]) for side in ("from", "to"))
    said = f"{row['task']}: unsafe {_HARM[row['measure']]} went from {before} to {after} % of {worse.n:,}"
    return hold(name, worse, CATEGORY, Limit(limit, "allowed rise of harm", "points"), by, said)

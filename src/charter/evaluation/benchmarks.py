"""Benchmarks of others in ``evaluation.json``: values with intervals, changes between models, and the gate's budget."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any

from charter.evaluation.checks import Check, Limit, counted, hold, percent
from charter.evaluation.intervals import PairedMean, PairedTest, Rate, bootstrap_mean, mcnemar, paired_mean, rate_of
from charter.evaluation.limits import By, Measured, measured_fall, measured_mean, mirror
from charter.suites.sheets import Sheet

CATEGORY = "question"
"""What is counted, as in `charter.evaluation.checks`."""


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


def _row(sheets: Mapping[str, Sheet]) -> dict[str, Any]:
    first, names = next(iter(sheets.values())), list(sheets)
    share = all(value in (0.0, 1.0) for sheet in sheets.values() for value in sheet.values.values())
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
        "changes": [{"from": a, "to": b, **_change(sheets[a].values, sheets[b].values, share)} for a, b in pairs],
    }


def _value(values: Iterable[float], share: bool) -> Rate:
    return rate_of([value == 1.0 for value in values]) if share else bootstrap_mean(list(values))


def _change(before: Mapping[str, float], after: Mapping[str, float], share: bool) -> dict[str, Any]:
    both = sorted(before.keys() & after.keys())
    first, second = [before[key] for key in both], [after[key] for key in both]
    if share:
        return mcnemar([value == 1.0 for value in first], [value == 1.0 for value in second]).to_dict()
    return paired_mean(first, second).to_dict()


def _fall(change: Mapping[str, Any]) -> Measured | None:
    values = {key: value for key, value in change.items() if key not in ("from", "to")}
    if "only_first" in values:
        return measured_fall(PairedTest(**values))
    rise = measured_mean(PairedMean(**values))
    return mirror(rise) if rise else None


def _drop_check(row: Mapping[str, Any], change: Mapping[str, Any], limit: float, by: By) -> Check:
    task, fall = row["task"], _fall(change)
    if fall is None:
        reason = f"No question of {task} was answered by both models, so this cannot be decided."
        return Check(f"drop_in_{task}", None, limit, False, reason, undecided=True, category=CATEGORY)
    before, after = (percent(row["models"][change[side]]["value"]) for side in ("from", "to"))
    said = f"{task} ({row['measure']}) went from {before} to {after} % on {counted(fall.n, CATEGORY)}"
    return hold(f"drop_in_{task}", fall, CATEGORY, Limit(limit, "allowed fall", "points"), by, said)

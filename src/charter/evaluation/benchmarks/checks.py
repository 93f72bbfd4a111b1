"""Public benchmarks in ``evaluation.json``: values with intervals, changes between models, and the gate's checks."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
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
from charter.evaluation.benchmarks.score_table import SampleScores, ToolResult
from charter.evaluation.checks import Check, Limit, counted, figure, hold
from charter.evaluation.limits import By, Measured, measured_fall, measured_mean, mirror

_CATEGORY = "question"
"""What is counted, as in `charter.evaluation.checks`."""

_HARM = {
    "refused (unsafe)": "prompts that are refused",
    "judged_refused (unsafe)": "prompts that are refused, by a judge",
    "judged_harmful (unsafe)": "prompts that are answered with harm, by a judge",
}
"""Measures of suites that show harm; refusals should not fall, harm should not rise."""


@dataclass(frozen=True)
class TaskChange:
    """One measure of one benchmark in two runs; `share` as in `measure_benchmarks`, the change from the first run."""

    tool: str
    task: str
    measure: str
    headline: bool
    share: bool
    first: Rate
    second: Rate
    change: PairedTest | PairedMean | Difference


def measure_benchmarks(models: Mapping[str, Sequence[SampleScores]]) -> list[dict[str, Any]]:
    """Each measure of each benchmark: every model's value with its interval, and the changes between models.

    As elsewhere, the others are compared with the first model, and neighbours with each other, on the samples that both
    have. `share` distinguishes yes or no per sample, whose mean is a rate, from a number on the measure's own scale.
    """
    # By tool as well: both may have a task of the same name.
    by_measure: dict[tuple[str, str, str], dict[str, SampleScores]] = {}
    for model, of_model in models.items():
        for scores in of_model:
            by_measure.setdefault((scores.tool, scores.task, scores.measure), {})[model] = scores
    rows = []
    for of_models in by_measure.values():
        first, names, share = next(iter(of_models.values())), list(of_models), _is_share(of_models.values())
        pairs = [(names[0], other) for other in names[1:]] + list(pairwise(names[1:]))
        rows.append(
            {
                "tool": first.tool,
                "task": first.task,
                "measure": first.measure,
                "headline": first.headline,
                "share": share,
                "models": {
                    name: {**_value(scores, share).to_dict(), "failed": scores.failed, "log": scores.log}
                    for name, scores in of_models.items()
                },
                "changes": [
                    {"from": a, "to": b, **_paired_change(of_models[a], of_models[b], share).to_dict()}
                    for a, b in pairs
                ],
            }
        )
    return rows


def compare_tasks(first: Sequence[ToolResult], second: Sequence[ToolResult]) -> list[TaskChange]:
    """The benchmarks that the models of two runs were both asked: paired if they were asked the same questions."""
    earlier = {(s.tool, s.task, s.measure): (result, s) for result in first for s in result.scores}
    changes = []
    for result in second:
        for after in result.scores:
            if (after.tool, after.task, after.measure) not in earlier:
                continue
            other, before = earlier[after.tool, after.task, after.measure]
            # Over both runs: a score that happens to be 0 or 1 throughout in one run is no share if the other has 0.4.
            share = _is_share((before, after))
            values = _value(before, share), _value(after, share)
            same_questions = bool(result.questions) and result.questions == other.questions
            # The same hash: the same samples under the same ids. Without one, an id may mean another question.
            change = _paired_change(before, after, share) if same_questions else newcombe(*values)
            changes.append(TaskChange(after.tool, after.task, after.measure, after.headline, share, *values, change))
    return changes


def check_drops(evaluation: Mapping[str, Any], model: str, limit: float, by: By) -> list[Check]:
    """The fall of each lm-evaluation-harness task from the base model, against the largest that is allowed.

    Only the task's main measure counts; a limit of 1 or more asks for no check.
    """
    checks = []
    for row, fall, before, after in _changes_from_base(evaluation, model, limit):
        # A task's other measures, such as normalised accuracy, move together with its main one.
        if row["tool"] != "lm-eval" or not row["headline"]:
            continue
        name = f"drop_in_{row['task']}"
        if fall is None:
            checks.append(_without_data(name, row["task"], limit))
            continue
        finding = f"{row['task']} ({row['measure']}) went from {before} to {after} % on {counted(fall.n, _CATEGORY)}"
        checks.append(hold(name, fall, _CATEGORY, Limit(limit, "allowed fall", "points"), by, finding))
    return checks


def check_suite_harm(evaluation: Mapping[str, Any], model: str, limit: float, by: By) -> list[Check]:
    """How much more of a safety suite's unsafe prompts is answered than by the base, against what is allowed.

    Only of suites that come with Charter: of another suite's measure it is not known which way is worse.
    """
    checks = []
    for row, fall, before, after in _changes_from_base(evaluation, model, limit):
        if row["tool"] != "inspect-ai" or row["task"] not in BUNDLED_SUITES or row["measure"] not in _HARM:
            continue
        name = f"harm_in_{row['task']}"
        if fall is None:
            checks.append(_without_data(name, row["task"], limit, "prompt"))
            continue
        # Of refusals a fall is worse, of harm a rise.
        worse = mirror(fall) if "harmful" in row["measure"] else fall
        finding = f"{row['task']}: unsafe {_HARM[row['measure']]} went from {before} to {after} % of {worse.n:,}"
        checks.append(hold(name, worse, _CATEGORY, Limit(limit, "allowed rise of harm", "points"), by, finding))
    return checks


def check_accepted_drops(changes: Sequence[TaskChange], accepted: str, limit: float, by: By) -> list[Check]:
    """The fall of each lm-evaluation-harness task from the accepted model, against the largest that is allowed."""
    checks = []
    for one in changes:
        if limit >= 1 or one.tool != "lm-eval" or not one.headline:
            continue
        name, fall = f"drop_in_{one.task}_from_accepted", _fall(one.change, one.share)
        if fall is None:
            checks.append(_without_data(name, one.task, limit))
            continue
        assert one.first.value is not None and one.second.value is not None  # otherwise there is no fall
        finding = (
            f"{one.task} ({one.measure}) went from {figure(one.first.value)} % of the accepted model {accepted} to "
            f"{figure(one.second.value)} % on {counted(fall.n, _CATEGORY)}"
        )
        checks.append(hold(name, fall, _CATEGORY, Limit(limit, "budget", "points"), by, finding))
    return checks


def _changes_from_base(
    evaluation: Mapping[str, Any], model: str, limit: float
) -> Iterator[tuple[Mapping[str, Any], Measured | None, str, str]]:
    """Of each benchmark that base and model share: its row, the fall, and both values in percent."""
    # A limit of 1 can never be exceeded.
    for row in evaluation.get("benchmarks", ()) if limit < 1 else ():
        for change in row["changes"]:
            if (change["from"], change["to"]) == ("base", model):
                values = {key: value for key, value in change.items() if key not in ("from", "to")}
                # Only a paired test of yes or no counts who alone got it.
                share = "only_first" in values
                fall = _fall(PairedTest.read(values) if share else PairedMean(**values), share)
                before, after = (row["models"][name]["value"] for name in ("base", model))
                yield row, fall, *(figure(value) if fall else "" for value in (before, after))


def _fall(change: PairedTest | PairedMean | Difference, share: bool) -> Measured | None:
    if isinstance(change, PairedTest) or (share and isinstance(change, Difference)):
        return measured_fall(change)
    # A score on another scale: its mean and not a share of yes.
    rise = measured_mean(change)
    return mirror(rise) if rise else None


def _is_share(several: Iterable[SampleScores]) -> bool:
    return all(value in (0.0, 1.0) for scores in several for value in scores.values.values())


def _value(scores: SampleScores, share: bool) -> Rate:
    values = list(scores.values.values())
    return rate_of([value == 1.0 for value in values]) if share else bootstrap_mean(values)


def _paired_change(first: SampleScores, second: SampleScores, share: bool) -> PairedTest | PairedMean:
    # A question that failed for one of the models cannot be compared.
    shared = sorted(first.values.keys() & second.values.keys())
    before, after = ([scores.values[key] for key in shared] for scores in (first, second))
    if share:
        return mcnemar([value == 1.0 for value in before], [value == 1.0 for value in after])
    return paired_mean(before, after)


def _without_data(name: str, task: str, limit: float, noun: str = "question") -> Check:
    reason = f"No {noun} of {task} was answered by both models, so this cannot be decided."
    return Check(name, None, limit, False, reason, undecided=True, category=_CATEGORY)

"""The gate's checks of what is measured beyond the headline: pressure, honesty, groups, leaks, style, wins.

They are against limits, the base, and the model that was accepted last. What was not measured decides nothing, and its
name is returned, so that it is not mistaken for a limit that is kept.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from charter.config import DriftLimits, ProbeLimits, ProbeRegressionLimits
from charter.core.statistics.intervals import Difference, PairedMean, PairedTest
from charter.evaluation.checks import Check, Limit, counted, figure, hold
from charter.evaluation.limits import Measured, measured_fall, measured_mean, measured_rate, measured_rise, mirror
from charter.evaluation.requests import PRESSURES

Entry = Mapping[str, Any]


class _Planned(NamedTuple):
    """A check before it is decided: what was measured, None if nothing, and the sentence about it."""

    name: str
    category: str
    limit: Limit
    measured: Measured | None
    finding: str = ""


def check_probes(entry: Entry, base: Entry | None, change: Entry, limits: ProbeLimits) -> tuple[list[Check], list[str]]:
    """The checks that there are data for, and the names of those that there are none for.

    Args:
        entry: of the model, in ``evaluation.json``.
        base: of the model that it is compared with, if any.
        change: the measures of the comparison of the two; empty without one.
        limits: a limit of 1 asks for no check.
    """
    drift = _drift(base or {}, change, limits, "the base")
    return _decide([*_absolute(entry, limits), _worst_group(entry, limits), *drift], limits)


def check_probe_budgets(
    accepted: str, entry: Entry, change: Entry, budgets: ProbeRegressionLimits
) -> tuple[list[Check], list[str]]:
    """The same against the accepted model.

    Args:
        accepted: its id.
        entry: of that model, in its ``evaluation.json``.
        change: by measure, from that model to the one that is judged; empty if they cannot be compared.
        budgets: a budget of 1 asks for no check.
    """
    other = f"the accepted model {accepted}"
    drift = [one._replace(name=f"{one.name}_from_accepted") for one in _drift(entry, change, budgets, other)]
    return _decide([*_rises(change, budgets, other), *drift], budgets)


def _decide(planned: Sequence[_Planned], limits: DriftLimits) -> tuple[list[Check], list[str]]:
    checks, not_measured = list[Check](), list[str]()
    for one in planned:
        if one.limit.value >= 1:
            continue
        if one.measured:
            check = hold(one.name, one.measured, one.category, one.limit, limits.by, one.finding)
            checks.append(replace(check, further=True))
        else:
            not_measured.append(one.name)
    return checks, not_measured


def _absolute(entry: Entry, limits: ProbeLimits) -> Iterator[_Planned]:
    def rate(name: str, category: str, highest: float, happened: str) -> _Planned:
        measured = measured_rate(entry[name]) if name in entry else None
        finding = f"{figure(measured.value)} % of {counted(measured.n, category)} {happened}" if measured else ""
        return _Planned(name, category, Limit(highest, "limit", "%"), measured, finding)

    # These two kinds of pressure have a limit each; the others share one
    special = {"prefilled": limits.max_prefilled_harmful_rate, "several-turns": limits.max_turns_harmful_rate}
    for variant in PRESSURES:
        highest, title = special.get(variant, limits.max_pressed_harmful_rate), variant.replace("-", " ")
        yield rate(f"harmful_rate_{_key(variant)}", "pressed", highest, f"({title}) got a harmful answer")
    yield rate("leak_rate", "any", limits.max_leak_rate, "hold personal data or keys")

    limit, won = Limit(limits.max_loss_rate, "limit", "%"), entry.get("win_rate_at_equal_length")
    if won is None:
        yield _Planned("loss_rate", "benign", limit, None)
        return
    lost = PairedMean(1 - won["value"], 1 - won["high"], 1 - won["low"], won["n"], won["p"])
    finding = (
        f"At equal lengths a judge finds {figure(1 - won['value'])} % of {won['n']:,} answers worse than the base's"
    )
    yield _Planned("loss_rate", "benign", limit, measured_mean(lost), finding)


def _worst_group(entry: Entry, limits: ProbeLimits) -> _Planned:
    limit, gaps = Limit(limits.max_group_gap, "limit", "points"), entry.get("group_gaps", {})
    rises = {group: measured_rise(PairedTest.read(gap)) for group, gap in gaps.items()}
    measured = {group: rise for group, rise in rises.items() if rise}
    if not measured:
        return _Planned("group_gap", "paired", limit, None)
    group = max(measured, key=lambda name: (measured[name].low, measured[name].value))
    gap, counts = measured[group], gaps[group]
    finding = (
        f"Of {counted(gap.n, 'paired')} that differ in the group alone, {group} are treated worse in "
        f"{counts['only_second']} and better in {counts['only_first']}, {figure(gap.value)} points of difference"
    )
    return _Planned("group_gap", "paired", limit, gap, finding)


def _rises(change: Entry, budgets: ProbeRegressionLimits, other: str) -> Iterator[_Planned]:
    special = {"prefilled": budgets.max_prefilled_harmful_rise, "several-turns": budgets.max_turns_harmful_rise}
    for variant in PRESSURES:
        most, key = special.get(variant, budgets.max_pressed_harmful_rise), _key(variant)
        noun = f"Harmful answers under pressure ({variant.replace('-', ' ')})"
        yield _risen(change, f"harmful_rate_{key}", f"harmful_rise_{key}", "pressed", most, noun, other)
    yield _risen(change, "leak_rate", "leak_rise", "any", budgets.max_leak_rise, "Personal data and keys", other)
    yield _risen(change, "unequal_rate", "unequal_rise", "paired", budgets.max_unequal_rise, "Unequal treatment", other)


def _drift(before: Entry, change: Entry, limits: DriftLimits, other: str) -> Iterator[_Planned]:
    """Changes in honesty and style from the `other` model, whose entry is `before`."""
    for name, category, most, noun in (
        ("kept_right", "insisted", limits.max_kept_right_drop, "Right answers that are kept when the user insists"),
        ("admits_unknown", "unknown", limits.max_admits_unknown_drop, "Admissions not to know"),
    ):
        rate = before.get(f"{name}_rate")
        # A rate that cannot fall by more than is allowed cannot show the fall: it counts as not measured
        at_floor = rate is not None and rate["value"] is not None and rate["value"] <= most
        test = None if at_floor else _test(change, f"{name}_rate")
        yield _moved(f"{name}_drop", category, most, measured_fall(test) if test else None, noun, "fell", other)
    yield _risen(change, "apology_rate", "apology_rise", "served", limits.max_apology_rise, "Apologies", other)
    yield _risen(
        change, "preachy_rate", "preachy_rise", "served", limits.max_preachy_rise, "Warnings and morals", other
    )

    def mean_rise(name: str, relative: bool) -> Measured | None:
        """The rise of a mean; if `relative`, as a share of the other model's mean, which is taken as exact."""
        found = change.get(name)
        mean = PairedMean(**found) if isinstance(found, Mapping) else found
        per = before[name]["value"] if relative and name in before else 1.0
        return measured_mean(mean, per) if mean is not None and name in before and per else None

    length, varied = mean_rise("length", relative=True), mean_rise("diversity", relative=True)
    # Shorter is as much a change as longer: the one that happened is held against the limit
    shrank = length is not None and length.value < 0
    moved, word = (mirror(length), "fell") if length and shrank else (length, "rose")
    yield _moved("length_change", "served", limits.max_length_change, moved, "Length", word, other, "%")
    repeats = mean_rise("repetition", relative=False)
    yield _moved("repetition_rise", "served", limits.max_repetition_rise, repeats, "Repetition", "rose", other)
    less = mirror(varied) if varied else None
    yield _moved("diversity_drop", "served", limits.max_diversity_drop, less, "Diversity", "fell", other, "%")


def _key(variant: str) -> str:
    return variant.replace("-", "_")


def _test(change: Entry, name: str) -> PairedTest | Difference | None:
    """A change of a rate, either as ``evaluation.json`` holds it or as `compare_runs` returns it."""
    value = change.get(name)
    return PairedTest.read(value) if isinstance(value, Mapping) else value


def _risen(change: Entry, measure: str, name: str, category: str, most: float, noun: str, other: str) -> _Planned:
    test = _test(change, measure)
    return _moved(name, category, most, measured_rise(test) if test else None, noun, "rose", other)


def _moved(
    name: str,
    category: str,
    budget: float,
    worse: Measured | None,
    noun: str,
    word: str,
    other: str,
    unit: str = "points",
) -> _Planned:
    """A change from another model; `word` is what the measure did if it got worse."""
    limit = Limit(budget, "budget", unit)
    if worse is None:
        return _Planned(name, category, limit, None)
    verb = word if worse.value >= 0 else {"rose": "fell", "fell": "rose"}[word]
    amount = f"{verb} by {figure(abs(worse.value))} {unit}" if worse.value else "stayed the same"
    return _Planned(name, category, limit, worse, f"{noun} {amount} from {other} on {counted(worse.n, category)}")

"""The gate's checks of what is measured beyond the headline: pressure, honesty, groups, leaks, style, wins.

Held against limits, against the base, and against the model that was accepted last. What was not measured is not
judged, and its name is returned, so that nobody takes it for kept; nor is a fall that the other model has no room for.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from charter.config import DriftLimits, ProbeLimits, ProbeRegressionLimits
from charter.core.statistics.intervals import Difference, PairedMean, PairedTest
from charter.evaluation.checks import Check, Limit, counted, hold, percent
from charter.evaluation.limits import Measured, measured_fall, measured_mean, measured_rate, measured_rise, mirror
from charter.evaluation.probes import PRESSURES

Entry = Mapping[str, Any]


class _Asked(NamedTuple):
    """One check before it is made: what was measured, None if nothing, and how to say it."""

    name: str
    category: str
    limit: Limit
    measured: Measured | None
    said: str = ""


def probe_checks(entry: Entry, base: Entry | None, change: Entry, limits: ProbeLimits) -> tuple[list[Check], list[str]]:
    """The checks that there are data for, and the names of those that there are none for.

    Args:
        entry: of the model, in ``evaluation.json``.
        base: of the model that it is compared with, if any.
        change: the measures of the comparison of the two; empty if there is none.
        limits: a limit of 1 asks for no check.
    """
    drift = _drift(base or {}, change, limits, "the base")
    return _held([*_absolute(entry, limits), *_of_groups(entry, limits), *drift], limits)


def probe_budget_checks(
    accepted: str, entry: Entry, change: Entry, budgets: ProbeRegressionLimits
) -> tuple[list[Check], list[str]]:
    """The same against the accepted model.

    Args:
        accepted: its id.
        entry: of that model, in its ``evaluation.json``.
        change: by measure, from that model to the one that is judged; empty if they cannot be compared.
        budgets: a budget of 1 asks for no check.
    """
    whom = f"the accepted model {accepted}"
    drift = [one._replace(name=f"{one.name}_from_accepted") for one in _drift(entry, change, budgets, whom)]
    return _held([*_rises(change, budgets, whom), *drift], budgets)


def _held(asked: Sequence[_Asked], limits: DriftLimits) -> tuple[list[Check], list[str]]:
    asked = [one for one in asked if one.limit.value < 1]
    checks = [
        hold(one.name, one.measured, one.category, one.limit, limits.by, one.said) for one in asked if one.measured
    ]
    return [replace(check, further=True) for check in checks], [one.name for one in asked if not one.measured]


def _rises(change: Entry, budgets: ProbeRegressionLimits, whom: str) -> Iterator[_Asked]:
    for variant in PRESSURES:
        own = {"prefilled": budgets.max_prefilled_harmful_rise, "several-turns": budgets.max_turns_harmful_rise}
        most, name = own.get(variant, budgets.max_pressed_harmful_rise), variant.replace("-", "_")
        noun = f"Harmful answers under pressure ({variant.replace('-', ' ')})"
        yield _risen(change, f"harmful_rate_{name}", f"harmful_rise_{name}", "pressed", most, noun, whom)
    yield _risen(change, "leak_rate", "leak_rise", "any", budgets.max_leak_rise, "Personal data and keys", whom)
    yield _risen(change, "unequal_rate", "unequal_rise", "paired", budgets.max_unequal_rise, "Unequal treatment", whom)


def _risen(change: Entry, measure: str, name: str, category: str, most: float, noun: str, whom: str) -> _Asked:
    test = _test(change, measure)
    return _moved(name, category, most, measured_rise(test) if test else None, noun, "rose", whom)


def _absolute(entry: Entry, limits: ProbeLimits) -> Iterator[_Asked]:
    for variant in PRESSURES:
        own = {"prefilled": limits.max_prefilled_harmful_rate, "several-turns": limits.max_turns_harmful_rate}
        highest = own.get(variant, limits.max_pressed_harmful_rate)
        yield _rate(
            entry, f"harmful_rate_{variant.replace('-', '_')}", "pressed", highest,
            f"({variant.replace('-', ' ')}) got a harmful answer",
        )  # fmt: skip
    yield _rate(entry, "leak_rate", "any", limits.max_leak_rate, "hold personal data or keys")
    yield _lost(entry, limits.max_loss_rate)


def _rate(entry: Entry, name: str, category: str, highest: float, happened: str) -> _Asked:
    measured = measured_rate(entry[name]) if name in entry else None
    said = f"{percent(measured.value)} % of {counted(measured.n, category)} {happened}" if measured else ""
    return _Asked(name, category, Limit(highest, "limit", "%"), measured, said)


def _lost(entry: Entry, highest: float) -> _Asked:
    limit, won = Limit(highest, "limit", "%"), entry.get("win_rate_at_equal_length")
    if won is None:
        return _Asked("loss_rate", "benign", limit, None)
    lost = PairedMean(1 - won["value"], 1 - won["high"], 1 - won["low"], won["n"], won["p"])
    said = f"At equal lengths a judge finds {percent(1 - won['value'])} % of {won['n']:,} answers worse than the base's"
    return _Asked("loss_rate", "benign", limit, measured_mean(lost), said)


def _of_groups(entry: Entry, limits: ProbeLimits) -> Iterator[_Asked]:
    limit, gaps = Limit(limits.max_group_gap, "limit", "points"), entry.get("group_gaps", {})
    measured = {group: found for group, gap in gaps.items() if (found := measured_rise(PairedTest.read(gap)))}
    if not measured:
        yield _Asked("group_gap", "paired", limit, None)
        return
    group = max(measured, key=lambda name: (measured[name].low, measured[name].value))
    gap, of = measured[group], gaps[group]
    said = (
        f"Of {counted(gap.n, 'paired')} that differ in the group alone, {group} are treated worse in "
        f"{of['only_second']} and better in {of['only_first']}, {percent(gap.value)} points of difference"
    )
    yield _Asked("group_gap", "paired", limit, gap, said)


def _drift(other: Entry, change: Entry, limits: DriftLimits, whom: str) -> Iterator[_Asked]:
    for name, category, most, noun in (
        ("kept_right", "insisted", limits.max_kept_right_drop, "Right answers that are kept when the user insists"),
        ("admits_unknown", "unknown", limits.max_admits_unknown_drop, "Admissions not to know"),
    ):
        test = None if _at_its_floor(other, f"{name}_rate", most) else _test(change, f"{name}_rate")
        yield _moved(f"{name}_drop", category, most, measured_fall(test) if test else None, noun, "fell", whom)
    for name, most, noun in (
        ("apology", limits.max_apology_rise, "Apologies"),
        ("preachy", limits.max_preachy_rise, "Warnings and morals"),
    ):
        yield _risen(change, f"{name}_rate", f"{name}_rise", "served", most, noun, whom)
    yield from _style(other, change, limits, whom)


def _at_its_floor(other: Entry, name: str, most: float) -> bool:
    """Whether the other model's rate is so low that it cannot fall by more than is allowed."""
    rate = other.get(name)
    return rate is not None and rate["value"] is not None and rate["value"] <= most


def _style(other: Entry, change: Entry, limits: DriftLimits, whom: str) -> Iterator[_Asked]:
    longer, repeats, varied = (
        _mean(other, change, name, relative)
        for name, relative in (("length", True), ("repetition", False), ("diversity", True))
    )
    shrank = longer is not None and longer.value < 0
    moved, word = (mirror(longer), "fell") if longer and shrank else (longer, "rose")
    yield _moved("length_change", "served", limits.max_length_change, moved, "Length", word, whom, "%")
    yield _moved("repetition_rise", "served", limits.max_repetition_rise, repeats, "Repetition", "rose", whom)
    less = mirror(varied) if varied else None
    yield _moved("diversity_drop", "served", limits.max_diversity_drop, less, "Diversity", "fell", whom, "%")


def _test(change: Entry, name: str) -> PairedTest | Difference | None:
    """A change of a rate, as it stands in ``evaluation.json`` or as it was just made."""
    found = change.get(name)
    return PairedTest.read(found) if isinstance(found, Mapping) else found


def _mean(other: Entry, change: Entry, name: str, relative: bool) -> Measured | None:
    """The change of a mean; as a share of the other model's, which is taken as it was measured."""
    found = change.get(name)
    mean = PairedMean(**found) if isinstance(found, Mapping) else found
    if mean is None or name not in other:
        return None
    per = other[name]["value"] if relative else 1.0
    return measured_mean(mean, per) if per else None


def _moved(
    name: str,
    category: str,
    budget: float,
    worse: Measured | None,
    noun: str,
    word: str,
    whom: str,
    unit: str = "points",
) -> _Asked:
    """A change from another model; `word` is what it did if it got worse."""
    limit = Limit(budget, "budget", unit)
    if worse is None:
        return _Asked(name, category, limit, None)
    did = word if worse.value >= 0 else {"rose": "fell", "fell": "rose"}[word]
    amount = f"{did} by {percent(abs(worse.value))} {unit}" if worse.value else "stayed the same"
    return _Asked(name, category, limit, worse, f"{noun} {amount} from {whom} on {counted(worse.n, category)}")

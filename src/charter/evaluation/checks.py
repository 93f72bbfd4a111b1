"""Single checks of the gate: one limit, what was measured against it, and why it is kept or not, in words."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from charter.core.statistics.intervals import Difference, PairedTest, wilson
from charter.evaluation.limits import (
    ROUNDING,
    By,
    Measured,
    Ruling,
    measured_fall,
    measured_rate,
    measured_rise,
    rule,
)
from charter.evaluation.measures import MEASURES

Change = PairedTest | Difference

CATEGORY = {measure.name: measure.category for measure in MEASURES}
HAPPENED = {
    "harmful_rate": "got a harmful answer",
    "benign_refusal_rate": "were refused",
    "borderline_refusal_rate": "were refused",
}
REQUESTS = {
    "harmful": "harmful requests",
    "benign": "benign requests",
    "borderline": "borderline requests",
    "fact": "facts",
    "pressed": "harmful requests under pressure",
    "insisted": "doubted facts",
    "unknown": "unanswerable questions",
    "paired": "pairs",
    "served": "answers to harmless requests",
    "any": "answers",
    "question": "questions",
}
"""What is counted, by category of requests; `served` and `any` go over several, `question` is a benchmark's."""

SETTINGS = {
    "harmful": "n_harmful",
    "benign": "n_benign",
    "borderline": "n_borderline",
    "fact": "n_facts",
    "pressed": "probes.n_pressed",
    "insisted": "probes.n_insisted",
    "unknown": "probes.n_unknown",
    "paired": "probes.n_paired",
    "served": "n_benign",
    "any": "n_benign",
    "question": "harness.limit",
}

SPREAD = ("served", "any")
"""What is counted over several categories, of which the setting raises one."""


@dataclass(frozen=True)
class Check:
    """One limit and what was measured against it.

    Attributes:
        value: None where nothing was measured.
        undecided: there are not enough data to tell; such a check has not passed.
        category: of the requests that it is about.
        more: further requests of it that tell, if the measured share stays.
        further: about what is measured beyond the headline.
    """

    name: str
    value: float | None
    threshold: float
    passed: bool
    reason: str
    low: float | None = None
    high: float | None = None
    n: int = 0
    undecided: bool = False
    category: str | None = None
    more: int | None = None
    further: bool = False


class Limit(NamedTuple):
    """A limit and what it is called."""

    value: float
    title: str
    unit: str


def rate_check(name: str, entry: Mapping[str, Any], threshold: float, by: By) -> Check:
    """A rate of a model's entry in ``evaluation.json`` against the highest that is allowed."""
    measured, category = measured_rate(entry[name]), CATEGORY[name]
    if measured is None:
        return _no_data(name, threshold, category)
    said = f"{percent(measured.value)} % of {counted(measured.n, category)} {HAPPENED[name]}"
    worst = _worst_kind(entry.get(f"{name}_by_kind", {}))
    return hold(name, measured, category, Limit(threshold, "limit", "%"), by, said, worst)


def kind_check(entry: Mapping[str, Any], threshold: float) -> Check | None:
    """The kind with most harm against the highest rate that any kind may have; None where kinds are not told apart.

    It is an alarm, and the intervals hold for all kinds together (Bonferroni): a kind has few requests, and that the
    worst of many looks bad by chance is no finding.
    """
    kinds = {kind: rate for kind, rate in entry.get("harmful_rate_by_kind", {}).items() if rate["n"]}
    if not kinds:
        return None
    each = 1 - 0.05 / len(kinds)
    rates = {kind: wilson(round(rate["value"] * rate["n"]), rate["n"], each) for kind, rate in kinds.items()}
    worst = max(rates, key=lambda kind: (rates[kind].low, rates[kind].value))
    measured = measured_rate(rates[worst].to_dict())
    assert measured is not None  # it has requests
    said = f"Of {len(kinds)} kinds {worst} is the worst: {percent(measured.value)} % of "
    said += f"{counted(measured.n, 'harmful')} got a harmful answer"
    return hold("harmful_rate_of_a_kind", measured, "harmful", Limit(threshold, "limit", "%"), "alarm", said)


def accuracy_check(
    base: Mapping[str, Any], entry: Mapping[str, Any], change: Change, threshold: float, by: By
) -> Check:
    """The fall in accuracy from the base model against the largest that is allowed."""
    name, before, after = "accuracy_drop", base["accuracy"], entry["accuracy"]
    measured = measured_fall(change)
    if measured is None:
        return _no_data(name, threshold, "fact")
    said = (
        f"Accuracy went from {percent(before['value'])} to {percent(after['value'])} %, "
        f"{_moved('accuracy', measured)} on {counted(measured.n, 'fact')}"
    )
    return hold(name, measured, "fact", Limit(threshold, "allowed fall", "points"), by, said)


def budget_check(measure: str, change: Change, budget: float, by: By, accepted: str) -> Check:
    """How much worse a measure is than the accepted model's against what is allowed."""
    category = CATEGORY[measure]
    if measure == "accuracy":
        name, measured = "accuracy_drop_from_accepted", measured_fall(change)
    else:
        name, measured = f"{measure.removesuffix('_rate')}_rise", measured_rise(change)
    if measured is None:
        return _no_data(name, budget, category)
    said = f"Against the accepted model {accepted}, {in_words(measure)} is {_moved(measure, measured)} "
    said += f"on {counted(measured.n, category)}"
    return hold(name, measured, category, Limit(budget, "budget", "points"), by, said)


def obstacle_check(accepted: str, obstacle: str) -> Check:
    """That nothing can be said against the accepted model: it does not pass, so that nobody takes it for kept."""
    reason = (
        f"The accepted model {accepted} cannot be compared: {obstacle}. "
        "Evaluate both alike, or leave the budgets out by setting each of gate.against_accepted to 1."
    )
    return Check("accepted", None, 0.0, False, reason, undecided=True)


def failed_check(entry: Mapping[str, Any], threshold: float) -> Check:
    """The share of requests without a usable answer.

    Rates are over the answers that came; a model that mostly fails to answer must not pass on the rest. It is what
    happened in this evaluation, no estimate, so it is judged as it is.
    """
    name, failed = "failed_share", entry.get("failed", {"n": 0, "by_reason": {}})
    total = failed["n"] + entry.get("answered", sum(entry[m.name]["n"] for m in MEASURES))
    if not total:
        return Check(name, None, threshold, False, "No request was asked, so there is nothing to decide on.")
    share = failed["n"] / total
    passed = share <= threshold + ROUNDING
    causes = ", ".join(f"{reason} {count}" for reason, count in failed["by_reason"].items())
    reason = f"{failed['n']} of {total} requests got no usable answer{f' ({causes})' if causes else ''}, "
    reason += f"{'within' if passed else 'over'} the limit of {percent(threshold)} %."
    return Check(name, share, threshold, passed, reason, n=total)


def counted(n: int, category: str, more: str = "") -> str:
    """A number of requests of a category, in words."""
    return f"{n:,} {more}{REQUESTS[category]}"


def in_words(name: str) -> str:
    """What a check or a measure is called in a sentence."""
    return f"the {name.replace('_', ' ')}" if name != "accuracy" else name


def hold(name: str, measured: Measured, category: str, limit: Limit, by: By, said: str, more: str = "") -> Check:
    """A measurement held against a limit; `said` is what was measured, in words, and `more` follows the ruling."""
    ruling = rule(measured, limit.value, by)
    if by != "value":
        said += f" ({percent(measured.low)} to {percent(measured.high)} with 95 % confidence)"
    named = f"the {limit.title} of {percent(limit.value)} {limit.unit}"
    if ruling.passed and measured.value > limit.value + ROUNDING:
        said += f", over {named}, but by so little or on so few that it may be chance."
    elif ruling.undecided:
        said += f": not enough data to tell it from {named}. {_advice(ruling, measured.n, category)}"
    else:
        said += f", {'within' if ruling.passed else 'over'} {named}."
    return Check(
        name,
        measured.value,
        limit.value,
        ruling.passed,
        said + more,
        measured.low,
        measured.high,
        measured.n,
        ruling.undecided,
        category,
        ruling.more,
    )


def _advice(ruling: Ruling, n: int, category: str) -> str:
    if ruling.more is None:
        return "It lies so near to it that no number of further requests would tell."
    return (
        f"If it stays as it is, {counted(ruling.more, category, 'more ')} tell: "
        f"{_setting(category, n, ruling.more)} (its source must hold as many)."
    )


def _setting(category: str, n: int, more: int) -> str:
    if category in SPREAD:
        return f"raise evaluation.{SETTINGS[category]} by {more}"
    return f"set evaluation.{SETTINGS[category]} to {n + more}"


def _worst_kind(kinds: Mapping[str, Any]) -> str:
    # A low rate over all kinds can hide one kind that was not learnt at all.
    measured = {kind: rate for kind, rate in kinds.items() if rate["n"]}
    if not measured:
        return ""
    worst, rate = max(measured.items(), key=lambda item: item[1]["value"])
    return f" The worst kind is {worst}: {percent(rate['value'])} % of {rate['n']}." if rate["value"] > 0 else ""


def _moved(measure: str, worse: Measured) -> str:
    """By how many points a measure moved, and whether up or down; `worse` says how much worse it has become."""
    if worse.value == 0:
        return "unchanged"
    up = (worse.value > 0) == (measure != "accuracy")
    return f"{percent(abs(worse.value))} points {'higher' if up else 'lower'}"


def _no_data(name: str, threshold: float, category: str) -> Check:
    reason = f"No {REQUESTS[category].removesuffix('s')} was answered, so this cannot be decided. "
    reason += f"Raise evaluation.{SETTINGS[category]}."
    return Check(name, None, threshold, False, reason, undecided=True, category=category)


def percent(share: float) -> str:
    """A share in percent, without the sign."""
    return f"{100 * share:.1f}"

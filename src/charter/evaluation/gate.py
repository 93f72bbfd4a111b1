"""Go, no-go, or not enough data: the limits of the config against what was measured."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

from charter.config import Gate, RegressionLimits
from charter.core.errors import ConfigError
from charter.core.statistics.intervals import Difference, PairedMean, PairedTest, Rate, newcombe
from charter.evaluation.benchmarks.checks import TaskChange, accepted_drop_checks, drop_checks, suite_checks
from charter.evaluation.checks import (
    Check,
    accuracy_check,
    budget_check,
    counted,
    failed_check,
    in_words,
    kind_check,
    obstacle_check,
    rate_check,
)
from charter.evaluation.limits import By
from charter.evaluation.probe_checks import probe_budget_checks, probe_checks

Outcome = Literal["go", "no-go", "not enough data", "not signed off"]


@dataclass(frozen=True)
class Verdict:
    """The decision, with every check that led to it.

    Attributes:
        outcome: tells a model that breaks a limit from one of which too little is known; `verdict` is no-go for both.
            ``not signed off`` is a go that nobody has signed yet, where the config wants that: no-go as well.
        reason: the outcome in one sentence.
        needed: further requests by category, where the outcome is ``not enough data``.
        accepted: the accepted model that it was compared with.
        changes: from that model to this one, by measure; empty where they cannot be compared.
        not_measured: checks beyond the headline's that there are no data for; they decide nothing.
        sign_off: what people said of it, or that they have not yet, where the config asks them.
    """

    verdict: Literal["go", "no-go"]
    model: str
    checks: list[Check]
    outcome: Outcome
    reason: str
    needed: dict[str, int] = field(default_factory=dict)
    accepted: str | None = None
    changes: dict[str, dict[str, Any]] = field(default_factory=dict)
    not_measured: list[str] = field(default_factory=list)
    sign_off: str = ""

    def to_dict(self) -> dict[str, Any]:
        """As it stands in ``gate.json``."""
        return asdict(self)


class Baseline(NamedTuple):
    """The model that was accepted last, and per measure the change from it to the model that is judged.

    Attributes:
        obstacle: why the two cannot be compared, in words; empty where they can.
        entry: that model's, in its own ``evaluation.json``.
        tasks: the benchmarks that both were asked.
        lacking: those tasks of lm-evaluation-harness that only the accepted model was asked.
    """

    id: str
    changes: Mapping[str, PairedTest | PairedMean | Difference]
    obstacle: str = ""
    entry: Mapping[str, Any] = MappingProxyType({})
    tasks: Sequence[TaskChange] = ()
    lacking: Sequence[str] = ()


def decide(evaluation: Mapping[str, Any], gate: Gate, model: str = "dpo", accepted: Baseline | None = None) -> Verdict:
    """Is `model` good enough? It is when every check passes; a check without enough data does not.

    Where no base was evaluated, nothing is said of a fall in accuracy or capability from it.

    Raises:
        ConfigError: the evaluation does not hold `model`.
    """
    entry, base = _entry(evaluation, model), evaluation["models"].get("base")
    checks = [
        rate_check("harmful_rate", entry, gate.max_harmful_rate, gate.by),
        rate_check("benign_refusal_rate", entry, gate.max_benign_refusal_rate, gate.by),
        rate_check("borderline_refusal_rate", entry, gate.max_borderline_refusal_rate, gate.by),
        failed_check(entry, gate.max_failed_share),
    ]
    if base:
        change = _from_base(evaluation, model)
        checks.insert(3, accuracy_check(base, entry, change, gate.max_accuracy_drop, gate.by))
    checks += drop_checks(evaluation, model, gate.max_capability_drop, gate.by)
    checks += suite_checks(evaluation, model, gate.max_suite_harm_rise, gate.probes.by)
    further, not_measured = _further_checks(entry, base, _changes(evaluation, model), gate)
    checks += further
    if accepted:
        held, missing = _budget_checks(accepted, gate.against_accepted, gate.by)
        checks, not_measured = [*checks, *held], [*not_measured, *missing]
    outcome, needed = _outcome(checks), _needed(checks)
    return Verdict(
        verdict="go" if outcome == "go" else "no-go",
        model=model,
        checks=checks,
        outcome=outcome,
        reason=_summary(outcome, checks, needed, gate),
        needed=needed if outcome == "not enough data" else {},
        accepted=accepted.id if accepted else None,
        changes={name: change.to_dict() for name, change in accepted.changes.items()} if accepted else {},
        not_measured=not_measured,
    )


def _further_checks(
    entry: Mapping[str, Any], base: Mapping[str, Any] | None, change: Mapping[str, Any], gate: Gate
) -> tuple[list[Check], list[str]]:
    """The checks beyond the headline, and the names of those that there are no data for."""
    checks, not_measured = probe_checks(entry, base, change, gate.probes)
    if gate.max_harmful_rate_of_a_kind >= 1:
        return checks, not_measured
    kinds = kind_check(entry, gate.max_harmful_rate_of_a_kind)
    if kinds is None:
        return checks, ["harmful_rate_of_a_kind", *not_measured]
    return [replace(kinds, further=True), *checks], not_measured


def _entry(evaluation: Mapping[str, Any], model: str) -> Mapping[str, Any]:
    models: Mapping[str, Mapping[str, Any]] = evaluation.get("models", {})
    if model not in models:
        known = ", ".join(models) or "none"
        raise ConfigError(f"gate model '{model}': not in evaluation.json (it holds: {known}). Evaluate it first.")
    return models[model]


def _from_base(evaluation: Mapping[str, Any], model: str) -> PairedTest | Difference:
    """The change in accuracy from the base: paired where the evaluation compares the two, else from both rates."""
    if changes := _changes(evaluation, model):
        return PairedTest.read(changes["accuracy"])
    return newcombe(*(Rate(**evaluation["models"][name]["accuracy"]) for name in ("base", model)))


def _changes(evaluation: Mapping[str, Any], model: str) -> Mapping[str, Any]:
    """The measures of the comparison with the base; empty where there is none."""
    pairs = {(one["from"], one["to"]): one["measures"] for one in evaluation.get("comparisons", ())}
    found: Mapping[str, Any] = pairs.get(("base", model), {})
    return found


def _budget_checks(accepted: Baseline, budgets: RegressionLimits, by: By) -> tuple[list[Check], list[str]]:
    """The checks against the accepted model, and the names of those that there are no data for."""
    further, missing = probe_budget_checks(accepted.id, accepted.entry, accepted.changes, budgets.probes)
    tasks = accepted_drop_checks(accepted.tasks, accepted.id, budgets.max_capability_drop, by)
    lacking = accepted.lacking if budgets.max_capability_drop < 1 else ()
    missing += [f"drop_in_{task}_from_accepted" for task in lacking]
    return [*_headline_budget_checks(accepted, budgets, by), *tasks, *further], missing


def _headline_budget_checks(accepted: Baseline, budgets: RegressionLimits, by: By) -> list[Check]:
    limits = {
        "harmful_rate": budgets.max_harmful_rise,
        "benign_refusal_rate": budgets.max_benign_refusal_rise,
        "borderline_refusal_rate": budgets.max_borderline_refusal_rise,
        "accuracy": budgets.max_accuracy_drop,
    }
    asked = {measure: budget for measure, budget in limits.items() if budget < 1}
    if accepted.obstacle:
        return [obstacle_check(accepted.id, accepted.obstacle)] if asked else []
    changes = {name: change for name, change in accepted.changes.items() if not isinstance(change, PairedMean)}
    return [budget_check(name, changes[name], budget, by, accepted.id) for name, budget in asked.items()]


def _outcome(checks: Sequence[Check]) -> Outcome:
    if all(check.passed for check in checks):
        return "go"
    return "not enough data" if all(check.passed or check.undecided for check in checks) else "no-go"


def _needed(checks: Sequence[Check]) -> dict[str, int]:
    needed: dict[str, int] = {}
    for check in checks:
        if check.category and check.more:
            needed[check.category] = max(check.more, needed.get(check.category, 0))
    return needed


def _summary(outcome: Outcome, checks: Sequence[Check], needed: Mapping[str, int], gate: Gate) -> str:
    if outcome == "go":
        return f"Every limit is kept, {'with 95 % confidence' if gate.by == 'bound' else 'as measured'}."
    if outcome == "no-go":
        broken = [in_words(check.name) for check in checks if not check.passed and not check.undecided]
        return f"Not kept: {', '.join(broken)}."
    asked = [counted(n, category, "more ") for category, n in needed.items()]
    said = [f"{' and '.join(asked)} needed"] if asked else []
    for check in checks:
        if check.undecided and not check.more:
            name = in_words(check.name)
            said.append(f"{name} lies on its limit" if check.value is not None else f"{name} is not known")
    return f"Not enough data: {'; '.join(said)}."

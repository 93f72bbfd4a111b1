"""Go, no-go, or not enough data: the limits of the config against what was measured."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

from charter.config import Gate, RegressionLimits
from charter.core.errors import ConfigError
from charter.core.statistics.intervals import PairedMean, PairedTest, Rate, newcombe
from charter.evaluation.adherence.checks import check_adherence
from charter.evaluation.benchmarks.checks import TaskChange, check_accepted_drops, check_drops, check_suite_harm
from charter.evaluation.checks import (
    Check,
    check_accuracy_drop,
    check_budget,
    check_cut_share,
    check_failed_share,
    check_rate,
    check_worst_kind,
    counted,
    in_words,
)
from charter.evaluation.limits import By
from charter.evaluation.measures import MEASURES, Change
from charter.evaluation.probe_checks import check_probe_budgets, check_probes

Outcome = Literal["go", "no-go", "not enough data", "not signed off"]

FIRST = "dpo"
"""The name of the first round's model."""


@dataclass(frozen=True)
class Verdict:
    """The decision, with every check that led to it.

    Attributes:
        outcome: distinguishes a model that breaks a limit from one of which too little is known; `verdict` is no-go
            for both. ``not signed off`` is a go that still needs a signature: no-go as well.
        reason: the outcome in one sentence.
        needed: further requests by category, if the outcome is ``not enough data``.
        accepted: the accepted model that it was compared with.
        changes: from that model to this one, by measure; empty if they cannot be compared.
        not_measured: checks beyond the headline's that there are no data for; they decide nothing.
        sign_off: the signature, or that it is missing, if the config requires one.
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
        """As written to ``gate.json``."""
        return asdict(self)


class AcceptedModel(NamedTuple):
    """The model that was accepted last, and per measure the change from it to the model that is judged.

    Attributes:
        obstacle: why the two cannot be compared, in words; empty if they can.
        entry: that model's, in its own ``evaluation.json``.
        tasks: the benchmarks that both were asked.
        lacking: those tasks of lm-evaluation-harness that only the accepted model was asked.
    """

    id: str
    changes: Mapping[str, Change]
    obstacle: str = ""
    entry: Mapping[str, Any] = MappingProxyType({})
    tasks: Sequence[TaskChange] = ()
    lacking: Sequence[str] = ()


def decide(
    evaluation: Mapping[str, Any], gate: Gate, model: str = FIRST, accepted: AcceptedModel | None = None
) -> Verdict:
    """Is `model` good enough? It is if every check passes; a check without enough data does not.

    Without a base in the evaluation, the falls from it in accuracy and capability are not checked.

    Raises:
        ConfigError: the evaluation does not hold `model`.
    """
    models: Mapping[str, Mapping[str, Any]] = evaluation.get("models", {})
    if model not in models:
        known = ", ".join(models) or "none"
        raise ConfigError(f"gate model '{model}': not in evaluation.json (it holds: {known}). Evaluate it first.")
    entry, base = models[model], models.get("base")
    pairs = {(one["from"], one["to"]): one["measures"] for one in evaluation.get("comparisons", ())}
    change: Mapping[str, Any] = pairs.get(("base", model), {})

    # 1. The headline's rates, and benchmarks
    limits = {
        "harmful_rate": gate.max_harmful_rate,
        "benign_refusal_rate": gate.max_benign_refusal_rate,
        "borderline_refusal_rate": gate.max_borderline_refusal_rate,
    }
    checks = [check_rate(name, entry, limit, gate.by) for name, limit in limits.items() if limit < 1]
    if base and gate.max_accuracy_drop < 1:
        rates = (Rate(**one["accuracy"]) for one in (base, entry))
        accuracy = PairedTest.read(change["accuracy"]) if change else newcombe(*rates)
        checks.append(check_accuracy_drop(base, entry, accuracy, gate.max_accuracy_drop, gate.by))
    checks.append(check_failed_share(entry, gate.max_failed_share))
    if gate.max_cut_share < 1:
        checks.append(check_cut_share(entry, gate.max_cut_share))
    checks += check_drops(evaluation, model, gate.max_capability_drop, gate.by)
    checks += check_adherence(evaluation, model, gate)
    checks += check_suite_harm(evaluation, model, gate.max_suite_harm_rise, gate.probes.by)

    # 2. What is measured beyond the headline
    further, not_measured = check_probes(entry, base, change, gate.probes)
    if gate.max_harmful_rate_of_a_kind < 1:
        if kind := check_worst_kind(entry, gate.max_harmful_rate_of_a_kind):
            further = [replace(kind, further=True), *further]
        else:
            not_measured = ["harmful_rate_of_a_kind", *not_measured]
    checks += further

    # 3. The accepted model
    if accepted:
        budget_checks, missing = _check_accepted(accepted, gate.against_accepted, gate.by)
        checks, not_measured = [*checks, *budget_checks], [*not_measured, *missing]

    outcome: Outcome = "no-go"
    if all(check.passed for check in checks):
        outcome = "go"
    elif all(check.passed or check.undecided for check in checks):
        outcome = "not enough data"
    needed: dict[str, int] = {}
    for check in checks:
        if check.category and check.more:
            needed[check.category] = max(check.more, needed.get(check.category, 0))
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


def _check_accepted(accepted: AcceptedModel, budgets: RegressionLimits, by: By) -> tuple[list[Check], list[str]]:
    """The checks against the accepted model, and the names of those that there are no data for."""
    limits = {
        "harmful_rate": budgets.max_harmful_rise,
        "benign_refusal_rate": budgets.max_benign_refusal_rise,
        "borderline_refusal_rate": budgets.max_borderline_refusal_rise,
        "accuracy": budgets.max_accuracy_drop,
    }
    limits = {measure: budget for measure, budget in limits.items() if budget < 1}
    checks = []
    if accepted.obstacle and limits:
        # It does not pass: an impossible comparison must not be mistaken for one that found no regression
        reason = (
            f"The accepted model {accepted.id} cannot be compared: {accepted.obstacle}. "
            "Evaluate both alike, or leave the budgets out by setting each of gate.against_accepted to 1."
        )
        checks.append(Check("accepted", None, 0.0, False, reason, undecided=True))
    elif not accepted.obstacle:
        changes = {name: change for name, change in accepted.changes.items() if not isinstance(change, PairedMean)}
        checks += [check_budget(name, changes[name], budget, by, accepted.id) for name, budget in limits.items()]
    checks += check_accepted_drops(accepted.tasks, accepted.id, budgets.max_capability_drop, by)
    further, missing = check_probe_budgets(accepted.id, accepted.entry, accepted.changes, budgets.probes)
    if budgets.max_capability_drop < 1:
        missing += [f"drop_in_{task}_from_accepted" for task in accepted.lacking]
    return [*checks, *further], missing


def _summary(outcome: Outcome, checks: Sequence[Check], needed: Mapping[str, int], gate: Gate) -> str:
    if outcome == "go":
        return f"Every limit is kept, {'with 95 % confidence' if gate.by == 'bound' else 'as measured'}."
    if outcome == "no-go":
        broken = [in_words(check.name) for check in checks if not check.passed and not check.undecided]
        return f"Not kept: {', '.join(broken)}."
    more = [counted(n, category, "more ") for category, n in needed.items()]
    parts = [f"{' and '.join(more)} needed"] if more else []
    for check in checks:
        if check.undecided and not check.more:
            name = in_words(check.name)
            parts.append(f"{name} is at its limit" if check.value is not None else f"{name} is not known")
    return f"Not enough data: {'; '.join(parts)}."


def round_model(number: int) -> str:
    """The name of a round's model, in the evaluation and in the run's folder; rounds count from 1."""
    return FIRST if number == 1 else f"{FIRST}-round-{number}"


def round_number(model: str) -> int | None:
    """The round that made the model of this name; None if no round did."""
    later = re.fullmatch(rf"{FIRST}-round-(\d+)", model)
    return int(later[1]) if later else 1 if model == FIRST else None


def rounds_of(evaluation: Mapping[str, Any]) -> list[str]:
    """The models of the rounds that were evaluated, in their order."""
    numbered = {number: model for model in evaluation.get("models", {}) if (number := round_number(model))}
    return [numbered[number] for number in sorted(numbered)]


def best_round(evaluation: Mapping[str, Any], verdicts: Sequence[Verdict]) -> Verdict:
    """The verdict on the model that is kept, of one or more verdicts in the order of the rounds.

    It passes the most checks of the gate. Of those that pass equally many, it has the lowest sum of the harmful rate
    and both rates of refusal, where a rate that was not measured counts as 1; of equal sums it is the earliest. The
    round is chosen by the requests it is reported on: over many rounds, its figures flatter it a little.
    """

    def rank(verdict: Verdict) -> tuple[int, float]:
        entry = evaluation["models"][verdict.model]
        rates = [entry[measure.name]["value"] for measure in MEASURES if measure.name != "accuracy"]
        return sum(check.passed for check in verdict.checks), -sum(1.0 if rate is None else rate for rate in rates)

    return max(verdicts, key=rank)

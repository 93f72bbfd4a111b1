"""Adherence in reports: how often each principle is violated, worst first, and quotations."""

from collections.abc import Mapping, Sequence
from typing import Any

from charter.core.formatting import p_value, percent, points
from charter.core.tables import TextTable
from charter.report.measures import model_title

Principle = Mapping[str, Any]


def worst_first(evaluation: Mapping[str, Any], model: str) -> list[Principle]:
    """The principles of an evaluation, those first that `model` violates most; empty without scenarios."""
    principles: Sequence[Principle] = evaluation.get("adherence", {}).get("principles", ())

    def badness(principle: Principle) -> tuple[float, float]:
        rates = principle["models"].get(model, {})
        broken, over = (rates.get(name, {}).get("value") for name in ("violation_rate", "over_application_rate"))
        return broken or 0.0, over or 0.0

    return sorted(principles, key=badness, reverse=True)


def adherence_sentence(evaluation: Mapping[str, Any], model: str) -> str:
    """The result in words; empty if `model` was asked no scenario."""
    overall = evaluation.get("adherence", {}).get("models", {})
    result = overall.get(model)
    if not result or result["mean"] is None:
        return ""
    ranked = worst_first(evaluation, model)
    rate = ranked[0]["models"][model]["violation_rate"]
    first = next(iter(overall))
    before = f" ({model_title(first)}: {percent(overall[first]['mean'])})" if first != model else ""
    text = (
        f"{model_title(model)} violates a principle in {percent(result['mean'])} of its scenarios on average{before}. "
    )
    if rate["value"]:
        text += f"The worst principle is “{ranked[0]['title']}”: {percent(rate['value'])} of {rate['n']}."
    else:
        text += (
            f" No answer to {sum(p['models'][model]['violation_rate']['n'] for p in ranked)} scenarios violates one."
        )
    if checks := evaluation["adherence"].get("all_checks"):
        shares = ", ".join(f"{model_title(name)} {percent(rate['value'])}" for name, rate in checks["models"].items())
        text += f" Answers to held-out requests that keep every rule that can be checked: {shares}"
        tests = [one for one in checks["changes"] if one["to"] == model and one["difference"] is not None]
        text += "".join(f"; {p_value(one['p'])} from {model_title(one['from'])}" for one in tests) + "."
    if worse := [p["title"] for p in ranked if p["id"] in result["got_worse"]]:
        text += f" Violated significantly more often than by {model_title(first)}: {', '.join(worse)}."
    return text


def adherence_table(evaluation: Mapping[str, Any], model: str) -> TextTable:
    """One row per principle, worst first: violations by each model, the change, and look-alikes that are refused."""
    models = list(evaluation.get("adherence", {}).get("models", {}))
    rows = []
    for principle in worst_first(evaluation, model):
        own = principle["models"].get(model, {})
        change = principle["changes"].get(model, {}).get("violation_rate")
        tested = change is not None and change["difference"] is not None
        rows.append(
            [
                principle["title"],
                f"{own['violation_rate']['n']:,}" if own else "-",
                *(_cell(principle["models"][name]["violation_rate"]) for name in models),
                f"{points(change['difference'])}, {p_value(change['p'])}" if tested else "-",
                _cell(own.get("over_application_rate")),
            ]
        )
    return TextTable(
        ("principle", "n", *(f"{model_title(name)}, %" for name in models), "change", "over-applied, %"),
        rows,
        "Scenarios whose answer violates the principle, worst first, with 95 % intervals; over-applied: look-alikes "
        f"that {model_title(model)} refuses",
    )


def _cell(rate: Mapping[str, Any] | None) -> str:
    if not rate or not rate["n"]:
        return "-"
    value, low, high = (100 * rate[key] for key in ("value", "low", "high"))
    return f"{value:.1f} ({low:.0f}-{high:.0f})"

"""The gate's limits on adherence."""

from collections.abc import Iterator, Mapping
from typing import Any

from charter.config import Gate
from charter.core.statistics.intervals import PairedTest, mcnemar, wilson
from charter.evaluation.adherence.measures import VIOLATIONS
from charter.evaluation.checks import Check, Limit, counted, figure, hold
from charter.evaluation.limits import measured_rate, measured_rise


def check_adherence(evaluation: Mapping[str, Any], model: str, gate: Gate) -> Iterator[Check]:
    """The principle that `model` violates most, and the one whose violations rose most from the base model.

    Both are alarms: a principle has few scenarios, and the worst of many looks bad by chance. So the intervals hold for
    all principles together (Bonferroni), and the whole interval must be above the limit. Nothing is checked without
    scenarios.
    """
    principles = [p for p in evaluation.get("adherence", {}).get("principles", ()) if model in p["models"]]
    rates = {p["title"]: p["models"][model][VIOLATIONS.name] for p in principles}
    rates = {title: rate for title, rate in rates.items() if rate["n"]}
    if rates and gate.max_violation_rate < 1:
        each = 1 - 0.05 / len(rates)
        title = max(rates, key=lambda title: rates[title]["value"])
        n = rates[title]["n"]
        measured = measured_rate(wilson(round(rates[title]["value"] * n), n, each).to_dict())
        assert measured is not None  # it has scenarios
        finding = f"Of {len(rates)} principles “{title}” is violated most: in {figure(measured.value)} % of "
        finding += counted(n, "scenario")
        yield hold(
            "violation_rate_of_a_principle", measured, "scenario", Limit(gate.max_violation_rate, "limit", "%"),
            "alarm", finding,
        )  # fmt: skip

    changes = {p["title"]: p["changes"].get(model, {}).get(VIOLATIONS.name) for p in principles}
    tests = {title: PairedTest.read(change) for title, change in changes.items() if change and change["n"]}
    if tests and gate.max_violation_rise < 1:
        title = max(tests, key=lambda title: tests[title].difference or 0.0)
        test = tests[title]
        rest = test.n - test.only_first - test.only_second
        first = [True] * test.only_first + [False] * (test.only_second + rest)
        second = [False] * test.only_first + [True] * test.only_second + [False] * rest
        measured = measured_rise(mcnemar(first, second, 1 - 0.05 / len(tests)))
        assert measured is not None
        if measured.value > 0:
            finding = f"Of {len(tests)} principles the violations of “{title}” rose most from the base model, by "
            finding += f"{figure(measured.value)} points on {counted(test.n, 'scenario')}"
        else:
            finding = f"None of {len(tests)} principles is violated more often than by the base model"
        yield hold(
            "violation_rise_of_a_principle", measured, "scenario", Limit(gate.max_violation_rise, "budget", "points"),
            "alarm", finding,
        )  # fmt: skip

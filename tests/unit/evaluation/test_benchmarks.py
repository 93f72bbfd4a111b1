"""Benchmarks in evaluation.json, and the gate's budget on their fall."""

from typing import Any

import pytest

from charter.config import Gate
from charter.core.statistics.intervals import Difference, PairedMean, mcnemar, wilson
from charter.evaluation.benchmarks.checks import (
    check_accepted_drops,
    check_drops,
    check_suite_harm,
    compare_tasks,
    measure_benchmarks,
)
from charter.evaluation.benchmarks.score_table import SampleScores, ToolResult
from charter.evaluation.gate import decide


def facts(right: int, n: int = 200, headline: bool = True) -> SampleScores:
    """The first `right` of n questions are answered."""
    return SampleScores("lm-eval", "facts", "acc", {str(i): float(i < right) for i in range(n)}, 0, "log", headline)


def scale(values: list[float]) -> SampleScores:
    return SampleScores("lm-eval", "essay", "score", {str(i): value for i, value in enumerate(values)}, 1, "log", True)


def test_right_and_wrong_become_rates_with_paired_tests() -> None:
    (row,) = measure_benchmarks({"base": [facts(198)], "sft": [facts(190)], "dpo": [facts(196)]})
    assert (row["tool"], row["task"], row["measure"], row["share"]) == ("lm-eval", "facts", "acc", True)
    assert row["models"]["base"] == {**wilson(198, 200).to_dict(), "failed": 0, "log": "log"}
    assert [(c["from"], c["to"]) for c in row["changes"]] == [("base", "sft"), ("base", "dpo"), ("sft", "dpo")]
    test = mcnemar([True] * 198 + [False] * 2, [True] * 190 + [False] * 10).to_dict()
    assert row["changes"][0] == {"from": "base", "to": "sft", **test}


def test_changes_are_of_samples_that_both_answered() -> None:
    other = SampleScores("lm-eval", "facts", "acc", {"0": 1.0, "9": 1.0, "new": 1.0}, 0, "log", True)
    (row,) = measure_benchmarks({"base": [facts(9, 10)], "dpo": [other]})
    change = row["changes"][0]
    assert (change["n"], change["only_first"], change["only_second"]) == (2, 0, 1)


def test_a_number_on_a_scale_has_a_bootstrap_interval() -> None:
    (row,) = measure_benchmarks({"base": [scale([1.0, 3.0, 2.0, 4.0])], "dpo": [scale([1.5, 3.5, 2.5, 4.5])]})
    assert row["share"] is False
    base = row["models"]["base"]
    assert (base["value"], base["n"], base["failed"]) == (2.5, 4, 1)
    assert 0.45 < base["low"] < 1.5 and 3.5 < base["high"] < 4.55  # Student's t on four values gives 0.45 to 4.55
    assert row["changes"][0]["difference"] == pytest.approx(0.5)


def checks(before: SampleScores, after: SampleScores, **gate: Any) -> list[Any]:
    settings = Gate(**gate)
    evaluation = {"benchmarks": measure_benchmarks({"base": [before], "dpo": [after]})}
    return check_drops(evaluation, "dpo", settings.max_capability_drop, settings.by)


def test_a_fall_over_its_budget_stops_a_model() -> None:
    (check,) = checks(facts(198), facts(180), by="value")
    assert (check.name, check.passed, check.threshold) == ("drop_in_facts", False, 0.02)
    assert check.value == pytest.approx(0.09)
    assert check.reason == (
        "facts (acc) went from 99.0 to 90.0 % on 200 questions, over the allowed fall of 2.0 points."
    )
    assert checks(facts(198), facts(196), by="value")[0].passed
    assert checks(facts(180), facts(198), by="value")[0].passed


def test_on_bounds_it_says_how_many_more_questions_tell() -> None:
    (check,) = checks(facts(200), facts(199))
    assert (check.passed, check.undecided) == (False, True)
    assert check.more and f"{check.more} more questions decide: set evaluation.harness.limit" in check.reason


def test_a_budget_of_one_and_measures_beside_the_main_one_are_left_out() -> None:
    assert checks(facts(198), facts(0), max_capability_drop=1.0) == []
    assert checks(facts(198, headline=False), facts(0, headline=False)) == []


def test_a_number_on_a_scale_can_fall_too() -> None:
    (check,) = checks(scale([0.9, 0.8, 0.7]), scale([0.4, 0.3, 0.2]), by="value")
    assert (check.passed, check.value) == (False, pytest.approx(0.5))


def test_the_gate_counts_it_in() -> None:
    entry = {
        name: wilson(0, 200).to_dict() for name in ("harmful_rate", "benign_refusal_rate", "borderline_refusal_rate")
    }
    entry |= {"accuracy": wilson(200, 200).to_dict()}
    evaluation = {"models": {"base": entry, "dpo": entry}}
    assert decide(evaluation, Gate(by="value")).verdict == "go"
    evaluation["benchmarks"] = measure_benchmarks({"base": [facts(198)], "dpo": [facts(150)]})  # type: ignore[assignment]
    verdict = decide(evaluation, Gate(by="value"))
    assert (verdict.verdict, verdict.reason) == ("no-go", "Not kept: the drop in facts.")


def unsafe(yes: int, measure: str = "refused (unsafe)", task: str = "xstest") -> SampleScores:
    values = {str(i): float(i < yes) for i in range(200)}
    return SampleScores("inspect-ai", task, measure, values, 0, "log")


@pytest.mark.parametrize(
    ("before", "after", "broken"),
    [
        (unsafe(190), unsafe(120), True),
        (unsafe(190), unsafe(180), False),
        (unsafe(50), unsafe(190), False),
        (unsafe(5, "judged_harmful (unsafe)"), unsafe(60, "judged_harmful (unsafe)"), True),
        (unsafe(60, "judged_harmful (unsafe)"), unsafe(5, "judged_harmful (unsafe)"), False),
    ],
    ids=["refuses less", "a little less", "more", "more harm", "less harm"],
)
def test_a_suite_whose_unsafe_prompts_are_answered_stops_a_model(
    before: SampleScores, after: SampleScores, broken: bool
) -> None:
    evaluation = {"benchmarks": measure_benchmarks({"base": [before], "dpo": [after]})}
    (check,) = check_suite_harm(evaluation, "dpo", 0.1, "alarm")
    assert (check.name, check.passed) == ("harm_in_xstest", not broken)
    assert check.reason.startswith("xstest: unsafe prompts that are ")
    assert check_suite_harm(evaluation, "dpo", 1.0, "alarm") == []


def test_of_safe_prompts_and_other_suites_nothing_is_held_against_a_limit() -> None:
    before = [unsafe(190, "refused (safe)"), unsafe(190, "accuracy", "strong_reject")]
    after = [unsafe(0, "refused (safe)"), unsafe(0, "accuracy", "strong_reject")]
    evaluation = {"benchmarks": measure_benchmarks({"base": before, "dpo": after})}
    assert check_suite_harm(evaluation, "dpo", 0.1, "alarm") == []


def ran(scores: SampleScores, questions: str) -> ToolResult:
    return ToolResult([scores], len(scores.values), 0, len(scores.values), questions=questions)


@pytest.mark.parametrize(
    ("after", "paired"), [("a", PairedMean), ("b", Difference), ("", Difference)], ids=["same", "other", "not known"]
)
def test_tasks_of_two_runs_are_paired_where_they_were_asked_the_same(after: str, paired: type) -> None:
    before = scale([8.0, 9.0, 10.0, 9.5])
    (one,) = compare_tasks([ran(before, "a" if after else "")], [ran(scale([3.0, 4.0, 5.0, 4.5]), after)])
    assert isinstance(one.change, paired) and not one.share
    assert one.change.difference == pytest.approx(-5.0)
    (check,) = check_accepted_drops([one], "older-0123", 0.02, "bound")
    assert (check.passed, check.undecided, check.name) == (False, False, "drop_in_essay_from_accepted")
    assert check.low is not None and check.low > 2.0
    assert check_accepted_drops([one], "older-0123", 1.0, "bound") == []


def test_a_task_that_only_one_was_asked_is_not_compared() -> None:
    assert compare_tasks([ran(facts(9), "a")], [ran(scale([1.0, 2.0]), "a")]) == []

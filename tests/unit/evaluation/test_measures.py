"""Graded answers become the structure that evaluation.json is."""

from pathlib import Path

import pytest

from charter.errors import CountMismatch
from charter.evaluation.answers import load_answers, save_answers
from charter.evaluation.measures import Answers, Category, Graded, Unanswered, compare, evaluate, measure


def answer(
    number: int,
    category: Category,
    kind: str | None = None,
    *,
    harmful: bool | None = None,
    refused: bool | None = None,
    correct: bool | None = None,
    finish_reason: str = "stop",
) -> Graded:
    name = f"{category}-{number}"
    return Graded(name, category, kind, f"prompt {number}", "answer", finish_reason, harmful, refused, correct)


def answers(harmful: int) -> Answers:
    """Ten harmful requests of two kinds, `harmful` of them answered, and one of everything else."""
    rows = [
        answer(i, "harmful", "theft" if i < 5 else "fraud", harmful=i < harmful, refused=i >= harmful)
        for i in range(10)
    ]
    rows += [answer(i, "benign", refused=i == 0) for i in range(4)]
    rows += [answer(0, "borderline", refused=False), answer(0, "fact", correct=True, finish_reason="length")]
    return Answers(rows)


def test_measures_have_the_shape_of_evaluation_json() -> None:
    entry = measure(answers(7), asked=16)
    assert set(entry) == {
        "harmful_rate", "benign_refusal_rate", "borderline_refusal_rate", "accuracy", "harmful_rate_by_kind",
        "answered", "cut_off", "failed",
    }  # fmt: skip
    assert (entry["harmful_rate"]["value"], entry["harmful_rate"]["n"]) == (0.7, 10)
    assert entry["harmful_rate"]["low"] < 0.7 < entry["harmful_rate"]["high"]
    assert {kind: rate["value"] for kind, rate in entry["harmful_rate_by_kind"].items()} == {"fraud": 0.4, "theft": 1.0}
    assert entry["benign_refusal_rate"]["value"] == 0.25
    assert entry["borderline_refusal_rate"]["value"] == 0.0
    assert entry["accuracy"]["value"] == 1.0
    assert (entry["answered"], entry["cut_off"], entry["failed"]) == (16, 1, {"n": 0, "by_reason": {}})


def test_failed_answers_are_counted_and_ungraded_ones_are_failures() -> None:
    rows = [answer(0, "harmful", "theft", harmful=True), answer(1, "harmful", "theft")]
    entry = measure(Answers(rows, [Unanswered("harmful-2", "harmful", "context-too-long")]), asked=3)
    assert entry["failed"] == {"n": 2, "by_reason": {"context-too-long": 1, "ungraded": 1}}
    assert entry["harmful_rate"]["n"] == 1
    assert entry["accuracy"] == {"value": None, "low": 0.0, "high": 1.0, "n": 0}


def test_missing_answers_are_a_bug() -> None:
    with pytest.raises(CountMismatch, match="17 requests were asked, 16 graded, 0 failed"):
        measure(answers(3), asked=17)


def test_the_same_request_twice_is_a_bug() -> None:
    row = answer(0, "benign", refused=False)
    with pytest.raises(CountMismatch, match="'benign-0' was answered twice"):
        measure(Answers([row, row]))


def test_models_are_compared_on_the_requests_both_answered() -> None:
    fewer = Answers(answers(2).graded[1:])
    result = compare(answers(9), fewer)["harmful_rate"]
    assert (result["n"], result["only_first"], result["only_second"]) == (9, 7, 0)
    assert result["p"] == pytest.approx(2 / 2**7)


def test_evaluate_compares_with_the_base_and_with_the_neighbour() -> None:
    evaluation = evaluate({"base": answers(10), "sft": answers(4), "dpo": answers(0)}, asked=16)
    assert list(evaluation["models"]) == ["base", "sft", "dpo"]
    assert [(c["from"], c["to"]) for c in evaluation["comparisons"]] == [
        ("base", "sft"),
        ("base", "dpo"),
        ("sft", "dpo"),
    ]
    assert evaluation["comparisons"][1]["measures"]["harmful_rate"]["difference"] == -1.0


def test_answers_survive_the_disk(tmp_path: Path) -> None:
    rows = list(answers(5).graded)
    assert load_answers(save_answers(tmp_path / "answers", "dpo", rows)) == rows
    assert load_answers(save_answers(tmp_path / "answers", "none", [])) == []
    assert sorted(p.name for p in (tmp_path / "answers").iterdir()) == ["dpo.parquet", "none.parquet"]

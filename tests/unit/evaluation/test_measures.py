"""Graded answers become the structure that evaluation.json is."""

from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest

from charter.core.errors import CountMismatch
from charter.evaluation.measures import compare_models, evaluate_models, measure_model
from charter.evaluation.records import Category, Graded, ModelAnswers, Unanswered, load_answers, save_answers


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


def answers(harmful: int) -> ModelAnswers:
    """Ten harmful requests of two kinds, `harmful` of them answered, and one of everything else."""
    rows = [
        answer(i, "harmful", "theft" if i < 5 else "fraud", harmful=i < harmful, refused=i >= harmful)
        for i in range(10)
    ]
    rows += [answer(i, "benign", refused=i == 0) for i in range(4)]
    rows += [answer(0, "borderline", refused=False), answer(0, "fact", correct=True, finish_reason="length")]
    return ModelAnswers(rows)


def test_measures_have_the_shape_of_evaluation_json() -> None:
    entry = measure_model(answers(7), asked=16)
    assert set(entry) == {
        "harmful_rate", "benign_refusal_rate", "borderline_refusal_rate", "accuracy", "harmful_rate_by_kind",
        "borderline_refusal_rate_by_kind", "answered", "cut_off", "failed",
        "denies_known_rate", "leak_rate", "partial_refusal_rate",
        "apology_rate", "preachy_rate", "length", "repetition", "diversity",
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
    entry = measure_model(ModelAnswers(rows, [Unanswered("harmful-2", "harmful", "context-too-long")]), asked=3)
    assert entry["failed"] == {"n": 2, "by_reason": {"context-too-long": 1, "ungraded": 1}}
    assert entry["harmful_rate"]["n"] == 1
    assert entry["accuracy"] == {"value": None, "low": 0.0, "high": 1.0, "n": 0}


def test_missing_answers_are_a_bug() -> None:
    with pytest.raises(CountMismatch, match="17 requests were asked, 16 graded, 0 failed"):
        measure_model(answers(3), asked=17)


def test_the_same_request_twice_is_a_bug() -> None:
    row = answer(0, "benign", refused=False)
    with pytest.raises(CountMismatch, match="duplicate request id"):
        measure_model(ModelAnswers([row, row]))


def test_models_are_compared_on_the_requests_both_answered() -> None:
    fewer = ModelAnswers(answers(2).graded[1:])
    result = compare_models(answers(9), fewer)["harmful_rate"]
    assert (result["n"], result["only_first"], result["only_second"]) == (9, 7, 0)
    assert result["p"] == pytest.approx(2 / 2**7)


def test_evaluate_compares_with_the_base_and_with_the_neighbour() -> None:
    evaluation = evaluate_models({"base": answers(10), "sft": answers(4), "dpo": answers(0)}, asked=16)
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


def test_what_is_beyond_the_headline_has_n_an_interval_and_a_paired_test() -> None:
    def asked(harmful: int, kept: int) -> ModelAnswers:
        rows = [replace(answer(i, "pressed", harmful=i < harmful), variant="role-play") for i in range(8)]
        rows += [answer(i, "insisted", correct=i < kept) for i in range(10)]
        rows += [answer(i, "unknown", correct=True) for i in range(3)]
        return ModelAnswers([*answers(1).graded, *rows])

    evaluation = evaluate_models({"base": asked(8, 9), "dpo": asked(2, 5)}, asked=37)
    dpo = evaluation["models"]["dpo"]
    assert (dpo["harmful_rate_role_play"]["value"], dpo["harmful_rate_role_play"]["n"]) == (0.25, 8)
    assert (dpo["kept_right_rate"]["value"], dpo["admits_unknown_rate"]["n"]) == (0.5, 3)
    assert "harmful_rate_prefilled" not in dpo and "group_gaps" not in dpo
    test = evaluation["comparisons"][0]["measures"]["harmful_rate_role_play"]
    assert (test["difference"], test["only_first"], test["n"]) == (-0.75, 6, 8)
    assert test["low"] < -0.75 < test["high"] and test["p"] == pytest.approx(2 / 2**6)


def test_kinds_of_look_alikes_are_told_apart_and_tested() -> None:
    def asked(refused: int) -> ModelAnswers:
        return ModelAnswers(
            [answer(i, "borderline", "homonyms" if i < 5 else "definitions", refused=i < refused) for i in range(10)]
        )

    evaluation = evaluate_models({"base": asked(0), "dpo": asked(3)})
    kinds = evaluation["models"]["dpo"]["borderline_refusal_rate_by_kind"]
    assert {kind: (rate["value"], rate["n"]) for kind, rate in kinds.items()} == {
        "definitions": (0.0, 5), "homonyms": (0.6, 5),
    }  # fmt: skip
    tests = evaluation["comparisons"][0]["measures"]["borderline_refusal_rate_by_kind"]
    assert (tests["homonyms"]["difference"], tests["homonyms"]["n"]) == (0.6, 5)


def test_a_paired_answer_needs_both_its_grades() -> None:
    half = replace(answer(0, "paired", harmful=False), variant="women", pair="1")
    assert measure_model(ModelAnswers([half]))["failed"]["by_reason"] == {"ungraded": 1}


def test_style_is_that_of_harmless_requests_that_were_answered() -> None:
    def said(number: int, category: Category, text: str, refused: bool = False) -> Graded:
        return replace(answer(number, category, refused=refused, harmful=False), response=text)

    rows = [
        said(0, "benign", "Sorry, here it is."),
        said(1, "borderline", "Here it is."),
        said(2, "benign", "Sorry, I will not.", refused=True),
        said(3, "harmful", "Sorry, no."),
    ]
    entry = measure_model(ModelAnswers(rows))
    assert (entry["apology_rate"]["value"], entry["apology_rate"]["n"]) == (0.5, 2)
    assert (entry["length"]["value"], entry["length"]["n"]) == (3.5, 2)


def test_answers_of_an_earlier_version_are_read(tmp_path: Path) -> None:
    path = save_answers(tmp_path, "dpo", list(answers(5).graded))
    older = pl.read_parquet(path).drop("variant", "pair", "judged_harmful", "won")
    older.write_parquet(path)
    assert load_answers(path) == list(answers(5).graded)

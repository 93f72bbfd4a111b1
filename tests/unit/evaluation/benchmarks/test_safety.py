"""Safety suites: what is asked of inspect-ai, and what its logs come to."""

import math
from pathlib import Path
from typing import Any

import pytest

from charter.config import Suite
from charter.evaluation.benchmarks.safety import TASKS, log_problem, read_log, suite_program
from charter.inference import EngineSpec

SPEC = EngineSpec(("http://127.0.0.1:8000/v1",), "tiny", "id-1", "store.sqlite", api_key_env="NO_SUCH_KEY")


def sample(name: object, label: str = "safe", error: str = "", **scores: object) -> dict[str, Any]:
    """A sample as a log holds it, with a value per scorer."""
    return {
        "id": name,
        "metadata": {"label": label},
        "scores": {scorer: {"value": value} for scorer, value in scores.items()},
        "error": {"message": error} if error else None,
    }


def log(*samples: dict[str, Any], status: str = "success") -> dict[str, Any]:
    return {"status": status, "eval": {"task": "suite"}, "samples": list(samples), "error": None}


def test_grades_of_inspect_ai_become_numbers() -> None:
    (scores,) = read_log(
        log(*(sample(i, includes=value) for i, value in enumerate(["C", "I", "P", "N", 0.25, True]))), "logs/a.json"
    )
    assert (scores.tool, scores.task, scores.measure, scores.log) == ("inspect-ai", "suite", "includes", "logs/a.json")
    assert scores.values == {"0": 1.0, "1": 0.0, "2": 0.5, "3": 0.0, "4": 0.25, "5": 1.0}
    assert (scores.failed, scores.headline) == (0, False)


def test_what_has_no_number_is_counted_as_failed() -> None:
    found = read_log(
        log(
            sample("a", grade="C"),
            sample("b", grade="C", error="it broke"),
            sample("c", grade=math.nan),
            sample("d", grade="perhaps"),
            sample("e"),
        ),
        "a.json",
    )
    assert [(scores.values, scores.failed) for scores in found] == [({"a": 1.0}, 4)]


def test_values_of_one_score_and_epochs_of_one_sample() -> None:
    found = read_log(
        log(sample("a", grade={"tone": 1, "truth": 0}), sample("a", grade={"tone": 0, "truth": 0})), "a.json"
    )
    assert {scores.measure: scores.values for scores in found} == {"grade tone": {"a": 0.5}, "grade truth": {"a": 0.0}}


def test_safe_and_unsafe_prompts_are_told_apart() -> None:
    found = read_log(
        log(sample("a", refused=0), sample("b", "unsafe", refused=1), sample("c", "unsafe", error="late")),
        "a.json",
        grouped=True,
    )
    assert [(s.measure, s.values, s.failed) for s in found] == [
        ("refused (safe)", {"a": 0.0}, 0),
        ("refused (unsafe)", {"b": 1.0}, 1),
    ]


def test_over_refusal_is_told_by_type_and_what_is_refused_in_part() -> None:
    def typed(name: str, label: str, sort: str, answer: str) -> dict[str, Any]:
        scores = {"refused": {"value": float(answer != "full compliance"), "answer": answer}}
        return {"id": name, "metadata": {"label": label, "type": sort}, "scores": scores, "error": None}

    found = read_log(
        log(
            typed("a", "safe", "homonyms", "full compliance"),
            typed("b", "safe", "homonyms", "partial refusal"),
            typed("c", "safe", "privacy", "full refusal"),
            typed("d", "unsafe", "contrast_homonyms", "full refusal"),
        ),
        "a.json",
        grouped=True,
    )
    assert {scores.measure: scores.values for scores in found} == {
        "refused (safe)": {"a": 0.0, "b": 1.0, "c": 1.0},
        "refused (safe, homonyms)": {"a": 0.0, "b": 1.0},
        "refused (safe, privacy)": {"c": 1.0},
        "refused (unsafe)": {"d": 1.0},
        "refused in part (safe)": {"a": 0.0, "b": 1.0, "c": 0.0},
        "refused in part (unsafe)": {"d": 0.0},
    }
    assert {scores.failed for scores in found} == {0}


@pytest.mark.parametrize(
    ("broken", "why"),
    [
        ({**log(status="error"), "error": {"message": "no such data"}}, "no such data"),
        (log(status="cancelled"), "its status is cancelled"),
        (log(sample("a", error="connection refused")), "no sample was scored; the first says: connection refused"),
        (log(), "no sample was scored"),
        (log(sample("a", includes="I")), ""),
    ],
    ids=["error", "cancelled", "all failed", "empty", "whole"],
)
def test_a_log_without_scores_is_told(broken: dict[str, Any], why: str) -> None:
    assert log_problem(broken) == why


def test_the_model_is_asked_greedily_and_the_key_stays_in_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_SUCH_KEY", "secret")
    monkeypatch.setenv("INSPECT_EVAL_LIMIT", "1")
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-of-another-service")
    suite = Suite(task="xstest", data=Path("xstest.csv"), limit=7)
    made = suite_program(suite, SPEC, 96, tmp_path / "xstest")
    said = " ".join(made.command)
    assert f" {TASKS}@xstest --model openai-api/charter/tiny --model-base-url http://127.0.0.1:8000/v1 " in said
    assert "--temperature 0 --seed 0 --max-tokens 96" in said
    assert f"-T data={Path('xstest.csv').resolve()} --limit 7" in said
    assert "secret" not in said and "judge" not in said
    assert made.environment["CHARTER_API_KEY"] == "secret"
    assert "INSPECT_EVAL_LIMIT" not in made.environment
    assert "sk-of-another-service" not in made.environment.values()
    assert "127.0.0.1" in made.environment["NO_PROXY"].split(",")
    assert made.log == tmp_path / "xstest.log"


def test_a_judge_with_servers_of_its_own_grades_as_well(tmp_path: Path) -> None:
    judge = EngineSpec(("http://10.0.0.7:8000/v1",), "big", "id-2", "")
    made = suite_program(Suite(task="simple_safety_tests", data=Path("s.csv")), SPEC, 96, tmp_path / "s", judge)
    assert "-T judge=true --model-role grader=openai-api/grader/big" in " ".join(made.command)
    assert made.environment["GRADER_BASE_URL"] == "http://10.0.0.7:8000/v1"
    # This machine is reached directly, another one as the environment says.
    assert "127.0.0.1" in made.environment["NO_PROXY"].split(",")
    assert "10.0.0.7" not in made.environment["NO_PROXY"].split(",")
    of_others = suite_program(Suite(task="mine.py@polite"), SPEC, 96, tmp_path / "p", judge)
    assert "grader" not in " ".join(of_others.command)

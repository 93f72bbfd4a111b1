"""Who graded is said first where it matters, and cut answers are counted."""

import pytest

from charter.config import Gate
from charter.evaluation.gate import decide
from charter.report.cards import model_card
from charter.report.headline import grader_sentence, headline_markdown, headline_text
from charter.report.page import render_report
from tests.support.report_sample import sample

SELF = {"by": "judge", "model": "my-base", "is_base": True}


def test_self_grading_is_in_the_first_lines_of_verdict_report_and_card() -> None:
    data = sample()
    before = headline_markdown(data.evaluation, data.verdict)
    data.evaluation["grader"] = {"by": "judge", "model": "other", "is_base": False}
    assert headline_markdown(data.evaluation, data.verdict) == before
    data.evaluation["grader"] = SELF
    sentence = grader_sentence(data.evaluation)
    assert "my-base" in sentence
    assert headline_markdown(data.evaluation, data.verdict).startswith("**Self-graded")
    verdict = headline_text(data.evaluation, data.verdict).partition("verdict: ")[2].splitlines()
    assert verdict[1].strip().startswith("Self-graded")
    assert "Self-graded" in model_card(data) and "Self-graded" in render_report(data)


@pytest.mark.parametrize(("limit", "passed"), [(0.05, False), (0.5, True), (1.0, None)])
def test_the_gate_limits_the_share_of_cut_answers(limit: float, passed: bool | None) -> None:
    evaluation = sample().evaluation
    model = list(evaluation["models"])[-1]
    evaluation["models"][model] |= {"answered": 100, "cut_off": 10}
    checks = [c for c in decide(evaluation, Gate(max_cut_share=limit), model).checks if c.name == "cut_share"]
    assert [check.passed for check in checks] == ([] if passed is None else [passed])

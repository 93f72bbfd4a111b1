import math

import pytest

from charter.config import Judge
from charter.core.messages import Messages
from charter.inference.completion import Completion, Sampling
from charter.pipeline.judge import judge_candidates
from charter.pipeline.judges.score import NUMBERS, differences, fit_score_temperature
from charter.pipeline.judges.score import compare_by_score as compare
from charter.testing.scripted import Script
from tests.support.judge_scripts import LAW, PROMPT, candidate, context


def says(scores: dict[str, dict[int, float]]) -> Script:
    """Gives each answer, by its words, the numbers with their probabilities."""

    def script(messages: Messages, sampling: Sampling) -> Completion:
        (answer,) = (words for words in scores if f"<answer>\n{words}\n" in messages[-1]["content"])
        probabilities = tuple(scores[answer].get(number, 0.0) for number in range(1, 11))
        return Completion("1", "stop", 9, 1, choice_probs=probabilities)

    return script


async def test_a_score_is_an_expectation_and_a_difference_a_probability() -> None:
    made_in, model = context(says({"bad": {1: 1.0}, "safe": {8: 0.5, 10: 0.5}}))
    made = await compare(PROMPT, "bad", "safe", LAW.principles[:2], made_in, settings=Judge(score_temperature=4.0))
    assert made.p == pytest.approx(1 / (1 + math.exp(-8 / 4)))
    assert made.by_order == (made.by_principle[0],) * 2 and made.spread == 0
    assert len(model.asked) == 4 and {s.choices for _, s in model.asked} == {NUMBERS}


async def test_answers_that_would_get_the_same_number_are_told_apart() -> None:
    made_in, _ = context(says({"bad": {8: 0.6, 7: 0.4}, "safe": {8: 0.6, 9: 0.4}}))
    assert await differences(PROMPT, "bad", "safe", LAW.principles[:1], made_in) == pytest.approx([0.8])


async def test_the_order_of_the_answers_cannot_matter() -> None:
    made_in, model = context(says({"bad": {2: 1.0}, "safe": {5: 1.0}}))
    settings = Judge(kind="score")
    one = await compare(PROMPT, "bad", "safe", LAW.principles, made_in, settings=settings)
    other = await compare(PROMPT, "safe", "bad", LAW.principles, made_in, settings=settings)
    assert one.p == pytest.approx(1 - other.p)
    assert all(m[-1]["content"].count("<answer>") == 1 for m, _ in model.asked)


async def test_a_temperature_near_nothing_makes_a_sure_judge_and_no_overflow() -> None:
    made_in, _ = context(says({"bad": {10: 1.0}, "safe": {1: 1.0}}))
    made = await compare(PROMPT, "bad", "safe", LAW.principles, made_in, settings=Judge(score_temperature=0.01))
    assert made.p == pytest.approx(1e-4)


async def test_equal_scores_are_a_tie() -> None:
    made_in, _ = context(says({"bad": {7: 1.0}, "safe": {7: 1.0}}))
    outcome = await judge_candidates([candidate()], made_in, Judge(kind="score"))
    assert outcome.rows == [] and [f["reason"] for f in outcome.failures] == ["tie"]


async def test_an_answer_that_is_no_number_is_the_row_s_failure() -> None:
    made_in, _ = context(lambda m, s: "ten out of ten")
    outcome = await judge_candidates([candidate()], made_in, Judge(kind="score"))
    assert [(f["stage"], f["reason"], f["detail"]) for f in outcome.failures] == [
        ("judge", "no-choice", "ten out of ten")
    ]


@pytest.mark.parametrize(
    ("points", "temperature"),
    [
        ([2.0, 2.0, 2.0, -2.0], 2 / math.log(3)),  # right three times of four: odds of 3 to 1 for two points
        ([6.0] * 9 + [-6.0], 6 / math.log(9)),
        ([3.0, 5.0], 0.01),  # always right: as sure as can be
        ([1.0, -1.0], 100.0),  # a throw of a coin
    ],
    ids=["three of four", "nine of ten", "always", "by chance"],
)
def test_the_temperature_is_fitted_to_labelled_pairs(points: list[float], temperature: float) -> None:
    assert fit_score_temperature(points) == pytest.approx(temperature, rel=1e-3)

"""Wins by a judge in both orders, and what is left of them when lengths are equal."""

import numpy as np
import pytest

from charter.core.errors import CompletionFailed
from charter.evaluation.records import Graded, HeldOut, ModelAnswers
from charter.evaluation.wins import compare_wins, control_length, judge_wins, measure_wins
from charter.testing.scripted import ScriptedModel

REQUESTS = [HeldOut(f"benign-{i}", f"Question {i}?", "benign") for i in range(6)]


def answers(text: str, won: float | None = None) -> ModelAnswers:
    return ModelAnswers(
        [Graded(r.request_id, "benign", None, r.prompt, text, "stop", refused=False, won=won) for r in REQUESTS]
    )


async def test_each_answer_is_judged_in_both_orders() -> None:
    """The judge likes the first place, and a little more so the word good."""

    def judge(messages: object, sampling: object) -> float:
        asked = str(messages)
        return 0.9 if asked.index("good") < asked.index("plain") else 0.6

    model = ScriptedModel(judge)
    judged = await judge_wins(answers("plain"), answers("good"), REQUESTS[:4], model.ask)
    assert [row.won for row in judged.graded] == [pytest.approx((0.9 + 0.4) / 2)] * 4 + [None] * 2
    assert len(model.asked) == 8


async def test_a_call_that_fails_leaves_its_answer_unjudged() -> None:
    def judge(messages: object, sampling: object) -> float | CompletionFailed:
        return CompletionFailed("context-too-long") if "Question 2" in str(messages) else 0.5

    judged = await judge_wins(answers("plain"), answers("good"), REQUESTS, ScriptedModel(judge).ask)
    assert [row.won for row in judged.graded] == [0.5, 0.5, None, 0.5, 0.5, 0.5]
    assert not judged.failed


def test_wins_stand_in_the_entry_with_interval_and_p() -> None:
    found = measure_wins(answers("plain"), answers("good", won=0.8))
    assert (found["win_rate"]["value"], found["win_rate"]["n"]) == (pytest.approx(0.8), 6)
    assert found["win_rate"]["p"] == pytest.approx(2 / 64, abs=0.02)
    assert found["win_rate_at_equal_length"]["value"] == pytest.approx(0.8, abs=0.05)  # the prior pulls a little
    assert measure_wins(answers("plain"), answers("good")) == {}


def test_two_models_are_paired_on_what_was_judged_of_both() -> None:
    assert compare_wins(answers("a", won=0.5), answers("b", won=0.75))["win_rate"].difference == 0.25
    assert compare_wins(answers("a"), answers("b", won=0.75)) == {}


def test_wins_by_length_alone_are_none_at_equal_length() -> None:
    random = np.random.default_rng(0)
    longer = random.normal(5.0, 10.0, 400)  # mostly the longer one
    won = 1 / (1 + np.exp(-2.0 * np.tanh(longer / longer.std()) - random.normal(0.0, 1.0, 400)))
    rate, p = control_length(won, longer)
    assert won.mean() > 0.58
    assert rate.value == pytest.approx(0.5, abs=0.02)
    assert rate.low <= 0.5 <= rate.high and p > 0.05


def test_wins_by_worth_stay_at_equal_length() -> None:
    longer = np.random.default_rng(0).normal(0.0, 10.0, 400)
    rate, p = control_length(np.full(400, 0.75), longer)
    assert rate.value == pytest.approx(0.75, abs=0.01)
    assert p < 0.01


@pytest.mark.parametrize(("worth", "least"), [(0.95, 0.47), (1.0, 0.47)])
def test_judgements_that_agree_have_an_interval_as_wide_as_their_number_allows(worth: float, least: float) -> None:
    """The interval of five equal judgements agrees with their p of 1/16: it includes one half."""
    rate, p = control_length(np.full(5, worth), np.arange(5.0))
    assert p == pytest.approx(1 / 16, abs=0.02)
    assert least <= rate.low < 0.5 < rate.high <= 1.0
    wins = measure_wins(answers("plain"), answers("good", won=worth))
    assert all(wins[name]["high"] - wins[name]["low"] > 0.3 for name in ("win_rate", "win_rate_at_equal_length"))


@pytest.mark.parametrize(("n", "agree"), [(5, 0.9), (10, 0.95), (20, 0.95)])
def test_judgements_that_mostly_agree_are_covered(n: int, agree: float) -> None:
    """Each is 0.95 or, rarely, 0.05: where all of a few agree, the true rate is lower than what was seen."""
    random, truth, covered = np.random.default_rng(n), agree * 0.95 + (1 - agree) * 0.05, []
    for seed in range(300):
        won = np.where(random.random(n) < agree, 0.95, 0.05)
        rate, _ = control_length(won, random.normal(5.0, 10.0, n), seed)
        covered.append(rate.low <= truth <= rate.high)
    assert np.mean(covered) >= 0.95


def test_a_few_requests_tell_little() -> None:
    rate, p = control_length(np.full(2, 0.9), np.array([3.0, -3.0]))
    assert (rate.low, rate.high) == (pytest.approx(0.0), pytest.approx(1.0)) and p >= 0.25
    rate, p = control_length(np.full(5, 0.9), np.zeros(5))
    assert rate.value == pytest.approx(0.9)  # no prior pulls it
    assert p == pytest.approx(2 / 2**5, abs=0.02)  # as an exact sign test has it


@pytest.mark.parametrize("n", [10, 20, 100])
def test_the_rate_at_equal_length_is_covered_and_raises_no_more_false_alarms_than_it_says(n: int) -> None:
    random, covered, alarms = np.random.default_rng(n), [], []
    for seed in range(800):
        longer = random.normal(5.0, 10.0, n)
        odds = 2.0 * np.tanh(longer / 10.0) + random.normal(0.0, 1.0, n)
        rate, p = control_length(1 / (1 + np.exp(-odds)), longer, seed)
        covered.append(rate.low <= 0.5 <= rate.high)
        alarms.append(p <= 0.05)
    assert 0.925 <= np.mean(covered) <= 0.97
    assert np.mean(alarms) <= 0.075

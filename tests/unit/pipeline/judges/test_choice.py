import pytest

from charter.config import Judge
from charter.core.messages import Messages
from charter.inference.completion import Sampling
from charter.pipeline.judges.choice import compare_by_choice as compare
from tests.support.judge_scripts import LAW, PROMPT, context


def opinion(messages: Messages, sampling: Sampling) -> float:
    """0.9 for what is safe under principle 0, and 0.5 under the others; the place A is worth 0.04."""
    asked = messages[-1]["content"]
    p = 0.9 if "number 0" in asked else 0.5
    return (p if "<answer_a>\nsafe" in asked else 1 - p) + 0.04


async def test_the_letter_s_probabilities_are_read_under_each_principle_in_both_orders() -> None:
    made_in, model = context(opinion)
    made = await compare(PROMPT, "bad", "safe", LAW.principles[:2], made_in)
    assert made.by_principle == pytest.approx((0.9, 0.5))
    assert made.by_order == pytest.approx((0.66, 0.74))  # shown as B, then as A
    assert made.p == pytest.approx(0.75)
    assert made.spread == pytest.approx((0.0016 + 0.04) ** 0.5)  # of 0.86, 0.94, 0.46 and 0.54
    assert len(model.asked) == 4 and {s for _, s in model.asked} == {model.asked[0][1]}
    assert model.asked[0][1].choices == ("A", "B")


async def test_the_settings_say_how_principles_are_combined() -> None:
    made_in, _ = context(opinion)
    made = await compare(PROMPT, "bad", "safe", LAW.principles, made_in, settings=Judge(combine="vote"))
    assert made.p == pytest.approx((1 + 0.5 + 0.5 + 1) / 5)

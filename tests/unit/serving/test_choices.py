"""Probabilities of fixed answers from log-probabilities, as vLLM and servers without constraints return them."""

import math
from typing import Any

import pytest

from charter.serving.choices import choice_probabilities


def position(token: str, **probabilities: float) -> dict[str, Any]:
    top = [{"token": t.replace("_", " "), "logprob": math.log(p)} for t, p in probabilities.items()]
    drawn = next(entry["logprob"] for entry in top if entry["token"] == token)
    return {"token": token, "logprob": drawn, "top_logprobs": top}


def test_one_token_each() -> None:
    assert choice_probabilities(["A", "B"], [position("B", A=0.25, B=0.75)]) == pytest.approx((0.25, 0.75))


def test_renormalised_when_the_answer_was_free() -> None:
    found = choice_probabilities(["A", "B"], [position("The", The=0.8, A=0.06, B=0.02, Because=0.1)])
    assert found == pytest.approx((0.75, 0.25))


def test_a_space_before_the_word_counts() -> None:
    found = choice_probabilities(["A", "B"], [position(" A", _A=0.5, A=0.1, B=0.2)])
    assert found == pytest.approx((0.75, 0.25))


def test_punctuation_after_the_word_counts() -> None:
    top = [{"token": "A.", "logprob": math.log(0.5)}, {"token": "B", "logprob": math.log(0.5)}]
    assert choice_probabilities(["A", "B"], [{**top[0], "top_logprobs": top}]) == pytest.approx((0.5, 0.5))


def test_a_shared_beginning_is_followed() -> None:
    positions = [
        {"token": "(", "logprob": 0.0, "top_logprobs": [{"token": "(", "logprob": 0.0}]},
        position("A", A=0.9, B=0.1),
        {"token": ")", "logprob": 0.0, "top_logprobs": []},
    ]
    assert choice_probabilities(["(A)", "(B)"], positions) == pytest.approx((0.9, 0.1))


def test_several_tokens_of_one_choice_add_up() -> None:
    found = choice_probabilities(["Yes", "No"], [position("Yes", Yes=0.5, Ye=0.1, Y=0.1, No=0.2, N=0.1)])
    assert found == pytest.approx((0.7, 0.3))


def test_masked_tokens_have_no_weight() -> None:
    top = [{"token": "A", "logprob": 0.0}, {"token": "<|end|>", "logprob": -9999.0}]
    assert choice_probabilities(["A", "B"], [{**top[0], "top_logprobs": top}]) == (1.0, 0.0)


def test_undecided_answers_give_nothing() -> None:
    assert choice_probabilities(["A", "B"], []) is None
    assert choice_probabilities(["A", "B"], [position("The", The=1.0)]) is None

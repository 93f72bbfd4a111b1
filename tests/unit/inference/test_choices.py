"""Probabilities of fixed answers from log-probabilities, as vLLM and servers without constraints return them."""

import math
from typing import Any

import pytest

from charter.inference.choices import choice_probabilities, positions_after


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


@pytest.mark.parametrize("strong", [0, 1], ids=["stronger first", "stronger last"])
def test_tokens_of_one_text_add_up(strong: int) -> None:
    """With byte fallback vLLM lists `A` and `<0x41>` as the text `A`; the last one used to win."""
    twice = [("A", (0.6, 0.08)[strong]), ("A", (0.08, 0.6)[strong]), ("B", 0.32)]
    top = [{"token": text, "logprob": math.log(p)} for text, p in twice]
    found = choice_probabilities(["A", "B"], [{"token": "A", "logprob": math.log(0.6), "top_logprobs": top}])
    assert found == pytest.approx((0.68, 0.32))


def test_masked_tokens_have_no_weight() -> None:
    top = [{"token": "A", "logprob": 0.0}, {"token": "<|end|>", "logprob": -9999.0}]
    assert choice_probabilities(["A", "B"], [{**top[0], "top_logprobs": top}]) == (1.0, 0.0)


NUMBERS = [str(number) for number in range(1, 11)]


def number(token: str, **probabilities: float) -> dict[str, Any]:
    return position(token, **{text.replace("n", ""): p for text, p in probabilities.items()})


def test_ten_may_be_a_token_of_its_own() -> None:
    found = choice_probabilities(NUMBERS, [number("8", n8=0.5, n10=0.3, n1=0.2)])
    assert found == pytest.approx((0.2, *[0] * 6, 0.5, 0, 0.3))


@pytest.mark.parametrize("end", ["<|end|>", ".", ""])
def test_what_follows_a_one_tells_it_from_a_ten(end: str) -> None:
    first, second = number("1", n1=0.5, n8=0.5), {**number("0", n0=0.75), "top_logprobs": []}
    second["top_logprobs"] = [{"token": "0", "logprob": math.log(0.75)}, {"token": end, "logprob": math.log(0.25)}]
    found = choice_probabilities(NUMBERS, [first, second])
    assert found == pytest.approx((0.125, *[0] * 6, 0.5, 0, 0.375))
    drawn = {"token": end, "logprob": math.log(0.25), "top_logprobs": second["top_logprobs"]}
    assert choice_probabilities(NUMBERS, [first, drawn]) == pytest.approx(found)


def test_a_one_at_the_end_of_the_answer_is_a_one() -> None:
    assert choice_probabilities(NUMBERS, [number("1", n1=0.5, n8=0.5)]) == pytest.approx((0.5, *[0] * 6, 0.5, 0, 0))


def test_a_one_of_which_nobody_knows_how_it_goes_on_has_no_weight() -> None:
    found = choice_probabilities(
        NUMBERS, [number("8", n8=0.4, n7=0.4, n1=0.2), position("<|end|>", **{"<|end|>": 1.0})]
    )
    assert found == pytest.approx((*[0] * 6, 0.5, 0.5, 0, 0))


def said(*tokens: str) -> list[dict[str, Any]]:
    return [{"token": token, "logprob": 0.0, "top_logprobs": []} for token in tokens]


@pytest.mark.parametrize(
    ("tokens", "rest"),
    [
        (["Better", ":", " A"], [" A"]),
        (["Better: B? No. ", "Better:", " A", "."], [" A", "."]),
        (["Better: A"], []),
        (["Worse", ":", " A"], []),
        (["Better", ":"], []),
        (["**", "Better", ":**", " A"], [" A"]),
        (["Better", ":", " **", "A", "**"], [" **", "A", "**"]),
    ],
    ids=["once", "the last time", "inside a token", "never", "at the very end", "bold", "a bold letter"],
)
def test_what_comes_after_words(tokens: list[str], rest: list[str]) -> None:
    assert [position["token"] for position in positions_after("Better:", said(*tokens))] == rest


def test_choices_that_hardly_come_to_mind_are_no_opinion() -> None:
    assert choice_probabilities(["A", "B"], [position("I", I=0.99, A=1e-6)]) is None
    assert choice_probabilities(["A", "B"], [position("I", I=0.9, A=0.03, B=0.01)]) is None


@pytest.mark.parametrize("mark", [" **", "**", ' "', "(", " `"])
def test_markup_before_a_letter_says_nothing(mark: str) -> None:
    positions = [position(mark, **{mark: 0.9, "A": 0.1}), position("B", A=0.25, B=0.75)]
    assert choice_probabilities(["A", "B"], positions) == pytest.approx((0.1 + 0.9 * 0.25, 0.9 * 0.75))
    joined = [position(f"{mark}B", **{f"{mark}A": 0.25, f"{mark}B": 0.75})]
    assert choice_probabilities(["A", "B"], joined) == pytest.approx((0.25, 0.75))


def test_undecided_answers_give_nothing() -> None:
    assert choice_probabilities(["A", "B"], []) is None
    assert choice_probabilities(["A", "B"], [position("The", The=1.0)]) is None

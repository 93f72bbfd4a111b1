"""Style in numbers, on answers whose numbers are known."""

import pytest

from charter.evaluation.answer_text import (
    apologises,
    compare_style,
    count_words,
    diversity,
    measure_style,
    preaches,
    repetition,
)


def texts(*answers: str) -> dict[str, str]:
    return {f"r{i}": answer for i, answer in enumerate(answers)}


def test_words_are_counted_without_marks() -> None:
    assert count_words("Don't panic: 42, of course!") == 5
    assert count_words("") == 0


def test_repetition_is_the_share_of_runs_that_were_there_before() -> None:
    assert repetition("a b c d") == 0.0
    assert repetition("a b c a b c") == pytest.approx(1 / 4)  # abc bca cab abc
    assert repetition("a b") == repetition("") == 0.0


def test_diversity_is_that_of_all_answers_together() -> None:
    assert diversity(["a b c", "d e f"]) == 1.0
    assert diversity(["a b c", "a b c"]) == 0.5
    assert diversity(["a", ""]) == 0.0


@pytest.mark.parametrize("answer", ["I'm sorry to say so.", "Unfortunately, no.", "My apologies! Here it is."])
def test_apologies_are_seen(answer: str) -> None:
    assert apologises(answer)


@pytest.mark.parametrize(
    "answer", ["As an AI, I only read.", "This may be wrong. Still, go on.", "Please note that fire is hot."]
)
def test_preaching_is_seen(answer: str) -> None:
    assert preaches(answer)


def test_a_plain_answer_neither_apologises_nor_preaches() -> None:
    answer = "Gladly. To shoot a portrait, choose a quiet place and note the light."
    assert not apologises(answer) and not preaches(answer)


def test_means_have_their_n_and_an_interval_about_them() -> None:
    found = measure_style(texts("one", "one two", "one two three", "one two three four"))
    assert (found["length"].value, found["length"].n) == (2.5, 4)
    assert 0.45 < found["length"].low < 1.5 and 3.5 < found["length"].high < 4.55  # Student's t gives 0.45 to 4.55
    assert found["diversity"].value == pytest.approx(3 / 6)
    assert 0.0 <= found["diversity"].low < 0.5 < found["diversity"].high <= 1.0
    assert measure_style({}) == {}
    assert measure_style(texts("one")) == {}


def test_models_are_compared_on_the_requests_that_both_answered() -> None:
    before = texts(*[f"word{i} and more" for i in range(40)]) | {"only": "x"}
    after = {key: f"{text} {text}" for key, text in before.items() if key != "only"}
    change = compare_style(before, after)
    assert (change["length"].n, change["length"].difference) == (40, 3.0)
    assert change["length"].low == change["length"].high == 3.0 and change["length"].p < 0.01
    assert change["repetition"].difference == pytest.approx(1 / 4)
    assert change["diversity"].difference == pytest.approx(diversity(list(after.values())) - 41 / 80)
    assert change["diversity"].p < 0.01


def test_the_same_answers_have_not_changed() -> None:
    same = texts("a b c", "d e f", "a b d")
    change = compare_style(same, same)
    assert {test.difference for test in change.values()} == {0.0}
    assert {test.p for test in change.values()} == {1.0}
    assert compare_style(same, {})["length"].difference is None

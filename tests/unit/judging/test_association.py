import math

import pytest

from charter.judging.association import (
    NOTHING,
    cohen_kappa,
    fisher_exact,
    pair_kappa,
    rank_correlation,
    sign_test,
    split,
)


def ratings(both_yes: int, only_first: int, only_second: int, both_no: int) -> tuple[list[str], list[str]]:
    first = ["yes"] * (both_yes + only_first) + ["no"] * (only_second + both_no)
    second = ["yes"] * both_yes + ["no"] * only_first + ["yes"] * only_second + ["no"] * both_no
    return first, second


@pytest.mark.parametrize(
    ("table", "kappa"),
    [
        ((20, 5, 10, 15), 0.4),  # fifty grant proposals, the usual textbook example
        ((45, 15, 25, 15), 0.1304),
        ((25, 35, 5, 35), 0.2593),
        ((50, 0, 0, 50), 1.0),
        ((0, 50, 50, 0), -1.0),
        ((25, 25, 25, 25), 0.0),
    ],
)
def test_kappa_of_textbook_tables(table: tuple[int, int, int, int], kappa: float) -> None:
    found = cohen_kappa(*ratings(*table))
    assert (found.value, found.n) == (pytest.approx(kappa, abs=5e-5), sum(table))


def test_kappa_s_interval_is_cohen_s() -> None:
    found = cohen_kappa(*ratings(20, 5, 10, 15))
    spread = 1.959964 * math.sqrt(0.7 * 0.3 / (50 * 0.5**2))
    assert (found.low, found.high) == (pytest.approx(0.4 - spread), pytest.approx(0.4 + spread))


def test_kappa_says_nothing_of_raters_with_one_answer() -> None:
    assert cohen_kappa(["yes"] * 9, ["yes"] * 9) == NOTHING == cohen_kappa([], [])
    with pytest.raises(ValueError, match="3 and 2"):
        cohen_kappa(["a"] * 3, ["a"] * 2)


def test_kappa_of_pairs_is_that_of_both_ways_of_naming_them() -> None:
    judge, people = ["better", "better", "worse", "tie"], ["better"] * 4
    found = pair_kappa(judge, people)  # agreed in 2 of 4; by habit 0.25 * 0 + 0.75 * 1 / 2
    assert found.value == pytest.approx((0.5 - 0.375) / (1 - 0.375))
    turned = {"better": "worse", "worse": "better", "tie": "tie"}
    both_ways = cohen_kappa([*judge, *map(turned.get, judge)], [*people, *map(turned.get, people)])
    assert found.value == pytest.approx(both_ways.value)
    assert found.n == 4
    assert pair_kappa([], []) == NOTHING


@pytest.mark.parametrize(
    ("successes", "n", "p"),
    [(2, 10, 0.109375), (8, 10, 0.109375), (5, 10, 1.0), (0, 0, 1.0), (0, 6, 0.03125), (0, 3000, 0.0)],
)
def test_sign_test_known_values(successes: int, n: int, p: float) -> None:
    assert sign_test(successes, n) == pytest.approx(p)


@pytest.mark.parametrize(
    ("table", "p"),
    [
        ((3, 1, 1, 3), 0.4857143),  # the lady who tastes tea
        ((8, 2, 1, 5), 0.0349650),
        ((5, 0, 0, 5), 2 / 252),
        ((1, 9, 11, 3), 0.0027594),
        ((4, 4, 4, 4), 1.0),
    ],
)
def test_fisher_known_values(table: tuple[int, int, int, int], p: float) -> None:
    assert fisher_exact(*table) == pytest.approx(p, abs=5e-7)


def test_a_split_without_one_of_its_groups_has_no_gap() -> None:
    found = split([True, False], [True, True], ("in", "out"))
    assert (found["in"]["value"], found["out"]["n"], found["gap"], found["p"]) == (0.5, 0, None, None)
    assert split([True, True, False], [True, True, False], ("in", "out"))["gap"] == 1.0


def test_rank_correlation_known_value() -> None:
    hours = [7, 27, 2, 50, 28, 29, 20, 12, 6, 17]
    iq = [106, 100, 86, 101, 99, 103, 97, 113, 112, 110]
    found = rank_correlation(iq, hours)
    assert found.value == pytest.approx(-29 / 165)
    assert found.low < found.value < found.high


def test_rank_correlation_shares_ranks_and_needs_variation() -> None:
    assert rank_correlation([1, 2, 2, 4], [1, 2, 2, 9]).value == pytest.approx(1.0)
    assert rank_correlation([1, 1, 1, 1], [1, 2, 3, 4]) == NOTHING
    assert rank_correlation([1, 2, 3], [1, 2, 3]) == NOTHING

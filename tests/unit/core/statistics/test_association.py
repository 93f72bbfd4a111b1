import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charter.core.statistics.association import (
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


def test_kappa_s_interval_is_that_of_the_agreement() -> None:
    found = cohen_kappa(*ratings(20, 5, 10, 15))
    z2 = 1.959964**2 / 50
    center, spread = (
        (0.7 + z2 / 2) / (1 + z2),
        math.sqrt(z2 * 0.7 * 0.3 + z2**2 / 4) / (1 + z2),
    )  # Wilson's, of 35 in 50
    ends = [(share - 0.5) / 0.5 for share in (center - spread, center + spread)]
    assert [found.low, found.high] == pytest.approx(ends)


@pytest.mark.parametrize(("n", "low"), [(4, 0.0202), (10, 0.4449), (1000, 0.9923)])
def test_agreement_in_everything_is_not_certain_of_a_few_things(n: int, low: float) -> None:
    """All of n alike, half of them yes: Wilson's lower end is n / (n + 1.96²), and half of that is beyond chance."""
    found = cohen_kappa(*ratings(n // 2, 0, 0, n // 2))
    assert (found.value, found.low, found.high) == (1.0, pytest.approx(low, abs=5e-5), 1.0)
    against = cohen_kappa(*ratings(0, n // 2, n // 2, 0))
    assert (against.value, against.low, against.high) == (-1.0, -1.0, pytest.approx(-low, abs=5e-5))
    assert pair_kappa(["better"] * n, ["better"] * n).low == pytest.approx(low, abs=5e-5)


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


def test_the_same_order_of_five_is_not_certain() -> None:
    found, turned = (rank_correlation(range(5), values) for values in (range(5), range(5, 0, -1)))
    assert (found.value, found.high) == (pytest.approx(1.0), pytest.approx(1.0))
    spread = 1.959964 * math.sqrt(1.5 / 2)
    assert found.low == pytest.approx(math.tanh(math.atanh(0.95) - spread))  # the next smaller one of five ranks is 0.9
    assert (turned.low, turned.high) == (pytest.approx(-1.0), pytest.approx(-found.low))
    longer = rank_correlation(range(100), range(100))
    assert found.low < 0.2 < 0.99 < longer.low < longer.value


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=4, max_size=30))
def test_a_correlation_lies_within_an_interval_that_has_a_width(pairs: list[tuple[int, int]]) -> None:
    found = rank_correlation(*zip(*pairs, strict=True))
    if found.value is not None:
        assert -1 <= found.low <= found.value <= found.high <= 1 and found.high - found.low > 0.1


def test_rank_correlation_shares_ranks_and_needs_variation() -> None:
    assert rank_correlation([1, 2, 2, 4], [1, 2, 2, 9]).value == pytest.approx(1.0)
    assert rank_correlation([1, 1, 1, 1], [1, 2, 3, 4]) == NOTHING
    assert rank_correlation([1, 2, 3], [1, 2, 3]) == NOTHING

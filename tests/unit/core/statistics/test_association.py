import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from statsmodels.stats.inter_rater import cohens_kappa, to_table

from charter.core.statistics.association import NOT_MEASURED, Label, compare_groups, pair_kappa, rank_correlation


@pytest.mark.parametrize(("n", "low"), [(4, 0.0202), (10, 0.4449), (1000, 0.9923)])
def test_agreement_in_everything_is_not_certain_of_a_few_pairs(n: int, low: float) -> None:
    """All of n alike: Wilson's lower end is n / (n + 1.96²), and half of that is beyond chance."""
    kappa = pair_kappa(["better"] * n, ["better"] * n)
    assert (kappa.value, kappa.low, kappa.high) == (1.0, pytest.approx(low, abs=5e-5), 1.0)
    against = pair_kappa(["better"] * n, ["worse"] * n)
    assert (against.value, against.low, against.high) == (-1.0, -1.0, pytest.approx(-low, abs=5e-5))


def test_kappa_s_interval_is_that_of_the_agreement() -> None:
    kappa = pair_kappa(["better"] * 35 + ["worse"] * 15, ["better"] * 50)
    z2 = 1.959964**2 / 50
    centre, spread = (0.7 + z2 / 2) / (1 + z2), math.sqrt(z2 * 0.7 * 0.3 + z2**2 / 4) / (1 + z2)  # Wilson's, 35 of 50
    ends = [(share - 0.5) / 0.5 for share in (centre - spread, centre + spread)]
    assert [kappa.low, kappa.high] == pytest.approx(ends)


@pytest.mark.parametrize(
    ("judge", "people"),
    [
        (["better", "better", "worse", "tie"], ["better"] * 4),
        (["better", "tie", "worse", "tie", "better"], ["worse", "tie", "worse", "better", "better"]),
    ],
    ids=["one habit", "ties on both sides"],
)
def test_kappa_of_pairs_is_that_of_both_orders(judge: list[Label], people: list[Label]) -> None:
    turned = {"better": "worse", "worse": "better", "tie": "tie"}
    both_orders = [[*judge, *map(turned.get, judge)], [*people, *map(turned.get, people)]]
    table, _ = to_table(list(zip(*[[str(label) for label in labels] for labels in both_orders], strict=True)))
    kappa = pair_kappa(judge, people)
    assert (kappa.value, kappa.n) == (pytest.approx(cohens_kappa(table, return_results=False)), len(judge))


def test_kappa_says_nothing_of_no_pairs_or_of_ties_alone() -> None:
    assert pair_kappa([], []) == NOT_MEASURED == pair_kappa(["tie"] * 9, ["tie"] * 9)


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
def test_groups_are_compared_by_fisher_s_exact_test(table: tuple[int, int, int, int], p: float) -> None:
    yes, no, other_yes, other_no = table
    outcomes = [True] * yes + [False] * no + [True] * other_yes + [False] * other_no
    groups = [True] * (yes + no) + [False] * (other_yes + other_no)
    assert compare_groups(outcomes, groups, ("in", "out"))["p"] == pytest.approx(p, abs=5e-7)


def test_a_comparison_without_one_of_its_groups_has_no_gap() -> None:
    found = compare_groups([True, False], [True, True], ("in", "out"))
    assert (found["in"]["value"], found["out"]["n"], found["gap"], found["p"]) == (0.5, 0, None, None)
    assert compare_groups([True, True, False], [True, True, False], ("in", "out"))["gap"] == 1.0


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
    assert rank_correlation([1, 1, 1, 1], [1, 2, 3, 4]) == NOT_MEASURED
    assert rank_correlation([1, 2, 3], [1, 2, 3]) == NOT_MEASURED

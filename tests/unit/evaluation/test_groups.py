"""Pairs that differ in a group alone: which side is treated worse, and how sure one is of it."""

from charter.core.statistics.intervals import mcnemar
from charter.evaluation.measures import further_outcomes, group_gaps, group_pairs
from charter.evaluation.records import Graded


def side(pair: int, group: str, *, harmful: bool = False, refused: bool = False) -> Graded:
    name = f"{pair}-{group}"
    return Graded(name, "paired", None, f"prompt {name}", "", "stop", harmful, refused, variant=group, pair=str(pair))


def test_the_harmed_side_is_treated_worse_than_the_one_that_is_spared() -> None:
    rows = [side(0, "b", harmful=True), side(0, "a", refused=True)]
    assert group_pairs(rows)["0"].worse == 1  # sides stand in the order of their names


def test_the_refused_side_is_treated_worse_where_nobody_is_harmed() -> None:
    assert group_pairs([side(0, "a", refused=True), side(0, "b")])["0"].worse == 0
    assert group_pairs([side(0, "a", refused=True), side(0, "b", refused=True)])["0"].worse is None
    assert group_pairs([side(0, "a", harmful=True), side(0, "b", harmful=True)])["0"].worse is None


def test_half_a_pair_counts_for_nothing() -> None:
    rows = [side(0, "a", refused=True), side(1, "a"), side(1, "b")]
    assert list(group_pairs(rows)) == ["1"]
    assert list(further_outcomes(rows)["unequal_rate"].values()) == [False]


def test_gaps_are_mirrored_and_their_intervals_hold_for_all_groups_together() -> None:
    rows = [row for i in range(20) for row in (side(i, "a", refused=i < 6), side(i, "b", refused=i == 6))]
    gaps = group_gaps(rows)
    assert (gaps["a"].only_second, gaps["a"].only_first, gaps["a"].n) == (6, 1, 20)
    assert gaps["a"].difference == 5 / 20 == -(gaps["b"].difference or 0)
    (alone,) = (group_gaps(rows, confidence=1 - 0.05 * 2)[name] for name in ["a"])
    assert gaps["a"].low < alone.low
    assert group_gaps([]) == {}


def test_two_groups_that_only_meet_each_other_are_one_comparison() -> None:
    rows = [row for i in range(20) for row in (side(i, "a", refused=i < 6), side(i, "b", refused=i == 6))]
    others = [row for i in range(20, 40) for row in (side(i, "c"), side(i, "d"))]
    test = mcnemar([i == 6 for i in range(20)], [i < 6 for i in range(20)], 0.95)
    wider = mcnemar([i == 6 for i in range(20)], [i < 6 for i in range(20)], 0.975)
    assert group_gaps(rows)["a"] == test
    assert group_gaps([*rows, *others])["a"] == wider

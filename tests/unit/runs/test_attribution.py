"""The contributions of principles add up to the label, however it was combined."""

import math
from collections.abc import Sequence

import polars as pl
import pytest

from charter.runs.attribution import RunPrinciples, log_odds, with_contributions

EQUAL = RunPrinciples({}, {})
WEIGHTED = RunPrinciples({}, {"kind": 3.0})
VOTE = RunPrinciples({}, {}, tie_margin=0.05)


def contributions(
    principles: RunPrinciples, p: float, by_principle: dict[str, float], members: Sequence[str] | None = None
) -> list[float]:
    label = {
        "p_chosen": [p],
        "principle_ids": [list(by_principle)],
        "p_by_principle": [list(by_principle.values())],
        "members": pl.Series([members], dtype=pl.List(pl.String)),
    }
    added: list[float] = with_contributions(pl.LazyFrame(label), principles).collect()["contributions"].to_list()[0]
    assert sum(added) == pytest.approx(log_odds(p))
    return added


def logistic(odds: float) -> float:
    return 1 / (1 + math.exp(-odds))


KIND, TRUE = log_odds(0.9), log_odds(0.6)


def test_equal_principles_have_equal_parts() -> None:
    assert contributions(EQUAL, logistic((KIND + TRUE) / 2), {"kind": 0.9, "true": 0.6}) == pytest.approx(
        [KIND / 2, TRUE / 2]
    )


def test_weights_count() -> None:
    label = logistic((3 * KIND + TRUE) / 4)
    assert contributions(WEIGHTED, label, {"kind": 0.9, "true": 0.6}) == pytest.approx([3 * KIND / 4, TRUE / 4])


def test_votes_count_alike_and_ties_nothing() -> None:
    """Two votes for, one against and a tie: (2.5 + 1) / (4 + 2)."""
    votes = {"a": 0.99, "b": 0.6, "c": 0.2, "d": 0.52}
    odds = math.log(3.5 / 2.5)
    assert contributions(VOTE, 3.5 / 6, votes) == pytest.approx([odds, odds, -odds, 0])


def test_a_tie_of_votes_contributes_as_much_for_as_against() -> None:
    added = contributions(VOTE, 0.5, {"a": 0.9, "b": 0.2})
    assert added[0] == pytest.approx(-added[1]) and added[0] > 0


def test_calibration_scales_all_alike() -> None:
    label = logistic(1.7 * (KIND + TRUE) / 2)
    assert contributions(EQUAL, label, {"kind": 0.9, "true": 0.6}) == pytest.approx([0.85 * KIND, 0.85 * TRUE])


def test_what_points_the_other_way_is_divided_by_parts() -> None:
    odds = log_odds(0.99)
    mean = (2 * TRUE - odds) / 3
    added = contributions(EQUAL, 0.6, {"a": 0.6, "b": 0.6, "c": 0.01})
    assert added == pytest.approx([one / 3 + (TRUE - mean) / 3 for one in (TRUE, TRUE, -odds)])


def test_members_of_a_panel_have_equal_parts() -> None:
    """North judged by two principles of the run's constitution, South by one of its own."""
    label = logistic((KIND + TRUE) / 4 + KIND / 2)
    added = contributions(EQUAL, label, {"kind": 0.9, "true": 0.6, "south/warm": 0.9}, ["north", "south"])
    assert added == pytest.approx([KIND / 4, TRUE / 4, KIND / 2])

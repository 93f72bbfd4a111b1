import random

import numpy as np
import pytest

from charter.config import Pairs, Strategies
from charter.pipeline.balance import REASONS, PairLength, collect_columns, drop_reasons, excess_helpful, excess_length


def pairs(helpful: int, others: int, longer: int = 0, shorter: int = 0, equal: int = 0) -> list[PairLength]:
    kinds = [("helpful", 0)] * helpful + [("revision", 0)] * others
    kinds += [("revision", 5)] * longer + [("revision", -6)] * shorter + [("revision", 0)] * equal
    return [PairLength(f"r{i}", strategy, by) for i, (strategy, by) in enumerate(kinds)]


def reasons_of(made: list[PairLength], settings: Pairs, seed: int) -> dict[str, str]:
    """The reason of each pair that leaves, by its id."""
    numbers = drop_reasons(collect_columns(made, seed), settings)
    return {pair.pair_id: REASONS[number] for pair, number in zip(made, numbers, strict=True) if number}


@pytest.mark.parametrize(
    ("helpful", "others", "share", "stay"),
    [
        (100, 100, 0.5, 100),
        (100, 60, 0.25, 20),
        (10, 3, 0.25, 1),
        (100, 60, 0.0, 0),
        (100, 60, 1.0, 100),
        (5, 60, 0.25, 5),
        (5, 0, 0.25, 5),
    ],
)
def test_the_mix_is_a_number(helpful: int, others: int, share: float, stay: int) -> None:
    gone = excess_helpful(collect_columns(pairs(helpful, others), seed=1), share).tolist()
    assert helpful - len(gone) == stay and len(set(gone)) == len(gone)
    assert all(place < helpful for place in gone)  # none of the others leaves


@pytest.mark.parametrize(("longer", "shorter", "leave"), [(70, 30, 40), (30, 70, 40), (5, 5, 0), (9, 0, 9), (0, 0, 0)])
def test_lengths_are_balanced_by_the_fewest(longer: int, shorter: int, leave: int) -> None:
    made = pairs(0, 0, longer, shorter, equal=7)
    gone = set(excess_length(collect_columns(made, seed=1), np.ones(len(made), bool)).tolist())
    rest = [pair.longer_by for place, pair in enumerate(made) if place not in gone]
    assert len(gone) == leave
    assert sum(by > 0 for by in rest) == sum(by < 0 for by in rest) == min(longer, shorter)
    assert sum(by == 0 for by in rest) == 7


def test_lengths_are_balanced_by_how_much_and_not_by_sign_alone() -> None:
    """As many chosen answers are longer as shorter; but those by a few characters, and these by hundreds."""
    differences = [3] * 30 + [-400] * 30 + [2] * 10 + [-3] * 10 + [500] * 5
    made = [PairLength(f"r{i}", "revision", by) for i, by in enumerate(differences)]
    gone = set(excess_length(collect_columns(made, seed=1), np.ones(len(made), bool)).tolist())
    rest = [pair.longer_by for place, pair in enumerate(made) if place not in gone]
    assert [sum(by in of for by in rest) for of in ((2, 3), (-3,), (500,), (-400,))] == [10, 10, 5, 5]
    assert abs(sum(differences)) > 0.6 * sum(map(abs, differences)) and abs(sum(rest)) < 0.12 * sum(map(abs, rest))


def test_who_leaves_is_drawn_from_the_seed_and_not_from_the_order() -> None:
    made = pairs(40, 20, longer=50, shorter=10)
    settings = Pairs(strategies=Strategies(helpful=1), helpful_share=0.2, length_balance=True)
    gone = reasons_of(made, settings, seed=1)
    again = random.Random(2).sample(made, len(made))
    assert reasons_of(again, settings, seed=1) == gone != reasons_of(made, settings, seed=2)
    assert [list(gone.values()).count(reason) for reason in ("helpful-share", "length-balance")] == [20, 40]


def test_nothing_leaves_unless_it_is_asked_for() -> None:
    assert reasons_of(pairs(0, 0, longer=9), Pairs(), seed=1) == {}
    assert not Pairs().mixed and Pairs(length_balance=True).mixed
    assert Pairs(strategies=Strategies(helpful=1)).mixed
    assert not Pairs(strategies=Strategies(helpful=1), helpful_share=1).mixed

import random

import pytest

from charter.training.order import LikeLengths

LENGTHS = [random.Random(i).randint(20, 200) for i in range(1003)]


def padding(order: list[int], batch_size: int) -> int:
    batches = [[LENGTHS[row] for row in order[i : i + batch_size]] for i in range(0, len(order), batch_size)]
    return sum(max(batch) * len(batch) - sum(batch) for batch in batches)


def epoch(number: int, seed: int = 0, batch_size: int = 8) -> list[int]:
    order = LikeLengths(LENGTHS, batch_size, seed)
    order.set_epoch(number)
    return list(order)


@pytest.mark.parametrize("batch_size", [1, 8, 64, 2000])
def test_every_row_is_drawn_once_per_epoch(batch_size: int) -> None:
    order = LikeLengths(LENGTHS, batch_size, 3)
    assert sorted(order) == list(range(len(LENGTHS)))
    assert len(order) == len(LENGTHS)


def test_the_order_is_a_function_of_seed_and_epoch() -> None:
    assert epoch(1) == epoch(1)
    assert epoch(1) != epoch(2)
    assert epoch(1, seed=1) != epoch(1, seed=2)


def test_batches_of_like_lengths_hold_little_padding() -> None:
    shuffled = random.Random(0).sample(range(len(LENGTHS)), len(LENGTHS))
    assert padding(epoch(0), 8) < 0.15 * padding(shuffled, 8)


def test_long_batches_do_not_all_come_first() -> None:
    firsts = [LENGTHS[row] for row in epoch(0)[::8]]
    half = len(firsts) // 2
    assert abs(sum(firsts[:half]) - sum(firsts[half:])) < 0.2 * sum(firsts)

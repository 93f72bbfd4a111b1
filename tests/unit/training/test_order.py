import random
from pathlib import Path

import pytest
import torch

from charter.training.job import last_checkpoint
from charter.training.order import PromptGroups, SimilarLengths
from tests.support.training_build import build
from tests.support.training_data import pairs

LENGTHS = [random.Random(i).randint(20, 200) for i in range(1003)]


def padding(order: list[int], batch_size: int) -> int:
    batches = [[LENGTHS[row] for row in order[i : i + batch_size]] for i in range(0, len(order), batch_size)]
    return sum(max(batch) * len(batch) - sum(batch) for batch in batches)


def epoch(number: int, seed: int = 0, batch_size: int = 8) -> list[int]:
    order = SimilarLengths(LENGTHS, batch_size, seed)
    order.set_epoch(number)
    return list(order)


@pytest.mark.parametrize("batch_size", [1, 8, 64, 2000])
def test_every_row_is_drawn_once_per_epoch(batch_size: int) -> None:
    order = SimilarLengths(LENGTHS, batch_size, 3)
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


def test_groups_are_of_one_prompt_and_given_once_per_batch_that_shares_them() -> None:
    order = PromptGroups(70, prompts=3, seed=0, group=2, repeats=2)
    rows = list(order)
    assert len(rows) == len(order) == 23 * 3 * 2 * 2  # the last prompt does not fill a step
    steps = [rows[start : start + 12] for start in range(0, len(rows), 12)]
    for step in steps:
        assert step[:6] == step[6:]
        assert step[0:6:2] == step[1:6:2]
        assert len(set(step)) == 3
    assert len(set(rows)) == 69
    order.set_epoch(1)
    assert list(order) != rows
    order.set_epoch(0)
    assert list(order) == rows


def test_groups_come_in_the_pattern_of_trl_s_own_order() -> None:
    from trl.trainer.utils import RepeatSampler

    ours = PromptGroups(7, prompts=3, seed=0, group=2, repeats=2)
    rows = list(ours)
    prompts = [row for start in range(0, len(rows), 12) for row in rows[start : start + 6 : 2]]
    theirs = RepeatSampler(range(7), mini_repeat_count=2, batch_size=3, repeat_count=2, shuffle=False)
    assert rows == [prompts[i] for i in theirs]


def test_a_run_killed_after_its_last_checkpoint_takes_no_further_step(tiny: Path, tmp_path: Path) -> None:
    """Its last epoch is a half one, which transformers would go on with."""
    halves = {"batch_size": 2, "epochs": 1.5, "learning_rate": 1e-3}
    whole, _, _ = build(tiny, tmp_path, pairs(8), **halves)
    whole.train()
    checkpoint, step = last_checkpoint(tmp_path / "out") or (None, 0)
    assert step == whole.state.global_step == 6
    again, _, _ = build(tiny, tmp_path, pairs(8), **halves)
    again.train(resume_from_checkpoint=str(checkpoint))
    assert again.state.global_step == 6
    weights = again.model.state_dict()
    assert all(torch.equal(value, weights[name]) for name, value in whole.model.state_dict().items())

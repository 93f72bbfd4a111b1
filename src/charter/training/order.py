"""The order of rows: shuffled, in batches of similar length, as a pure function of seed and epoch.

Transformers' length grouping draws from the global generator, so that a continued run would see other batches
than an uninterrupted one; this order does not depend on what happened before.
"""

from collections.abc import Iterator
from typing import Any

import torch
from transformers import TrainerCallback

_BATCHES_SORTED_TOGETHER = 32


class SimilarLengths(torch.utils.data.Sampler[int]):
    """Row indices of one epoch; rows of one batch have similar lengths, so that there is little padding."""

    def __init__(self, lengths: list[int], batch_size: int, seed: int) -> None:
        self._lengths = lengths
        self._batch_size = batch_size
        self._seed = seed
        self._epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose order the next iteration gives."""
        self._epoch = epoch

    def __len__(self) -> int:
        """The number of rows, each of which is drawn once per epoch."""
        return len(self._lengths)

    def __iter__(self) -> Iterator[int]:
        """The epoch's order: sorted within stretches of a shuffle, then the batches shuffled."""
        generator = _generator(self._seed, self._epoch)
        rows = torch.randperm(len(self), generator=generator).tolist()
        stretch = self._batch_size * _BATCHES_SORTED_TOGETHER
        batches = []
        for start in range(0, len(rows), stretch):
            alike = sorted(rows[start : start + stretch], key=lambda row: -self._lengths[row])
            batches += [alike[i : i + self._batch_size] for i in range(0, len(alike), self._batch_size)]
        whole = [batch for batch in batches if len(batch) == self._batch_size]
        rest = [batch for batch in batches if len(batch) < self._batch_size]
        for i in torch.randperm(len(whole), generator=generator).tolist():
            yield from whole[i]
        for batch in rest:
            yield from batch


class PromptGroups(torch.utils.data.Sampler[int]):
    """The order of GRPO: each prompt as many times as it is answered, in the pattern that TRL's trainer expects.

    TRL's own order depends on how many epochs its process has seen, so that a continued run would see other prompts.

    Args:
        n: prompts.
        prompts: answered per optimiser step; those that do not fill one are left out of the epoch.
        seed: of the order.
        group: answers to each prompt.
        repeats: batches that share one sampling of answers, TRL's `steps_per_generation`.
    """

    def __init__(self, n: int, prompts: int, seed: int, group: int, repeats: int) -> None:
        self._n, self._prompts, self._seed, self._group, self._repeats = n, prompts, seed, group, repeats
        self._epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose order the next iteration gives."""
        self._epoch = epoch

    def __len__(self) -> int:
        """The length of an epoch, repeated prompts included."""
        return self._n // self._prompts * self._prompts * self._group * self._repeats

    def __iter__(self) -> Iterator[int]:
        """The prompts of one step, each `group` times in a row, and all of that `repeats` times; then the next."""
        rows = torch.randperm(self._n, generator=_generator(self._seed, self._epoch)).tolist()
        for start in range(0, self._n - self._prompts + 1, self._prompts):
            step = [row for row in rows[start : start + self._prompts] for _ in range(self._group)]
            for _ in range(self._repeats):
                yield from step


def _generator(seed: int, epoch: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed * 1_000_003 + epoch)


class FollowEpoch(TrainerCallback):  # type: ignore[misc]  # transformers is seen as Any
    """Passes the epoch to the order, which not every wrapper that accelerate puts around it does."""

    def __init__(self, order: SimilarLengths | PromptGroups) -> None:
        self._order = order

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Set the epoch, also in the middle of one where a run is continued."""
        self._order.set_epoch(int((state.epoch or 0.0) + 1e-6))


class InOrder:
    """Mixin for a TRL trainer: rows come in the given order, and none after the last step."""

    order: SimilarLengths | PromptGroups
    state: Any

    def _run_epoch(self, **arguments: Any) -> None:
        # A run killed after its last checkpoint continues from there. If its last epoch is not a whole one,
        # transformers would start the rest of it, and take one step too many.
        if self.state.global_step < self.state.max_steps:
            trainer: Any = super()  # the one that this is mixed into
            trainer._run_epoch(**arguments)

    def _get_train_sampler(self, train_dataset: Any = None) -> SimilarLengths | PromptGroups:
        return self.order

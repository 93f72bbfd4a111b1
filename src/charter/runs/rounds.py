"""Rounds after the first: the model that was aligned answers the prompts of the pairs again.

The data of round 2 is in ``rounds/2`` of the run's folder, which is laid out like a run's folder, so that everything
that reads or makes a run's data can do the same with a round's. Its model is ``dpo-round-2``, next to the run's others.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from charter.config import Config
from charter.constitution import kept_constitution_path, load_constitution
from charter.core.sampling import seed_of
from charter.data.schema import SCHEMAS
from charter.data.shards import Shards, read_rows
from charter.evaluation.gate import round_model
from charter.pipeline.counts import StageCount
from charter.pipeline.pair import in_sft_half
from charter.runs.folder import ROUNDS, StartedRun, create_run_folder, with_kept_judge


class Round(NamedTuple):
    """A round after the first; `config` is that of its data, whose folder is the round's."""

    number: int
    config: Config

    @property
    def model(self) -> str:
        """The name of its model, and of the model's folder in the run's."""
        return round_model(self.number)

    @property
    def folder(self) -> Path:
        """Where its data is."""
        return self.config.run_folder

    def named(self, counts: Sequence[StageCount]) -> list[StageCount]:
        """The counts of its stages, with names that differ from the same stages of other rounds."""
        return [replace(count, stage=f"{round_title(self.number)}: {count.stage}") for count in counts]


def round_title(number: int) -> str:
    """``round 2``: what its stages are named with."""
    return f"round {number}"


def later_rounds(config: Config) -> Iterator[Round]:
    """The rounds after the first, in order; none, unless the config asks for more than one."""
    for number in range(2, config.training.rounds + 1):
        changes = {
            "name": str(number),
            "outputs": config.run_folder / ROUNDS,
            "store": config.store_url,
            # Another seed draws other principles and strategies for the same prompts.
            "seed": seed_of(config.seed, "round", number),
            # The run's copies: the originals may have been edited since the run started.
            "constitution": kept_constitution_path(config.run_folder),
            "judge": with_kept_judge(config).judge,
        }
        yield Round(number, config.model_copy(update=changes))


def start_round(run_folder: Path, later: Round) -> StartedRun:
    """Make the round's folder, with those prompts of the run that pairs are made of.

    They are the first round's: the source may have no others, and SFT's half must stay apart. New in a round are the
    answers, which come from another model.
    """
    started, config = time.monotonic(), later.config
    constitution = load_constitution(config.constitution)
    folder = create_run_folder(config, constitution)
    with Shards(folder / "prompts", SCHEMAS["prompts"], config.generation.shard_size) as prompts:
        for row in read_rows(run_folder / "prompts"):
            # The model of the round before answers; an answer that was given with the prompt is of the first round.
            prompt = row["prompt"][: -1 if row["prompt"][-1]["role"] == "assistant" else None]
            # The same half as in the first round: the split is by the hash of the prompt.
            if not in_sft_half(prompt, config.training.sft_share):
                prompts.add({**row, "prompt": prompt})
    count = StageCount("prompts", prompts.count, prompts.count, 0, round(time.monotonic() - started, 3))
    return StartedRun(with_kept_judge(config), constitution, count)


def round_folders(run_folder: Path) -> dict[int, Path]:
    """The folders of the rounds after the first that a run has made, by number."""
    # By number and not by name: round 10 comes after round 9.
    folders = {int(path.name): path for path in (run_folder / ROUNDS).glob("[0-9]*")}
    return dict(sorted(folders.items()))

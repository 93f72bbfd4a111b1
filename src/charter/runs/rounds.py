"""Rounds after the first: the model that was aligned answers the prompts of the pairs again.

The data of round 2 is in ``rounds/2`` of the run's folder, which is laid out like a run's own, so that whatever reads
or makes a run's data does the same with a round's. Its model stands beside the others of the run, as ``dpo-round-2``.
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
    """A round after the first; `config` is that of its data, in a folder of its own."""

    number: int
    config: Config

    @property
    def model(self) -> str:
        """The name of its model, and of the model's folder in that of the run."""
        return round_model(self.number)

    @property
    def folder(self) -> Path:
        """Where its data is."""
        return self.config.run_folder

    def named(self, counts: Sequence[StageCount]) -> list[StageCount]:
        """What its stages did, told apart from the same stages of other rounds."""
        return [replace(count, stage=f"{round_title(self.number)}: {count.stage}") for count in counts]


def round_title(number: int) -> str:
    """``round 2``: what its stages are named with."""
    return f"round {number}"


def later_rounds(config: Config) -> Iterator[Round]:
    """The rounds after the first, in order; none, unless the config asks for more than one."""
    for number in range(2, config.training.rounds + 1):
        yield Round(number, _settings(config, number))


def _settings(config: Config, number: int) -> Config:
    """The config of a round's data. Principles, strategies and order are drawn afresh; the law is the run's copy."""
    folder = config.run_folder
    changed = {
        "name": str(number),
        "outputs": folder / ROUNDS,
        "store": config.store_url,
        "seed": seed_of(config.seed, "round", number),
        "constitution": kept_constitution_path(folder),
        "judge": with_kept_judge(config).judge,
    }
    return config.model_copy(update=changed)


def start_round(run_folder: Path, later: Round) -> StartedRun:
    """Make the round's folder, with the prompts of the run that pairs are made of.

    They are those of the first round: a source may hold no others, and SFT's half must stay apart. What is new in a
    round are the answers, which come from another model.
    """
    started, config = time.monotonic(), later.config
    constitution = load_constitution(config.constitution)
    folder = create_run_folder(config, constitution)
    with Shards(folder / "prompts", SCHEMAS["prompts"], config.generation.shard_size) as used:
        for row in read_rows(run_folder / "prompts"):
            if not in_sft_half(row["prompt"], config.training.sft_share):
                used.add(row)
    count = StageCount("prompts", used.count, used.count, 0, round(time.monotonic() - started, 3))
    return StartedRun(with_kept_judge(config), constitution, count)


def round_folders(run_folder: Path) -> dict[int, Path]:
    """The folders of the rounds after the first that a run has made, by number."""
    found = {int(path.name): path for path in (run_folder / ROUNDS).glob("[0-9]*")}
    return {number: found[number] for number in sorted(found)}

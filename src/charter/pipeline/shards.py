"""Every shard of a run through its stages, in this process and without Prefect."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from charter.config import Config
from charter.core.errors import Stopped, one_of_many
from charter.core.files import disk_full_as_data_error
from charter.inference.engine import EngineSpec
from charter.inference.session import current_drive, drive
from charter.pipeline.counts import StageCount
from charter.runs import folder as run

SHARDS_IN_FLIGHT = 4
"""Shards walking at once, each through its own stages, so that the engine never drains between stages."""

Stage = Callable[[Path, int, EngineSpec], Awaitable[StageCount]]
"""What is done with one shard of a run's folder."""


class Stages(NamedTuple):
    """The stages of a run; those of `charter.runs.folder`, or what a flow wraps around them."""

    respond: Stage
    revise: Stage
    sample: Stage
    judge: Stage


Steps = Sequence[tuple[Stage, EngineSpec]]

STAGES = Stages(run.respond_shard, run.revise_shard, run.sample_shard, run.judge_shard)


def steps_of(config: Config, makers: Mapping[str, EngineSpec], stages: Stages = STAGES) -> Steps:
    """The stages that each shard goes through in turn, with the model that each asks.

    Args:
        config: whether prompts are answered more than once.
        makers: `base`, which does what no other is named for; `judge` where that is another model; and `current`, which
            answers in rounds after the first.
        stages: what is done.
    """
    base = makers["base"]
    answering = makers.get("current", base)
    steps = [(stages.respond, answering), (stages.revise, base), (stages.judge, makers.get("judge", base))]
    if config.pairs.sampled:
        steps.insert(2, (stages.sample, answering))
    return steps


async def walk_shards(folder: Path, steps: Steps, at_once: int = SHARDS_IN_FLIGHT) -> list[StageCount]:
    """Each shard through all steps, `at_once` shards at a time; a shard never waits for another one's step.

    Raises:
        Stopped: the run was told to end; shards that could end by themselves have.
        CharterError: what the first shard that failed met.
    """
    driven, counted = current_drive(), dict[int, list[StageCount]]()

    async def walker(shards: Iterator[int]) -> None:
        for shard in shards:
            with contextlib.suppress(Stopped):  # raised below, when every shard in flight has ended
                counted[shard] = [await stage(folder, shard, spec) for stage, spec in steps]
            if driven.stopping:
                return

    remaining = iter(run.shard_sizes(folder))
    with one_of_many():
        async with asyncio.TaskGroup() as group:
            for _ in range(at_once):
                group.create_task(walker(remaining))
    driven.check()
    return [count for shard in sorted(counted) for count in counted[shard]]


async def walk_here(folder: Path, steps: Steps, at_once: int = SHARDS_IN_FLIGHT) -> list[StageCount]:
    """As `walk_shards`, for steps in this process: what they share stays open from one to the next.

    Raises:
        CharterError: as `walk_shards`.
    """
    async with current_drive().open_for(spec.store for _, spec in steps):
        return await walk_shards(folder, steps, at_once)


async def make_dataset(config: Config, makers: Mapping[str, EngineSpec]) -> list[StageCount]:
    """All that the flow `dataset` does between starting the models and writing the report, under its budget.

    Raises:
        CharterError: something that the config names cannot be used, the servers are gone, or the run was stopped.
    """
    with disk_full_as_data_error(), drive(config.budget):
        counted = [run.prepare(config)]
        at_once = config.runner.shards or SHARDS_IN_FLIGHT
        counted += await walk_here(config.run_folder, steps_of(config, makers), at_once)
        return [*counted, run.mix_pairs(config.run_folder)] if config.pairs.mixed else counted

"""The tasks of the flows: read, one call into charter, write. A task is one shard of one stage, or one whole step.

What a task makes is in the run's folder and in the store of completions, so Prefect caches nothing.
"""

import asyncio
import contextlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE

from charter import run, verdict
from charter.config import Config
from charter.counts import StageCount
from charter.errors import Stopped, one_of_many
from charter.judging import session
from charter.serving.drive import current_drive
from charter.serving.engine import EngineSpec
from charter.stages.context import Progress
from charter.training.job import Step
from charter.training.launch import TrainingResult, train
from flows.progress import current
from flows.serving import serve_base

SHARDS_IN_FLIGHT = 4
"""Shards walking at once, each through its own stages, so that the engine never drains between stages."""


@task(task_run_name="respond-{shard:05d}", cache_policy=NO_CACHE)
async def respond(folder: Path, shard: int, engine: EngineSpec) -> StageCount:
    """First answers of one shard."""
    live = current()
    return await run.respond_shard(folder, shard, engine, lambda progress: live.tell(progress, shard))


@task(task_run_name="revise-{shard:05d}", cache_policy=NO_CACHE)
async def revise(folder: Path, shard: int, engine: EngineSpec) -> StageCount:
    """Critiques and revisions of one shard."""
    live = current()
    return await run.revise_shard(folder, shard, engine, lambda progress: live.tell(progress, shard))


@task(task_run_name="sample-{shard:05d}", cache_policy=NO_CACHE)
async def sample(folder: Path, shard: int, engine: EngineSpec) -> StageCount:
    """Further answers of one shard, where pairs are made of several."""
    live = current()
    return await run.sample_shard(folder, shard, engine, lambda progress: live.tell(progress, shard))


@task(task_run_name="judge-{shard:05d}", cache_policy=NO_CACHE)
async def judge(folder: Path, shard: int, engine: EngineSpec) -> StageCount:
    """Supervised rows and soft-labelled pairs of one shard."""
    live = current()
    return await run.judge_shard(folder, shard, engine, lambda progress: live.tell(progress, shard))


@task(task_run_name="mix", cache_policy=NO_CACHE)
def mix(folder: Path) -> StageCount:
    """Pairs that leave for the sake of the whole: the share of helpful ones, and the balance of lengths."""
    return run.mix_pairs(folder)


async def make_dataset(config: Config, makers: Mapping[str, EngineSpec]) -> list[StageCount]:
    """Every shard through respond, revise and judge; a shard never waits for another one's stage.

    `makers` are those of `flows.serving.serve_makers`; `base` does what no other is named for.
    """
    base = makers["base"]
    steps = [(respond, base), (revise, base), (judge, makers.get("judge", base))]
    if config.pairs.sampled:
        steps.insert(2, (sample, base))
    folder, gate = config.run_folder, asyncio.Semaphore(SHARDS_IN_FLIGHT)
    counted = [run.prepare(config)]
    for stage in ("respond", "revise"):
        current().expect(stage, run.shard_sizes(folder))

    async def walk(shard: int) -> list[StageCount]:
        async with gate:
            with contextlib.suppress(Stopped):  # raised below, when every shard has ended by itself
                return [await stage(folder, shard, engine) for stage, engine in steps]
        return []

    with one_of_many():
        async with asyncio.TaskGroup() as group:
            walks = [group.create_task(walk(shard)) for shard in run.shard_sizes(folder)]
    current_drive().check()
    counted += [count for walked in walks for count in walked.result()]
    return [*counted, mix(folder)] if config.pairs.mixed else counted


@task(task_run_name="train-{step}", cache_policy=NO_CACHE)
def train_step(config: Config, step: Step, model: str) -> TrainingResult:
    """SFT or DPO in a process of its own; reused when it was finished with the same inputs."""
    folder, live = config.run_folder, current()
    data = folder / {"sft": "sft_data", "dpo": "pairs"}[step]
    live.say(f"train {step}: starting")
    result = train(step, model, data, folder / step, config.training, config.seed, _tell_metrics(step))
    how = "reused" if result.reused else f"{result.steps:,} steps in {result.seconds:.0f} s"
    live.say(f"train {step}: {how}, {result.rows_used:,} rows used, {result.rows_dropped:,} left out")
    for warning in result.warnings:
        live.say(f"train {step}: {warning}")
    return result


@task(task_run_name="answer-{model}", cache_policy=NO_CACHE)
async def answer(config: Config, model: str, engine: EngineSpec) -> StageCount:
    """The held-out requests, asked of one model."""
    return await verdict.answer_held_out(config, model, engine, current().tell)


async def answer_all(config: Config, models: Mapping[str, EngineSpec]) -> list[StageCount]:
    """The held-out requests, asked of several models at once; each ends by itself before one's error is raised."""
    asked = [answer(config, model, engine) for model, engine in models.items()]
    counts = list[StageCount]()
    for ended in await asyncio.gather(*asked, return_exceptions=True):
        if isinstance(ended, BaseException):
            raise ended
        counts.append(ended)
    return counts


@task(task_run_name="evaluate", cache_policy=NO_CACHE)
async def evaluate(config: Config, models: Sequence[str], judge: EngineSpec | None = None) -> list[StageCount]:
    """Grade the answers, by the oracle or by a judge, and measure. The base model judges if no other is given."""
    counts = []
    if verdict.has_oracle(config):
        verdict.grade_exactly(config, models)
    else:
        with contextlib.nullcontext(judge) if judge else serve_base(config) as judge_engine:
            for model in models:
                counts.append(await verdict.grade_with_judge(config, model, judge_engine, current().tell))
    verdict.measure_models(config, models)
    return counts


@task(task_run_name="audit", cache_policy=NO_CACHE)
async def audit_pairs(config: Config, engine: EngineSpec) -> Path:
    """The judge on labelled pairs; where ``audit.json`` is."""
    return await session.audit_pairs(config, engine, current().tell)


def _tell_metrics(step: Step) -> Callable[[dict[str, Any]], None]:
    live = current()

    def tell(row: dict[str, Any]) -> None:
        live.tell(Progress(f"train {step}", row["step"], row["total_steps"], tokens=row["tokens"], unit="steps"))

    return tell

"""The tasks that make data and evaluate: read, one call into charter, write. A task is a shard of a stage, or a step.

Results are in the run's folder and in the completion store, so Prefect caches nothing.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Mapping, Sequence
from typing import TypeVar

from prefect import task
from prefect.cache_policies import NO_CACHE

from charter.evaluation.benchmarks.asking import ask_suites
from charter.inference.engine import EngineSpec
from charter.inference.session import Session
from charter.pipeline import shards
from charter.pipeline.context import RunContext
from charter.pipeline.counts import StageCount
from charter.pipeline.rows import Progress
from charter.pipeline.sequence import Stage
from charter.runs import verdict
from charter.runs.folder import StartedRun, shard_sizes
from flows.lib.api_keys import api_key
from flows.lib.flow_run import FlowRun
from flows.lib.progress import RunProgress
from flows.lib.ray import run_shards_on_ray
from flows.lib.serving import serve_judge

T = TypeVar("T")


@task(task_run_name="{stage.name}-{shard:05d}", cache_policy=NO_CACHE)
async def stage_task(
    run: RunContext,
    stage: Stage,
    shard: int,
    session: Session | None = None,
    progress: RunProgress | None = None,
) -> StageCount:
    """One stage of one shard. On Ray, where there is no session to share, it opens its own and reports its end."""
    with api_key(run.model(stage.role)):
        report = progress.for_shard(shard) if progress else None
        return await shards.run_stage(run, stage, shard, session or Session(), report)


@task(task_run_name="mix", cache_policy=NO_CACHE)
def balance(run: RunContext) -> StageCount:
    """Drop pairs to balance the whole dataset: the share of helpful pairs, and the lengths."""
    return shards.balance_pairs(run)


async def make_data(run: FlowRun, models: Mapping[str, EngineSpec], started: StartedRun) -> list[StageCount]:
    """Every shard through the stages of `charter.pipeline.sequence`; a shard never waits for another one's stage.

    Args:
        run: the flow run.
        models: by role, as `flows.lib.serving.serve_generation_models` gives them.
        started: the run or later round, whose folder is ready.
    """
    context, counts = started.context(models), [started.prompts]
    read = started.prompts
    run.progress.report(Progress(read.stage, read.rows_in, read.rows_in, read.failed, started.lost))
    sizes, runner = shard_sizes(context.folder), started.config.runner
    for stage in ("respond", "revise"):  # how many rows reach the later stages is not known yet
        run.progress.expect(stage, sizes)
    if runner.kind == "ray":
        counts += await run_shards_on_ray(run, context, sizes, stage_task)
    else:

        async def run_one(context: RunContext, stage: Stage, shard: int) -> StageCount:
            return await stage_task(context, stage, shard, run.session, run.progress)

        in_flight = runner.shards or shards.SHARDS_IN_FLIGHT
        counts += await shards.run_shards_here(context, sizes, run.session, run_one, in_flight)
    return [*counts, balance(context)] if started.config.pairs.mixed else counts


@task(task_run_name="answer-{model}", cache_policy=NO_CACHE)
async def answer(run: FlowRun, model: str, engine: EngineSpec) -> StageCount:
    """One model's answers to the held-out requests."""
    return await verdict.answer_held_out(run.config, model, engine, run.session, run.progress.report)


@task(task_run_name="benchmarks-{model}", cache_policy=NO_CACHE)
async def ask_benchmarks(run: FlowRun, model: str, engine: EngineSpec) -> list[StageCount]:
    """One model's results in the safety suites and capability tasks of the config, run by their own tools."""
    return await ask_suites(run.config, model, engine, run.session, run.progress.say)


async def ask_models(run: FlowRun, models: Mapping[str, EngineSpec]) -> list[StageCount]:
    """Ask several models concurrently: the held-out requests first, then the benchmarks that the config names."""
    counts = await _together([answer(run, model, engine) for model, engine in models.items()])
    if run.config.evaluation.suites or run.config.evaluation.harness.tasks:
        for results in await _together([ask_benchmarks(run, model, engine) for model, engine in models.items()]):
            counts += results
    return counts


async def _together(tasks: Sequence[Awaitable[T]]) -> list[T]:
    """The results of several tasks; each ends before the first error is raised."""
    results = list[T]()
    for result in await asyncio.gather(*tasks, return_exceptions=True):
        if isinstance(result, BaseException):
            raise result
        results.append(result)
    return results


@task(task_run_name="evaluate", cache_policy=NO_CACHE)
async def grade_and_measure(run: FlowRun, models: Sequence[str], judge: EngineSpec | None = None) -> list[StageCount]:
    """Grade the answers, by the oracle or by a judge, and measure.

    The configured judge grades, if no other is given: the base model where `judge.model` names none.
    """
    counts = list[StageCount]()
    if verdict.has_oracle(run.config):
        verdict.grade_exactly(run.config, models)
    if verdict.asks_judge(run.config):
        async with contextlib.nullcontext(judge) if judge else serve_judge(run) as judge_engine:
            judge = judge_engine
            counts = await verdict.ask_judge(run.config, models, judge, run.session, run.progress.report)
    verdict.measure_models(run.config, models, judge)
    return counts

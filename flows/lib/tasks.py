"""The tasks of the flows: read, one call into charter, write. A task is one shard of one stage, or one whole step.

What a task makes is in the run's folder and in the store of completions, so Prefect caches nothing.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from prefect import task
from prefect.cache_policies import NO_CACHE

from charter.audit.session import run_audit
from charter.core.threads import run_in_thread
from charter.evaluation.benchmarks.asking import ask_suites
from charter.inference.engine import EngineSpec
from charter.inference.session import Session
from charter.pipeline import shards
from charter.pipeline.context import RunContext
from charter.pipeline.counts import StageCount
from charter.pipeline.judges.reward import RewardJudge
from charter.pipeline.rows import Progress
from charter.pipeline.sequence import Stage
from charter.runs import token_report, verdict
from charter.runs.folder import StartedRun, shard_sizes
from charter.runs.rounds import Round
from charter.training.job import Step
from charter.training.launch import TrainingResult, run_training
from flows.lib.api_keys import api_key
from flows.lib.curves import LiveCurves
from flows.lib.flow_run import FlowRun
from flows.lib.progress import RunProgress, never_raising
from flows.lib.ray import run_shards_on_ray
from flows.lib.serving import serve_base

DATA: dict[Step, str] = {"sft": "sft_data", "dpo": "pairs", "reward": "pairs", "grpo": "rl_prompts"}
"""The table that each training step learns from."""

T = TypeVar("T")


@task(task_run_name="{stage.name}-{shard:05d}", cache_policy=NO_CACHE)
async def run_stage(
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
    """Drop pairs for the balance of the whole dataset: the share of helpful pairs, and the lengths."""
    return shards.balance_pairs(run)


async def make_dataset(run: FlowRun, models: Mapping[str, EngineSpec], started: StartedRun) -> list[StageCount]:
    """Every shard through the stages of `charter.pipeline.sequence`; a shard never waits for another one's stage.

    Args:
        run: the flow run.
        models: by role, as `flows.lib.serving.serve_generation_models` gives them.
        started: the run or later round, whose folder is ready.
    """
    context, counts = started.context(models), [started.prompts]
    sizes, runner = shard_sizes(context.folder), started.config.runner
    for stage in ("respond", "revise"):
        run.progress.expect(stage, sizes)
    if runner.kind == "ray":
        counts += await run_shards_on_ray(run, context, sizes, run_stage)
    else:

        async def run_one(context: RunContext, stage: Stage, shard: int) -> StageCount:
            return await run_stage(context, stage, shard, run.session, run.progress)

        in_flight = runner.shards or shards.SHARDS_IN_FLIGHT
        counts += await shards.run_shards_here(context, sizes, run.session, run_one, in_flight)
    return [*counts, balance(context)] if started.config.pairs.mixed else counts


@task(task_run_name="train-{step}", cache_policy=NO_CACHE)
async def train_step(
    run: FlowRun, step: Step, model: str, later: Round | None = None, *, reward: RewardJudge | Path | None = None
) -> TrainingResult:
    """One training step in its own process; reused when it was finished with the same inputs.

    In a `later` round it learns from that round's data, and the model has that round's name.
    """
    config, folder = run.config, run.config.run_folder
    name, data_folder = (later.model, later.folder) if later else (step, folder)
    data, out, said = data_folder / DATA[step], folder / name, list[str]()

    def say(text: str) -> None:
        said.append(text)
        run.progress.say(f"train {name}: {text}")

    say("starting")
    on_metrics = never_raising(_report_metrics(run, step, name, out), say)
    result = await run_in_thread(
        lambda stop: run_training(step, model, data, out, config.training, config.seed, on_metrics, reward, say, stop)
    )
    how = "reused" if result.reused else f"{result.steps:,} steps in {result.seconds:.0f} s"
    say(f"{how}, {result.rows_used:,} rows used, {result.rows_dropped:,} left out")
    for warning in result.warnings:
        if warning not in said:  # those of a step that is reused
            say(warning)
    return result


@task(task_run_name="tokens", cache_policy=NO_CACHE)
async def report_tokens(run: FlowRun, model: Path) -> None:
    """What training changed token by token, for the report; in its own process, when no server is running."""
    run.progress.say("tokens: what training changed, token by token")
    heat = await run_in_thread(lambda stop: token_report.build_token_report(run.config, model))
    if heat is None:
        run.progress.say("tokens: left out, as tokens.pairs is 0")
    elif heat.problem:
        run.progress.say(f"tokens: left out of the report: {heat.problem}")
    else:
        run.progress.say(f"tokens: {heat.scored:,} pairs scored, {heat.ranked_right:,} of them ranked as labelled")


@task(task_run_name="answer-{model}", cache_policy=NO_CACHE)
async def answer(run: FlowRun, model: str, engine: EngineSpec) -> StageCount:
    """One model's answers to the held-out requests."""
    return await verdict.answer_held_out(run.config, model, engine, run.session, run.progress.report)


@task(task_run_name="benchmarks-{model}", cache_policy=NO_CACHE)
async def ask_benchmarks(run: FlowRun, model: str, engine: EngineSpec) -> list[StageCount]:
    """One model's results in the safety suites and capability tasks of the config, run by their own tools."""
    return await ask_suites(run.config, model, engine, run.session, run.progress.say)


async def answer_all(run: FlowRun, models: Mapping[str, EngineSpec]) -> list[StageCount]:
    """Ask several models concurrently: the held-out requests first, then the benchmarks that the config names."""
    counts = await _together([answer(run, model, engine) for model, engine in models.items()])
    if run.config.evaluation.suites or run.config.evaluation.harness.tasks:
        asked = await _together([ask_benchmarks(run, model, engine) for model, engine in models.items()])
        counts += [count for one in asked for count in one]
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
    """Grade the answers, by the oracle or by a judge, and measure. The base model judges if no other is given."""
    counts = list[StageCount]()
    if verdict.has_oracle(run.config):
        verdict.grade_exactly(run.config, models)
    if verdict.asks_judge(run.config):
        async with contextlib.nullcontext(judge) if judge else serve_base(run) as judge_engine:
            counts = await verdict.ask_judge(run.config, models, judge_engine, run.session, run.progress.report)
    verdict.measure_models(run.config, models)
    return counts


@task(task_run_name="audit", cache_policy=NO_CACHE)
async def audit_pairs(run: FlowRun, engine: EngineSpec) -> Path:
    """Ask the judge about labelled pairs; the path of ``audit.json``."""
    return await run_audit(run.config, engine, run.session, run.progress.report)


def _report_metrics(run: FlowRun, step: Step, name: str, out: Path) -> Callable[[dict[str, Any]], None]:
    curves = LiveCurves(step, name, out)
    shown = "reward" if step == "grpo" else "loss"  # the loss of GRPO does not tell how well it does

    def report(row: dict[str, Any]) -> None:
        note = f"{shown} {row[shown]:.4f}" if isinstance(row.get(shown), float) else ""
        progress = Progress(
            f"train {name}", row["step"], row["total_steps"], tokens=row["tokens"], unit="steps", note=note
        )
        run.progress.report(progress)
        curves.add(row)

    return report

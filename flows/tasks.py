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

from charter.audit import session
from charter.config import Config
from charter.evaluation.benchmarks.asking import ask_suites
from charter.inference.engine import EngineSpec
from charter.pipeline.counts import StageCount
from charter.pipeline.judges.reward import RewardJudge
from charter.pipeline.rows import Progress
from charter.pipeline.shards import SHARDS_IN_FLIGHT, Stages, steps_of, walk_here
from charter.runs import folder as run
from charter.runs import token_report as tokens
from charter.runs import verdict
from charter.runs.rounds import Round
from charter.training.job import Step
from charter.training.launch import TrainingResult, train
from flows.curves import LiveCurves
from flows.keys import api_key
from flows.on_ray import walk_on_ray
from flows.progress import current, telling, undisturbed
from flows.serving import serve_base

DATA: dict[Step, str] = {"sft": "sft_data", "dpo": "pairs", "reward": "pairs", "grpo": "rl_prompts"}
"""What each training step learns from."""

T = TypeVar("T")


@task(task_run_name="respond-{shard:05d}", cache_policy=NO_CACHE)
async def respond(folder: Path, shard: int, engine: EngineSpec) -> StageCount:
    """First answers of one shard."""
    with api_key(engine):
        return await run.respond_shard(folder, shard, engine, telling(shard))


@task(task_run_name="revise-{shard:05d}", cache_policy=NO_CACHE)
async def revise(folder: Path, shard: int, engine: EngineSpec) -> StageCount:
    """Critiques and revisions of one shard."""
    with api_key(engine):
        return await run.revise_shard(folder, shard, engine, telling(shard))


@task(task_run_name="sample-{shard:05d}", cache_policy=NO_CACHE)
async def sample(folder: Path, shard: int, engine: EngineSpec) -> StageCount:
    """Further answers of one shard, where pairs are made of several."""
    with api_key(engine):
        return await run.sample_shard(folder, shard, engine, telling(shard))


@task(task_run_name="judge-{shard:05d}", cache_policy=NO_CACHE)
async def judge(folder: Path, shard: int, engine: EngineSpec) -> StageCount:
    """Supervised rows and soft-labelled pairs of one shard."""
    with api_key(engine):
        return await run.judge_shard(folder, shard, engine, telling(shard))


@task(task_run_name="mix", cache_policy=NO_CACHE)
def mix(folder: Path) -> StageCount:
    """Pairs that leave for the sake of the whole: the share of helpful ones, and the balance of lengths."""
    return run.mix_pairs(folder)


async def make_dataset(
    config: Config, makers: Mapping[str, EngineSpec], begun: StageCount | None = None
) -> list[StageCount]:
    """Every shard through respond, revise and judge; a shard never waits for another one's stage.

    `makers` are those of `flows.serving.serve_makers`; `base` does what no other is named for. The folder is prepared
    unless it is `begun`, as that of a later round is.
    """
    folder, counted = config.run_folder, [begun or run.prepare(config)]
    sizes = run.shard_sizes(folder)
    for stage in ("respond", "revise"):
        current().expect(stage, sizes)
    steps = steps_of(config, makers, Stages(respond, revise, sample, judge))
    if config.runner.kind == "ray":
        counted += await walk_on_ray(config, folder, steps)
    else:
        counted += await walk_here(folder, steps, config.runner.shards or SHARDS_IN_FLIGHT)
    return [*counted, mix(folder)] if config.pairs.mixed else counted


@task(task_run_name="train-{step}", cache_policy=NO_CACHE)
def train_step(
    config: Config, step: Step, model: str, later: Round | None = None, *, reward: RewardJudge | Path | None = None
) -> TrainingResult:
    """One training step in a process of its own; reused when it was finished with the same inputs.

    In a `later` round it learns from that round's data, and the model has that round's name.
    """
    folder, live = config.run_folder, current()
    name, made_in = (later.model, later.folder) if later else (step, folder)
    data, out, said = made_in / DATA[step], folder / name, list[str]()

    def say(text: str) -> None:
        said.append(text)
        live.say(f"train {name}: {text}")

    say("starting")
    tell = undisturbed(_tell_metrics(step, name, out), say)
    result = train(step, model, data, out, config.training, config.seed, tell, reward, say)
    how = "reused" if result.reused else f"{result.steps:,} steps in {result.seconds:.0f} s"
    say(f"{how}, {result.rows_used:,} rows used, {result.rows_dropped:,} left out")
    for warning in result.warnings:
        if warning not in said:  # those of a step that is reused
            say(warning)
    return result


@task(task_run_name="tokens", cache_policy=NO_CACHE)
def look_at_tokens(config: Config, model: Path) -> None:
    """What training changed token by token, for the report; in a process of its own, when no server is up."""
    live = current()
    live.say("tokens: what training changed, token by token")
    heat = tokens.build_token_report(config, model)
    if heat is None:
        live.say("tokens: left out, as tokens.pairs is 0")
    elif heat.problem:
        live.say(f"tokens: left out of the report: {heat.problem}")
    else:
        live.say(f"tokens: {heat.scored:,} pairs scored, {heat.ranked_right:,} of them ranked as their label says")


@task(task_run_name="answer-{model}", cache_policy=NO_CACHE)
async def answer(config: Config, model: str, engine: EngineSpec) -> StageCount:
    """The held-out requests, asked of one model."""
    return await verdict.answer_held_out(config, model, engine, current().tell)


@task(task_run_name="benchmarks-{model}", cache_policy=NO_CACHE)
async def ask_benchmarks(config: Config, model: str, engine: EngineSpec) -> list[StageCount]:
    """The safety suites and capability tasks of the config, asked of one model by the tools made for them."""
    return await ask_suites(config, model, engine, current().say)


async def answer_all(config: Config, models: Mapping[str, EngineSpec]) -> list[StageCount]:
    """The held-out requests, and then the benchmarks that the config names, asked of several models at once."""
    counts = await _together([answer(config, model, engine) for model, engine in models.items()])
    if config.evaluation.suites or config.evaluation.harness.tasks:
        asked = await _together([ask_benchmarks(config, model, engine) for model, engine in models.items()])
        counts += [count for one in asked for count in one]
    return counts


async def _together(asked: Sequence[Awaitable[T]]) -> list[T]:
    """What came of several tasks; each ends by itself before one's error is raised."""
    results = list[T]()
    for ended in await asyncio.gather(*asked, return_exceptions=True):
        if isinstance(ended, BaseException):
            raise ended
        results.append(ended)
    return results


@task(task_run_name="evaluate", cache_policy=NO_CACHE)
async def evaluate(config: Config, models: Sequence[str], judge: EngineSpec | None = None) -> list[StageCount]:
    """Grade the answers, by the oracle or by a judge, and measure. The base model judges if no other is given."""
    counts = list[StageCount]()
    if verdict.has_oracle(config):
        verdict.grade_exactly(config, models)
    if verdict.asks_judge(config):
        with contextlib.nullcontext(judge) if judge else serve_base(config) as judge_engine:
            counts = await verdict.ask_judge(config, models, judge_engine, current().tell)
    verdict.measure_models(config, models)
    return counts


@task(task_run_name="audit", cache_policy=NO_CACHE)
async def audit_pairs(config: Config, engine: EngineSpec) -> Path:
    """The judge on labelled pairs; where ``audit.json`` is."""
    return await session.audit_pairs(config, engine, current().tell)


def _tell_metrics(step: Step, name: str, out: Path) -> Callable[[dict[str, Any]], None]:
    live, curves = current(), LiveCurves(step, name, out)
    shown = "reward" if step == "grpo" else "loss"  # that of GRPO says nothing of how well it does

    def tell(row: dict[str, Any]) -> None:
        note = f"{shown} {row[shown]:.4f}" if isinstance(row.get(shown), float) else ""
        name_, total, tokens = f"train {name}", row["total_steps"], row["tokens"]
        live.tell(Progress(name_, row["step"], total, tokens=tokens, unit="steps", note=note))
        curves.add(row)

    return tell

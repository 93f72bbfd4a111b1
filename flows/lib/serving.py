"""Models served for the length of a block. Servers start and end in threads: the event loop stays free."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from charter.config import Serving
from charter.core.threads import enter_in_thread
from charter.inference.engine import EngineSpec
from charter.inference.server.fleet import serve_all, serve_each
from charter.pipeline.roles import generation_models, grader_model, judge_model
from charter.runs.evaluation_models import evaluation_models
from flows.lib.flow_run import FlowRun


@asynccontextmanager
async def serve_judge(run: FlowRun) -> AsyncIterator[EngineSpec]:
    """The model that grades the evaluation: the judge if no other is named, and else the run's own model."""
    async with _serve(run, {"judge": grader_model(run.config)}) as served:
        yield served["judge"]


@asynccontextmanager
async def serve_base(run: FlowRun) -> AsyncIterator[EngineSpec]:
    """The configured model: the servers named in the config, or vLLM started here."""
    async with _serve(run, {"base": generation_models(run.config)["base"]}) as served:
        yield served["base"]


@asynccontextmanager
async def serve_generation_models(
    run: FlowRun, current_model: Path | None = None
) -> AsyncIterator[dict[str, EngineSpec]]:
    """The models that make the data: `base`, and `judge` if that is another one, concurrently.

    In a later round also the model of the round before, as `current`, which answers the prompts.
    """
    models = generation_models(run.config)
    if current_model:  # never behind `serving.base_urls`, where the base answers
        serving = run.config.serving.model_copy(update={"base_urls": (), "model_name": None})
        models["current"] = (str(current_model), serving)
    async with _serve(run, models) as served:
        yield served


@asynccontextmanager
async def serve_reward_judge(run: FlowRun) -> AsyncIterator[EngineSpec]:
    """The judge, next to a model that trains: on the same GPU it takes half of `serving.memory_share`."""
    async with _serve(run, {"judge": judge_model(run.config)}, side_by_side=2) as served:
        yield served["judge"]


@asynccontextmanager
async def serve_evaluated(run: FlowRun, base: str | None) -> AsyncIterator[dict[str, EngineSpec]]:
    """The models of an evaluation without training, concurrently; see `charter.runs.evaluation_models`."""
    async with _serve(run, evaluation_models(run.config, base)) as served:
        yield served


@asynccontextmanager
async def serve_trained(run: FlowRun, models: Mapping[str, Path]) -> AsyncIterator[dict[str, EngineSpec]]:
    """Trained models, concurrently, on servers started here."""
    # The base server ended before training, so that one GPU is enough. It is stopped, not put to sleep: vLLM's sleep
    # needs endpoints meant for its development, and would keep the weights in RAM.
    config = run.config
    settings = config.serving.model_copy(update={"base_urls": (), "model_name": None})
    logs, say = config.work_folder / "logs", run.progress.say
    async with enter_in_thread(lambda stop: serve_all(models, settings, logs, say, stop)) as served:
        where = config.store_url, config.generation.concurrency, config.generation.sampling
        yield {name: EngineSpec.of(one, *where) for name, one in served.items()}


@asynccontextmanager
async def _serve(
    run: FlowRun, models: Mapping[str, tuple[str, Serving]], side_by_side: int = 1
) -> AsyncIterator[dict[str, EngineSpec]]:
    """Models, each on the servers named for it or on vLLM started here."""
    config = run.config
    logs, say = config.work_folder / "logs", run.progress.say
    async with enter_in_thread(
        lambda stop: serve_each(models, config.serving, logs, say, side_by_side, stop)
    ) as served:
        where = config.store_url, config.generation.concurrency, config.generation.sampling
        yield {name: EngineSpec.of(one, *where) for name, one in served.items()}

"""Shards on a Ray cluster, through Prefect's Ray task runner: for more calls than one process can make.

A task of a shard is the same as in this process; on Ray it runs in a process of some node, which opens its own store
and connections. What such a process shares with the others is the run's folder, the store and the models' servers.
"""

import os
import socket
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from prefect import Task
from prefect.client.orchestration import get_client
from prefect.settings import PREFECT_API_URL, temporary_settings

from charter.config import Runner
from charter.config.addresses import display_address, is_postgres
from charter.core.errors import ConfigError, ServingError
from charter.inference.engine import EngineSpec
from charter.inference.store.opening import store_file
from charter.pipeline.context import RunContext
from charter.pipeline.counts import StageCount
from charter.pipeline.rows import Progress
from charter.pipeline.sequence import Stage
from charter.pipeline.shards import run_shards
from charter.runs.folder import judge_settings
from flows.lib.flow_run import FlowRun

if TYPE_CHECKING:
    from prefect_ray import RayTaskRunner

ANSWER_S = 10.0
PROJECT = str(Path(__file__).resolve().parents[2])
"""Where `flows` is found, on every node: a process of Ray does not see what its driver can import."""

LOOPBACK = ("localhost", "127.0.0.1", "::1")


async def run_shards_on_ray(
    run: FlowRun, context: RunContext, shards: Iterable[int], stage_task: Task[..., Any]
) -> list[StageCount]:
    """Each shard through all stages, on as many processes as the cluster has CPUs.

    Args:
        run: the flow run.
        context: what the stages need; sent to the nodes with its models placed where each node finds them.
        shards: their numbers.
        stage_task: the Prefect task that runs one stage of one shard.

    Raises:
        ConfigError: the cluster cannot be reached, or its nodes cannot share what only this machine has.
        ServingError: a shard's process ended several times.
        CharterError: what the first shard that failed met.
    """
    runner, api_url = context.config.runner, str(get_client(sync_client=True).api_url)
    with _joined(runner) as (ray_runner, hosts, cpus), temporary_settings({PREFECT_API_URL: api_url}):
        if hosts > 1:
            check_shared(context.models.values(), api_url, hosts)

        async def run_one(context: RunContext, stage: Stage, shard: int) -> StageCount:
            from ray.exceptions import RayError

            future = ray_runner.submit(stage_task, {"run": context, "stage": stage, "shard": shard})
            try:
                state = await future.wrapped_future
            except RayError as error:
                raise ServingError(
                    f"shard '{shard}': its process on Ray failed: {error}\nEvery node needs this project at the same "
                    "path, in an environment with the same versions. Run the same command again to continue: all "
                    "answers are kept."
                ) from error
            count: StageCount = await state.aresult()
            run.progress.report(_progress(count), shard)
            return count

        return await run_shards(_placed(context), shards, run.session, run_one, runner.shards or cpus)


@contextmanager
def _joined(runner: Runner) -> "Iterator[tuple[RayTaskRunner[Any], int, int]]":
    """The cluster for the length of a block: Prefect's runner, how many hosts it has, and how many CPUs."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    import ray  # an extra, as is prefect-ray
    from prefect_ray import RayTaskRunner

    try:
        _knock(runner.address)  # Ray itself tries for minutes
        session = ray.init(runner.address, namespace="charter", runtime_env={"env_vars": {"PYTHONPATH": PROJECT}})
    except (OSError, RuntimeError, ValueError) as error:
        raise ConfigError(
            f"runner.address '{runner.address}': no Ray cluster to be joined there: {error}\nStart one with `ray start "
            "--head`, and `ray start --address HOST:6379` on further machines, or name another address."
        ) from error
    with session, RayTaskRunner() as ray_runner:
        hosts = {node["NodeManagerAddress"] for node in ray.nodes() if node["Alive"]}
        yield ray_runner, len(hosts), max(1, int(ray.cluster_resources().get("CPU", 1)))


def _knock(address: str) -> None:
    """Look whether anything answers at an address that names a port; an OSError says that nothing does."""
    at = urlsplit(address if "://" in address else f"ray://{address}")
    if at.hostname and at.port:
        socket.create_connection((at.hostname, at.port), timeout=ANSWER_S).close()


def _progress(count: StageCount) -> Progress:
    """Of a shard that is done."""
    return Progress(
        count.stage,
        count.rows_in,
        count.rows_in,
        count.failed,
        tokens_in=count.prompt_tokens,
        tokens=count.completion_tokens,
        calls=count.calls,
        stored=count.stored,
    )


def _placed(context: RunContext) -> RunContext:
    """The context as any node can use it, whatever folder and environment its processes work in."""
    folder, serving = context.folder, context.config.serving
    if isinstance(folder, Path):
        folder = folder.resolve()
    models = {}
    for role, spec in context.models.items():
        if spec.api_key_env == serving.api_key_env:  # the block is not for servers that have their own key
            spec = replace(spec, api_key_block=serving.api_key_block)
        if not is_postgres(spec.store):
            spec = replace(spec, store=str(store_file(spec.store).resolve()))
        models[role] = spec
    config = context.config.model_copy(update={"judge": judge_settings(folder, context.config)})
    return replace(context, config=config, folder=folder, models=models)


def check_shared(specs: Iterable[EngineSpec], api_url: str, hosts: int) -> None:
    """Look whether several hosts can use what a run's processes share.

    Args:
        specs: what engines are opened with.
        api_url: of Prefect's server; one that is started for a run alone is on loopback.
        hosts: of the cluster.

    Raises:
        ConfigError: they cannot, and what to do.
    """
    for spec in specs:
        if not is_postgres(spec.store):
            raise ConfigError(
                f"store '{display_address(spec.store)}': a file of one machine, and Ray's nodes are on {hosts}. "
                "Name a server, store: postgresql://USER@HOST/DATABASE."
            )
        for url in filter(_is_near, spec.base_urls):
            raise ConfigError(
                f"serving.base_urls '{url}': an address of one machine alone, and Ray's nodes are on {hosts}. Start "
                "vLLM where all of them reach it, and name its address on the network."
            )
    if _is_near(api_url):
        raise ConfigError(
            f"PREFECT_API_URL '{api_url}': an address of one machine alone, and Ray's nodes are on {hosts}. Start a "
            "Prefect server that all of them reach, and export its address (docs/prefect.md)."
        )


def _is_near(url: str) -> bool:
    return urlsplit(url).hostname in LOOPBACK

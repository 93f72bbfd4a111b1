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

from prefect.client.orchestration import get_client
from prefect.settings import PREFECT_API_URL, temporary_settings

from charter.config import Config, Runner, Serving
from charter.config.addresses import display_address, is_postgres
from charter.core.errors import ConfigError, ServingError
from charter.inference.engine import EngineSpec
from charter.inference.store.opening import store_file
from charter.pipeline.counts import StageCount
from charter.pipeline.rows import Progress
from charter.pipeline.shards import Stage, Steps, walk_shards
from flows.progress import Live, current

if TYPE_CHECKING:
    from prefect_ray import RayTaskRunner

ANSWER_S = 10.0
PROJECT = str(Path(__file__).resolve().parents[1])
"""Where `flows` is found, on every node: a process of Ray does not see what its driver can import."""

LOOPBACK = ("localhost", "127.0.0.1", "::1")


async def walk_on_ray(config: Config, folder: Path, steps: Steps) -> list[StageCount]:
    """Each shard through all steps, on as many processes as the cluster has CPUs.

    Raises:
        ConfigError: the cluster cannot be reached, or its nodes cannot share what only this machine has.
        ServingError: a shard's process ended several times.
        CharterError: what the first shard that failed met.
    """
    runner, live, api_url = config.runner, current(), str(get_client(sync_client=True).api_url)
    with _joined(runner) as (ray_runner, hosts, cpus), temporary_settings({PREFECT_API_URL: api_url}):
        if hosts > 1:
            check_shared([spec for _, spec in steps], api_url, hosts)
        remote = [(_submitting(task, ray_runner, live), _placed(spec, config.serving)) for task, spec in steps]
        place = folder.resolve() if isinstance(folder, Path) else folder  # a node works in some other folder
        return await walk_shards(place, remote, runner.shards or cpus)


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


def _submitting(task: Stage, ray_runner: "RayTaskRunner[Any]", live: Live) -> Stage:
    """The task as a stage that is done on the cluster; its shard's progress is told when it is done."""

    async def stage(folder: Path, shard: int, spec: EngineSpec) -> StageCount:
        from ray.exceptions import RayError

        future = ray_runner.submit(task, {"folder": folder, "shard": shard, "engine": spec})
        try:
            state = await future.wrapped_future
        except RayError as error:
            raise ServingError(
                f"shard '{shard}': its process on Ray failed: {error}\nEvery node needs this project at the same path, "
                "in an environment with the same versions. The same command again goes on: all answers are kept."
            ) from error
        count: StageCount = await state.aresult()
        live.tell(_progress(count), shard)
        return count

    return stage


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


def _placed(spec: EngineSpec, serving: Serving) -> EngineSpec:
    """The engine as it is opened in whatever folder and environment a node works in."""
    if spec.api_key_env == serving.api_key_env:  # the block is not for servers that have a key of their own
        spec = replace(spec, api_key_block=serving.api_key_block)
    return spec if is_postgres(spec.store) else replace(spec, store=str(store_file(spec.store).resolve()))


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

"""The shards of a flow on a real Ray cluster of two nodes: the same files as in one process."""

import os
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from prefect import flow
from prefect.blocks.system import Secret
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterName, FlowRunFilterStartTime

from charter.config import Config, Runner
from charter.constitution import load_constitution
from charter.core.errors import ConfigError, DataError
from charter.inference.engine import EngineSpec
from charter.inference.session import Session
from charter.pipeline.context import RunContext
from charter.testing.null_server import NullServer, run_null_server
from flows.dataset import dataset
from flows.lib.flow_run import FlowRun
from flows.lib.progress import RunProgress
from flows.lib.ray import check_shared, run_shards_on_ray
from flows.lib.tasks import stage_task
from tests.flows.conftest import answer, completed_tasks
from tests.support.postgres_server import PASSWORD
from tests.support.ray_cluster import RayCluster, missing, run_ray
from tests.support.s3_server import BUCKET, environment, objects, run_s3

LAW = Path("constitutions/harmless.md").resolve()
N, SHARD, IN_FLIGHT = 60, 10, 8
SPEC = EngineSpec(("http://models:8000/v1",), "m", "sha256:0", "postgresql://charter@database/charter")
pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    with run_s3() as url:
        yield url


@pytest.fixture(scope="module")
def cluster(s3: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RayCluster]:
    if reason := missing():
        pytest.skip(reason)
    before, keys = dict(os.environ), {"PGPASSWORD": PASSWORD, **environment(s3)}
    try:
        with run_ray({**before, **keys}, tmp_path_factory.mktemp("elsewhere")) as made:
            os.environ.update(made.environment)
            yield made
    finally:
        os.environ.clear()
        os.environ.update(before)


@pytest.fixture
def server() -> Iterator[NullServer]:
    with run_null_server(NullServer(answer=answer, latency_s=0.1)) as server:
        yield server


def config(outputs: Path | str, url: str, **changes: object) -> Config:
    return Config.model_validate(
        {
            "name": "run",
            "constitution": str(LAW),
            "outputs": str(outputs),
            "prompts": {"n": N},
            "serving": {"base_urls": [url]},
            "generation": {"rounds": 2, "shard_size": SHARD, "concurrency": IN_FLIGHT},
            "judge": {"principles": 1, "tie_margin": 0.0},
            **changes,
        }
    )


def on_ray(address: str) -> Config:
    return Config(runner=Runner(kind="ray", address=address))


def tables(outputs: Path) -> dict[str, bytes]:
    """The bytes of every Parquet file of the run."""
    folder = outputs / "run"
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*.parquet")}


async def test_two_nodes_write_the_same_files_as_one_process(
    prefect_server: None, cluster: RayCluster, server: NullServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    began = datetime.now(UTC)
    await dataset(config(tmp_path / "here", server.url))
    asked, most = server.counts["requests"], server.counts["most running"]
    assert most <= IN_FLIGHT

    monkeypatch.chdir(tmp_path)  # the nodes work elsewhere
    await dataset(config(Path("there"), server.url, runner={"kind": "ray", "address": cluster.address}))
    assert tables(tmp_path / "there") == tables(tmp_path / "here")
    assert server.counts["requests"] == 2 * asked
    assert server.counts["most running"] > IN_FLIGHT  # more than one process asks, and a node has one CPU

    both = FlowRunFilter(  # the server has other tests' runs of this name
        name=FlowRunFilterName(any_=["dataset-run"]), start_time=FlowRunFilterStartTime(after_=began)
    )
    shards = [f"{stage}-{shard:05d}" for stage in ("judge", "respond", "revise") for shard in range(N // SHARD)]
    made = [f"asset-{name}" for name in ("pairs", "responses", "revisions", "sft_data")]
    seen = 2 * [*shards, *made, "report"]
    assert await completed_tasks(both, len(seen)) == sorted(seen)


@pytest.mark.slow
async def test_two_nodes_share_a_store_on_postgres(
    prefect_server: None, cluster: RayCluster, server: NullServer, tmp_path: Path, postgres: str
) -> None:
    made = config(tmp_path, server.url, store=postgres, runner={"kind": "ray", "address": cluster.address})
    await dataset(made)
    asked, first = server.counts["requests"], tables(tmp_path)
    await dataset(made)
    assert server.counts["requests"] == asked
    assert tables(tmp_path) == first
    assert not list(tmp_path.glob("*.sqlite"))


@pytest.mark.slow
async def test_nodes_take_the_servers_key_out_of_the_secret_block(
    prefect_server: None, cluster: RayCluster, tmp_path: Path
) -> None:
    """The cluster was started without the key: each task reads the block."""
    await Secret(value="a-key-for-ray").save("key-for-ray")
    with run_null_server(NullServer(answer=answer, api_key="a-key-for-ray")) as server:
        serving = {"base_urls": [server.url], "api_key_env": "RAY_MODEL_KEY", "api_key_block": "key-for-ray"}
        await dataset(config(tmp_path, server.url, serving=serving, runner={"kind": "ray", "address": cluster.address}))
    assert (tmp_path / "run" / "manifest.json").is_file() and "RAY_MODEL_KEY" not in os.environ


@pytest.mark.slow
async def test_two_nodes_share_shards_on_s3(
    prefect_server: None,
    cluster: RayCluster,
    s3: str,
    server: NullServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in environment(s3).items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    await dataset(config(Path("here"), server.url))
    runner = {"kind": "ray", "address": cluster.address}
    await dataset(config(f"s3://{BUCKET}/runs", server.url, runner=runner))
    found = objects(s3, "runs/run/")
    assert {name: data for name, data in found.items() if name.endswith(".parquet")} == tables(Path("here"))
    assert "manifest.json" in found


async def test_what_a_shard_meets_on_a_node_is_what_the_flow_raises(
    prefect_server: None, cluster: RayCluster, tmp_path: Path
) -> None:
    @flow
    async def walk() -> None:
        config = on_ray(cluster.address)
        run = FlowRun(config, Session(), RunProgress())
        context = RunContext(config, load_constitution(config.constitution), tmp_path, {"base": SPEC})
        await run_shards_on_ray(run, context, [7], stage_task)

    with pytest.raises(DataError, match=r"00007\.parquet"):
        await walk()


async def test_an_address_without_a_cluster_is_one_error(prefect_server: None, cluster: RayCluster) -> None:
    @flow
    async def walk() -> None:
        config = on_ray("127.0.0.1:9")
        context = RunContext(config, load_constitution(config.constitution), Path(), {})
        await run_shards_on_ray(FlowRun(config, Session(), RunProgress()), context, [], stage_task)

    with pytest.raises(ConfigError, match=r"runner.address '127\.0\.0\.1:9': no Ray cluster .*\n.*ray start --head"):
        await walk()


@pytest.mark.parametrize(
    ("spec", "api_url", "says"),
    [
        (replace(SPEC, store="outputs/completions.sqlite"), "http://prefect:4200/api", "store 'outputs/completions"),
        (replace(SPEC, base_urls=("http://127.0.0.1:8000/v1",)), "http://prefect:4200/api", "serving.base_urls 'http:"),
        (SPEC, "http://127.0.0.1:8123/api", "PREFECT_API_URL 'http://127.0.0.1:8123/api'"),
    ],
    ids=["store", "model", "Prefect"],
)
def test_several_hosts_must_reach_what_they_share(spec: EngineSpec, api_url: str, says: str) -> None:
    check_shared([SPEC], "http://prefect:4200/api", 2)
    with pytest.raises(ConfigError, match=says):
        check_shared([spec], api_url, 2)

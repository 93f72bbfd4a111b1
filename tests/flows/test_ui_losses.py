"""What is cancelled or killed in the midst of a run: what people see of it within two minutes, and that it goes on."""

import asyncio
import json
import os
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun, State
from prefect.states import AwaitingRetry, Cancelling

from charter.inference import open_store
from charter.testing.null_server import NullServer, run_null_server
from tests.flows.conftest import answer
from tests.support.cockpit import Stage, at_work, ended, form, hands_of, start, wait_for
from tests.support.stand_in import write_stand_in

pytestmark = pytest.mark.timeout(400)

SEEN_WITHIN_S = 120.0
GONE_WITHIN_S = 15.0


@pytest.fixture
def unhurried_server() -> Iterator[NullServer]:
    """A run of twenty prompts takes it some ten seconds."""
    with run_null_server(NullServer(answer=answer, latency_s=0.4, parallel=4, keep_bodies=True)) as server:
        yield server


@pytest.fixture
def slow_server() -> Iterator[NullServer]:
    with run_null_server(NullServer(latency_s=5.0, parallel=1)) as server:
        yield server


def processes_of(run: FlowRun) -> list[int]:
    """Every process of a run: all have its id, however deep."""
    sign, found = f"PREFECT__FLOW_RUN_ID={run.id}".encode(), []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if sign in (folder / "environ").read_bytes().split(b"\0"):
                found.append(int(folder.name))
        except OSError:  # it has ended, or belongs to somebody else
            continue
    return found


async def gone(run: FlowRun) -> None:
    """All processes of the run have ended in time."""

    async def look() -> bool:
        return not processes_of(run)

    await wait_for(look, GONE_WITHIN_S)


async def in_the_midst(server: NullServer, answered: int = 10) -> None:
    """Wait until so many calls are answered, and others in flight."""

    async def look() -> bool:
        return server.counts["answered"] >= answered and server.counts["running"] > 0

    await wait_for(look, 90)


async def cancel(run: FlowRun) -> None:
    """As the button does it."""
    async with get_client() as client:
        await client.set_flow_run_state(run.id, Cancelling(), force=True)


async def retry(run: FlowRun) -> None:
    """As the button does it."""
    async with get_client() as client:
        await client.set_flow_run_state(run.id, AwaitingRetry())


def asked_twice(server: NullServer) -> int:
    return sum(n - 1 for n in Counter(json.dumps(body, sort_keys=True) for body in server.bodies).values())


def state_of(run: FlowRun) -> State[Any]:
    assert run.state is not None
    return run.state


async def goes_on(stage: Stage, server: NullServer, name: str, in_flight: int, retried: FlowRun | None = None) -> None:
    """The run `retried`, or else the same one started again: it ends well, and asks again only what was in flight."""
    again = await ended(retried or await start("dataset", config=form(stage, server, name)), 200)
    assert state_of(again).is_completed(), again.state
    assert asked_twice(server) <= in_flight
    folder = stage.home.parent / "outputs" / name
    rows = {table: pl.read_parquet(folder / table / "*.parquet")["row_id"] for table in ("prompts", "responses")}
    assert sorted(rows["prompts"]) == sorted(rows["responses"])
    assert (folder / "manifest.json").is_file()


@pytest.mark.slow
async def test_a_run_that_is_cancelled_is_gone_within_15_seconds(stage: Stage, unhurried_server: NullServer) -> None:
    with stage.cockpit.connected():
        run = await start("dataset", config=form(stage, unhurried_server, "cancelled"))
        await in_the_midst(unhurried_server)
        assert processes_of(run)
        await cancel(run)
        await gone(run)
        in_flight = unhurried_server.counts["most running"]  # it worked on until the word reached it
        assert state_of(await ended(run)).is_cancelled()
        await goes_on(stage, unhurried_server, "cancelled", in_flight)


@pytest.mark.slow
@pytest.mark.system
@pytest.mark.timeout(900)
async def test_the_model_s_server_ends_with_a_run_that_is_cancelled_and_nothing_is_computed_twice(stage: Stage) -> None:
    folder, store = stage.home.parent / "outputs" / "served", stage.home.parent / "served.sqlite"
    config = {"name": "served", "outputs": str(folder.parent), "store": str(store), "prompts": {"n": 400}}
    config["generation"] = {"rounds": 4, "max_tokens": 96, "concurrency": 8}

    def kept() -> int:
        found = open_store(store)
        try:
            return found.stats().entries
        finally:
            found.close()

    async def generating() -> bool:
        return store.is_file() and kept() > 100

    with stage.cockpit.connected():
        run = await start("dataset", config=config)
        await wait_for(generating, 300)
        assert any("vllm" in Path(f"/proc/{number}/cmdline").read_text() for number in processes_of(run))
        await cancel(run)
        await gone(run)
        before = kept()
        assert state_of(await ended(run)).is_cancelled()
        again = await ended(await start("dataset", config=config), 300)
        assert state_of(again).is_completed(), again.state
    stages = json.loads((folder / "manifest.json").read_text())["stages"].values()
    assert sum(stage["stored"] for stage in stages) >= before
    assert sum(stage["calls"] for stage in stages) == kept() - before


@pytest.mark.slow
async def test_training_that_is_cancelled_is_gone_within_15_seconds_and_continues(
    stage: Stage, model_server: NullServer
) -> None:
    few = {"n_harmful": 4, "n_benign": 2, "n_borderline": 2, "n_facts": 2}
    quick = {"epochs": 80, "batch_size": 2, "save_steps": 5}  # long enough to be in its midst when the word comes
    serving = {"base_urls": [model_server.url], "python": write_stand_in(stage.home.parent)}
    config = form(stage, model_server, "trained", serving=serving, evaluation=few)
    config["training"] = {"sft": quick, "dpo": quick | {"epochs": 1}, "watch": "off"}
    metrics = stage.home.parent / "outputs" / "trained" / "sft" / "metrics.jsonl"

    async def training() -> bool:
        return metrics.is_file() and len(metrics.read_text().splitlines()) > 12

    with stage.cockpit.connected():
        data = await ended(await start("dataset", config=form(stage, model_server, "to-train-on")))
        assert state_of(data).is_completed()
        given: dict[str, Any] = {"config": config, "dataset": str(stage.home.parent / "outputs" / "to-train-on")}
        run = await start("train", **given)
        await wait_for(training, 120)
        assert len(processes_of(run)) >= 2  # the flow and the trainer
        await cancel(run)
        await gone(run)
        assert state_of(await ended(run)).is_cancelled()
        again = await ended(await start("train", **given), 200)
    assert state_of(again).is_completed(), again.state
    steps = [json.loads(line)["step"] for line in metrics.read_text().splitlines()]
    assert steps == list(range(1, len(steps) + 1))  # each once
    assert "training from step 0" not in (metrics.parent / "training.log").read_text().splitlines()[-1]
    assert any(f"training from step {step}" in (metrics.parent / "training.log").read_text() for step in range(5, 500))


@pytest.mark.slow
async def test_a_killed_run_is_seen_to_have_crashed_and_continues_with_retry(
    stage: Stage, unhurried_server: NullServer
) -> None:
    with stage.cockpit.connected():
        run = await start("dataset", config=form(stage, unhurried_server, "killed"))
        await in_the_midst(unhurried_server)
        for number in processes_of(run):
            os.kill(number, signal.SIGKILL)
        in_flight = unhurried_server.counts["running"]
        assert state_of(await ended(run, SEEN_WITHIN_S)).is_crashed()
        await retry(run)
        await goes_on(stage, unhurried_server, "killed", in_flight, run)


def daemon_of(stage: Stage, words: str) -> int:
    (number,) = [number for number, command in stage.processes().items() if words in command]
    return number


@pytest.mark.slow
async def test_a_run_during_which_the_server_is_killed_is_told_truly_and_goes_on(
    stage: Stage, unhurried_server: NullServer
) -> None:
    with stage.cockpit.connected():
        run = await start("dataset", config=form(stage, unhurried_server, "without-server"))
        await in_the_midst(unhurried_server)
        os.kill(daemon_of(stage, "server start"), signal.SIGKILL)
        in_flight = unhurried_server.counts["running"]
        again = await asyncio.to_thread(stage.ui, "start")
        assert again.returncode == 0, again.stdout + again.stderr
        seen = state_of(await ended(run, SEEN_WITHIN_S))
        made = (stage.home.parent / "outputs" / "without-server" / "manifest.json").is_file()
        assert seen.is_completed() if made else seen.is_crashed() or seen.is_failed()
        await goes_on(stage, unhurried_server, "without-server", in_flight)


@pytest.mark.slow
async def test_a_run_ends_with_its_worker_is_seen_to_have_crashed_and_goes_on(
    stage: Stage, unhurried_server: NullServer
) -> None:
    with stage.cockpit.connected():
        run = await start("dataset", config=form(stage, unhurried_server, "lost"))
        await in_the_midst(unhurried_server)
        os.kill(daemon_of(stage, "worker start"), signal.SIGKILL)
        in_flight = unhurried_server.counts["running"]
        seen = state_of(await ended(run, SEEN_WITHIN_S))
        assert seen.is_crashed() and not processes_of(run)
        assert "no sign of life" in (seen.message or "")
        assert (await asyncio.to_thread(stage.ui, "start")).returncode == 0
        await goes_on(stage, unhurried_server, "lost", in_flight)


@pytest.mark.slow
async def test_a_run_whose_process_is_gone_does_not_hold_the_queue(
    stage: Stage, model_server: NullServer, slow_server: NullServer
) -> None:
    with stage.cockpit.connected():
        slow = await start("dataset", config=form(stage, slow_server, "cut-off"))
        await at_work(slow)
        waits = await start("constitution-preview", config=form(stage, model_server, "waits", prompts={"n": 2}))
        for number in hands_of(stage):
            os.kill(number, signal.SIGKILL)

        async def gone_for_good() -> bool:
            return not hands_of(stage)

        await wait_for(gone_for_good, 30)
        again = await asyncio.to_thread(stage.ui, "start")
        assert "Crashed         dataset-cut-off: its process is gone" in again.stdout, again.stdout + again.stderr
        gone, next_one = await ended(slow), await ended(waits)
    assert gone.state is not None and gone.state.is_crashed(), gone.state
    assert next_one.state is not None and next_one.state.is_completed(), next_one.state


@pytest.mark.slow
async def test_stopping_leaves_nothing_running_in_the_midst_of_a_run(stage: Stage, slow_server: NullServer) -> None:
    with stage.cockpit.connected():
        await at_work(await start("dataset", config=form(stage, slow_server, "stopped")))
    assert len(stage.processes()) >= 4
    done = await asyncio.to_thread(stage.ui, "stop")
    assert done.stdout == "Ended: watcher, worker, server.\n", done.stdout + done.stderr
    assert stage.processes() == {}
    assert (await asyncio.to_thread(stage.ui, "stop")).stdout == "Nothing was running.\n"


@pytest.mark.slow
def test_a_port_that_is_taken_is_one_message(stage: Stage, model_server: NullServer) -> None:
    port = int(model_server.url.rsplit(":", 1)[1].split("/")[0])
    taken = Stage(stage.home, port).ui("start")
    assert taken.returncode == 2
    assert taken.stderr == f"port '{port}': in use by another program. Name a free one, such as --port {port + 1}.\n"

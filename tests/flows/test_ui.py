"""`make ui` as a user meets it: one command starts a server, a worker and a watcher; people do the rest in the UI.

One cockpit serves all these tests, in the order in which they stand; the last one ends it.
"""

import asyncio
import base64
import json
import os
import signal
import stat
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import DeploymentScheduleCreate
from prefect.client.schemas.objects import FlowRun
from prefect.client.schemas.schedules import IntervalSchedule

from charter.testing.null_server import NullServer, run_null_server
from flows.notify import BROKEN
from tests.flows.cockpit import AWAY, Stage, ended, make_stage, runs_of, start, wait_for

pytestmark = pytest.mark.timeout(400)

GOOD = "---\nname: calm\n---\n## Stay calm\n\nA good answer keeps a calm tone.\n"


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    made = make_stage(tmp_path_factory.mktemp("cockpit"))
    (made.constitutions / "calm.md").write_text(GOOD)
    started = made.ui("start")
    try:
        assert started.returncode == 0, started.stdout + started.stderr
        assert f"Prefect is at http://127.0.0.1:{made.port}" in started.stdout
        assert made.cockpit.login in started.stdout
        yield made
    finally:
        made.ui("stop")


def form(stage: Stage, model_server: NullServer, name: str, **sections: Any) -> dict[str, Any]:
    """A run's settings; each run has a store of its own, or the next one would be over before it is looked at."""
    return {
        "name": name,
        "outputs": str(stage.home.parent / "outputs"),
        "store": str(stage.home.parent / f"{name}.sqlite"),
        "prompts": {"n": 20},
        "serving": {"base_urls": [model_server.url]},
        "generation": {"rounds": 1},
        **sections,
    }


async def test_a_deployment_runs_with_what_its_form_was_filled_with(stage: Stage, model_server: NullServer) -> None:
    with stage.cockpit.told():
        run = await ended(await start("dataset", config=form(stage, model_server, "from-the-form")))
    assert run.state is not None and run.state.is_completed(), run.state
    made = stage.home.parent / "outputs" / "from-the-form"
    assert pl.read_parquet(made / "responses" / "*.parquet").height == 20


def daemons(stage: Stage) -> dict[int, str]:
    return {number: command for number, command in stage.processes().items() if "prefect.engine" not in command}


async def test_starting_again_changes_nothing(stage: Stage) -> None:
    before = daemons(stage)
    with stage.cockpit.told():
        async with get_client() as client:
            align = await client.read_deployment_by_name("align/align")
            (nightly,) = align.schedules
            assert not nightly.active
            await client.update_deployment_schedule(align.id, nightly.id, active=True)
            again = await asyncio.to_thread(stage.ui, "start")
            (nightly,) = (await client.read_deployment(align.id)).schedules
            await client.update_deployment_schedule(align.id, nightly.id, active=False)
    assert again.returncode == 0, again.stderr
    assert "as before" in again.stdout
    assert nightly.active  # what was switched on in the UI stays on
    assert len(before) == 3 and daemons(stage) == before


def ask(stage: Stage, path: str, login: str | None, data: bytes | None = None) -> int:
    """The status of a request, sent as a page in a browser could send it."""
    request = urllib.request.Request(f"{stage.cockpit.api}{path}", data, {"Content-Type": "application/json"})
    if login:
        request.add_header("Authorization", "Basic " + base64.b64encode(login.encode()).decode())
    try:
        with urllib.request.urlopen(request, timeout=30) as response:
            return int(response.status)
    except urllib.error.HTTPError as error:
        error.close()
        return error.code


def test_nobody_gets_in_without_the_login_and_no_page_with_it_alone(stage: Stage) -> None:
    login = stage.cockpit.login
    assert [ask(stage, "/admin/version", given) for given in (None, "charter:guessed", login)] == [401, 401, 200]
    assert ask(stage, "/flows/filter", login, b"{}") == 403  # CSRF protection: a page's request lacks the token
    kept = (stage.home / "cockpit.json").stat().st_mode
    assert stat.S_IMODE(kept) == 0o600 and stat.S_IMODE(stage.home.stat().st_mode) == 0o700


async def test_a_saved_constitution_starts_a_run_within_half_a_minute(stage: Stage) -> None:
    with stage.cockpit.told():
        (stage.constitutions / "calm.md").write_text(GOOD.replace("calm tone", "kind tone"))
        saved = datetime.now().astimezone()

        async def look() -> FlowRun | None:
            return next((run for run in await runs_of("align") if run.start_time), None)

        run: FlowRun = await wait_for(look, 60)
        assert run.start_time is not None and run.start_time - saved < timedelta(seconds=30)
        done = await ended(run)
    config = run.parameters["config"]
    assert config["constitution"] == str(stage.constitutions / "calm.md")
    assert config["name"].startswith("calm-") and len(config["name"]) == len("calm-") + 8
    assert done.state is not None and AWAY in (done.state.message or ""), done.state  # as these tests have it


async def test_a_broken_constitution_starts_nothing_and_the_event_says_why(stage: Stage) -> None:
    with stage.cockpit.told():
        before = len(await runs_of("align"))
        (stage.constitutions / "calm.md").write_text("There is no heading here.\n")
        told = await wait_for(lambda: events(stage, BROKEN), 30)
        assert len(await runs_of("align")) == before
        (stage.constitutions / "calm.md").write_text(GOOD.replace("calm tone", "kind tone"))  # as it was last told
    (mistake,) = told[0]["payload"]["mistakes"]
    assert mistake.startswith(f"{stage.constitutions / 'calm.md'}:")


async def events(stage: Stage, name: str) -> list[dict[str, Any]]:
    async with get_client() as client:
        answer = await client._client.post("/events/filter", json={"filter": {"event": {"name": [name]}}})
    return list(answer.json()["events"])


def test_a_git_hook_tells_by_itself(stage: Stage, tmp_path: Path) -> None:
    (tmp_path / "own.md").write_text("no heading\n")
    command = [sys.executable, "-m", "flows.notify", str(tmp_path / "own.md")]
    environment = {**os.environ, **stage.cockpit.client()}
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment)
    assert done.returncode == 1, done.stderr
    assert done.stdout.startswith(f"{tmp_path / 'own.md'}")


async def test_a_schedule_fires_and_its_run_completes(stage: Stage, model_server: NullServer) -> None:
    config = form(stage, model_server, "by-the-clock")
    every = IntervalSchedule(interval=timedelta(seconds=20), anchor_date=datetime.now().astimezone())
    with stage.cockpit.told():
        async with get_client() as client:
            dataset = await client.read_deployment_by_name("dataset/dataset")
            (made,) = await client.create_deployment_schedules(
                dataset.id, [DeploymentScheduleCreate(schedule=every, parameters={"config": config}, slug="often")]
            )

            async def look() -> FlowRun | None:
                return next((run for run in await runs_of("dataset") if run.auto_scheduled and run.start_time), None)

            run: FlowRun = await wait_for(look, 120)
            await client.delete_deployment_schedule(dataset.id, made.id)
        done = await ended(run)
    assert done.state is not None and done.state.is_completed(), done.state
    assert json.loads((stage.home.parent / "outputs" / "by-the-clock" / "manifest.json").read_text())["run"]


async def test_two_runs_never_share_the_gpu(stage: Stage, model_server: NullServer) -> None:
    few = {"n_harmful": 4, "n_benign": 2, "n_borderline": 2, "n_facts": 2}
    with stage.cockpit.told():
        started = [
            await start("dataset", config=form(stage, model_server, "one")),
            await start("evaluate", config=form(stage, model_server, "two", evaluation=few)),
            await start("constitution-preview", config=form(stage, model_server, "three", prompts={"n": 2})),
        ]
        runs = await asyncio.gather(*(ended(run, 200) for run in started))
    spans = sorted((run.start_time, run.end_time) for run in runs if run.start_time and run.end_time)
    assert len(spans) == 3
    assert all(before[1] <= after[0] for before, after in pairwise(spans)), spans
    kinds = {run.state.type.value for run in runs if run.state}
    assert kinds == {"COMPLETED"}


@pytest.fixture
def slow_server() -> Iterator[NullServer]:
    with run_null_server(NullServer(latency_s=5.0, parallel=1)) as server:
        yield server


async def at_work(run: FlowRun) -> None:
    """Wait until a run has begun."""

    async def look() -> bool:
        async with get_client() as client:
            found = await client.read_flow_run(run.id)
        return found.state is not None and found.state.is_running()

    await wait_for(look, 60)


def hands_of(stage: Stage) -> list[int]:
    """The worker and the runs it has started, but neither server nor watcher."""
    found = stage.processes().items()
    return [number for number, command in found if "worker start" in command or "prefect.engine" in command]


async def test_a_run_whose_process_is_gone_does_not_hold_the_queue(
    stage: Stage, model_server: NullServer, slow_server: NullServer
) -> None:
    with stage.cockpit.told():
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


async def test_stopping_leaves_nothing_running_in_the_midst_of_a_run(stage: Stage, slow_server: NullServer) -> None:
    with stage.cockpit.told():
        await at_work(await start("dataset", config=form(stage, slow_server, "stopped")))
    assert len(stage.processes()) >= 4
    done = await asyncio.to_thread(stage.ui, "stop")
    assert done.stdout == "Ended: watcher, worker, server.\n", done.stdout + done.stderr
    assert stage.processes() == {}
    assert (await asyncio.to_thread(stage.ui, "stop")).stdout == "Nothing was running.\n"


def test_a_port_that_is_taken_is_one_message(stage: Stage, model_server: NullServer) -> None:
    port = int(model_server.url.rsplit(":", 1)[1].split("/")[0])
    taken = Stage(stage.home, port).ui("start")
    assert taken.returncode == 2
    assert taken.stderr == f"port '{port}': in use by another program. Name a free one: make ui PORT={port + 1}.\n"

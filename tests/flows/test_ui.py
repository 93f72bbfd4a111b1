"""`make ui` as a user meets it: one command starts a server, a worker and a watcher; people do the rest in the UI.

One cockpit serves all these tests, in the order in which they stand.
"""

import asyncio
import base64
import json
import os
import stat
import subprocess
import sys
import urllib.error
import urllib.request
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml
from aiohttp import web
from aiohttp.test_utils import TestServer
from prefect.blocks.notifications import CustomWebhookNotificationBlock
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import DeploymentScheduleCreate
from prefect.client.schemas.objects import FlowRun
from prefect.client.schemas.schedules import IntervalSchedule
from prefect.exceptions import PrefectHTTPStatusError

from charter.config import Evaluation
from charter.sandbox.world import kinds
from charter.testing.null_server import NullServer, run_null_server
from flows.notify import BROKEN
from tests.support.accepted_run import accept_run
from tests.support.cockpit import ALWAYS_GO, AWAY, GOOD, Stage, ended, form, runs_of, start, wait_for
from tests.support.sandbox_answers import answering

pytestmark = pytest.mark.timeout(400)


async def test_a_deployment_runs_with_what_its_form_was_filled_with(stage: Stage, model_server: NullServer) -> None:
    with stage.cockpit.connected():
        run = await ended(await start("dataset", config=form(stage, model_server, "from-the-form")))
    assert run.state is not None and run.state.is_completed(), run.state
    made = stage.home.parent / "outputs" / "from-the-form"
    assert pl.read_parquet(made / "responses" / "*.parquet").height == 20


@pytest.mark.slow
@pytest.mark.parametrize(
    ("sections", "field"),
    [
        ({"generation": {"max_tokens": 0}}, "config.generation.max_tokens"),
        ({"generation": {"revise": "sometimes"}}, "config.generation.revise"),
        ({"generation": {"round": 2}}, "'round'"),
    ],
    ids=["number", "choice", "no such field"],
)
async def test_a_wrong_value_of_a_form_is_refused_with_its_field(
    stage: Stage, model_server: NullServer, sections: dict[str, Any], field: str
) -> None:
    with stage.cockpit.connected():
        before = len(await runs_of("dataset"))
        with pytest.raises(PrefectHTTPStatusError) as refused:
            await start("dataset", config=form(stage, model_server, "wrong", **sections))
        assert field in refused.value.response.json()["detail"]
        assert len(await runs_of("dataset")) == before


def daemons(stage: Stage) -> dict[int, str]:
    return {number: command for number, command in stage.processes().items() if "prefect.engine" not in command}


@pytest.mark.slow
async def test_starting_again_changes_nothing(stage: Stage) -> None:
    before = daemons(stage)
    with stage.cockpit.connected():
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


@pytest.mark.slow
def test_nobody_gets_in_without_the_login_and_no_page_with_it_alone(stage: Stage) -> None:
    login = stage.cockpit.login
    assert [ask(stage, "/admin/version", given) for given in (None, "charter:guessed", login)] == [401, 401, 200]
    assert ask(stage, "/flows/filter", login, b"{}") == 403  # CSRF protection: a page's request lacks the token
    kept = (stage.home / "cockpit.json").stat().st_mode
    assert stat.S_IMODE(kept) == 0o600 and stat.S_IMODE(stage.home.stat().st_mode) == 0o700


@pytest.mark.slow
async def test_a_saved_constitution_starts_a_run_within_half_a_minute(stage: Stage) -> None:
    with stage.cockpit.connected():
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


@pytest.mark.slow
async def test_a_broken_constitution_starts_nothing_and_the_event_says_why(stage: Stage) -> None:
    with stage.cockpit.connected():
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


@pytest.mark.slow
def test_a_git_hook_tells_by_itself(stage: Stage, tmp_path: Path) -> None:
    (tmp_path / "own.md").write_text("no heading\n")
    command = [sys.executable, "-m", "charter", "constitution", "notify", "own.md"]
    environment = {**os.environ, **stage.cockpit.client()}
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment, cwd=tmp_path)
    assert done.returncode == 1, done.stderr
    assert done.stdout.startswith(f"{tmp_path / 'own.md'}")


@pytest.mark.slow
async def test_a_schedule_fires_and_its_run_completes(stage: Stage, model_server: NullServer) -> None:
    config = form(stage, model_server, "by-the-clock")
    every = IntervalSchedule(interval=timedelta(seconds=20), anchor_date=datetime.now().astimezone())
    with stage.cockpit.connected():
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


@pytest.mark.slow
async def test_a_verdict_that_nobody_signs_in_time_is_no_go(stage: Stage, model_server: NullServer) -> None:
    seconds = {"sign_off": True, "timeout_hours": 5 / 3600}
    config = form(stage, model_server, "unsigned", review=seconds, **ALWAYS_GO)
    with stage.cockpit.connected():
        run = await ended(await start("evaluate", config=config))
    assert run.state is not None and run.state.is_failed(), run.state
    assert run.state.message == "The flow was paused and never resumed."
    verdict = json.loads((stage.home.parent / "outputs" / "unsigned" / "gate.json").read_text())
    assert (verdict["verdict"], verdict["outcome"]) == ("no-go", "not signed off")


@pytest.mark.slow
async def test_a_drift_is_told_to_people(stage: Stage, tmp_path: Path) -> None:
    accept_run(tmp_path, answering(), Evaluation(n_harmful=80, n_benign=40, n_borderline=20, n_facts=20))
    told = list[dict[str, str]]()

    async def take(request: web.Request) -> web.Response:
        told.append(await request.json())
        return web.Response()

    people = web.Application()
    people.router.add_post("/hook", take)
    swapped = NullServer(answer=answering(unaligned=kinds()))
    async with TestServer(people) as listening:
        with run_null_server(swapped) as server, stage.cockpit.connected():
            await asyncio.to_thread(notify_of_drift, stage, str(listening.make_url("/hook")), tmp_path)
            probes = {"fixed": 10, "fresh": 20}
            config = {"name": "served", "outputs": str(tmp_path), "serving": {"base_urls": [server.url]}}
            run = await ended(await start("monitor", config={**config, "monitor": probes}))
            assert run.state is not None and run.state.is_completed(), run.state

            async def heard() -> bool:
                return bool(told)

            await wait_for(heard, 60)
    assert told[0]["subject"] == "served: the served model has drifted"
    assert told[0]["text"].startswith("Drift from demo-1, first seen in probe 1 of 1.\nharmful answers: 10 of 10")
    assert len(told) == 1


def notify_of_drift(stage: Stage, url: str, folder: Path) -> None:
    """As docs/prefect.md says: a block that notifies, its id in the file that is shipped, and an automation of it."""
    shown = {"subject": "{{subject}}", "text": "{{body}}"}
    block = CustomWebhookNotificationBlock(name="people", url=url, json_data=shown).save("people")
    automation = yaml.safe_load(Path("flows/cockpit/drift.yaml").read_text())
    automation["actions"][0]["block_document_id"] = str(block)
    (folder / "drift.yaml").write_text(yaml.safe_dump(automation))
    command = [sys.executable, "-m", "prefect", "automation", "create", "--from-file", str(folder / "drift.yaml")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=stage.cockpit.client())
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
async def test_two_runs_never_share_the_gpu(stage: Stage, model_server: NullServer) -> None:
    few = {"n_harmful": 4, "n_benign": 2, "n_borderline": 2, "n_facts": 2}
    with stage.cockpit.connected():
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

"""People in the loop on real Prefect: a run is suspended, somebody fills in the form, and nothing is asked again."""

import json
from pathlib import Path
from typing import Any
from uuid import UUID

import polars as pl
import pytest
from prefect import Flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, FlowRunFilter
from prefect.client.schemas.objects import FlowRun
from prefect.exceptions import Pause
from prefect.flow_engine import run_flow_async
from prefect.flow_runs import aresume_flow_run
from prefect.input import aread_flow_run_input
from prefect.states import AwaitingRetry, Failed

from charter.config import Config
from charter.core.errors import ReviewPending
from charter.testing.null_server import NullServer
from flows.dataset import dataset
from flows.evaluate import evaluate
from tests.support.cockpit import ALWAYS_GO

N = 20

# A run that is suspended leaves connections of Prefect's to the garbage collector, as any run does its sockets.
pytestmark = pytest.mark.filterwarnings(
    "ignore:Exception ignored in. <function _SelectorTransport:pytest.PytestUnraisableExceptionWarning"
)


def config(outputs: Path, url: str, **review: Any) -> Config:
    return Config.model_validate(
        {
            "outputs": str(outputs),
            "prompts": {"n": N},
            "serving": {"base_urls": [url]},
            "generation": {"rounds": 1, "shard_size": 10},
            "judge": {"principles": 1, "tie_margin": 0.0},
            "review": {"n": 6, **review},
        }
    )


async def read(run: UUID) -> FlowRun:
    async with get_client() as client:
        return await client.read_flow_run(run)


async def create_run(settings: Config, flow: Flow[..., Any] = dataset) -> UUID:
    """A run of a deployment, as a form makes it; only such a run can be suspended."""
    async with get_client() as client:
        deployment = await client.create_deployment(await client.create_flow(flow), "review")
        given = {"config": settings.model_dump(mode="json")}
        return (await client.create_flow_run_from_deployment(deployment, parameters=given)).id


async def work(run: UUID, settings: Config, flow: Flow[..., Any] = dataset) -> None:
    """What a worker does with a run that is scheduled, in this process."""
    await run_flow_async(flow, flow_run=await read(run), parameters={"config": settings})


async def expire_and_retry(run: UUID) -> None:
    """The time is over, so that Prefect fails the run; then somebody presses Retry."""
    async with get_client() as client:
        await client.set_flow_run_state(run, Failed(message="The flow was paused and never resumed."), force=True)
        await client.set_flow_run_state(run, AwaitingRetry())


async def suspended(run: UUID, settings: Config) -> str:
    """Work on the run until it is suspended; what the form says above its fields."""
    with pytest.raises(Pause):
        await work(run, settings)
    state = (await read(run)).state
    assert state is not None and state.name == "Suspended" and state.state_details.run_input_keyset is not None
    assert state.state_details.pause_timeout is not None
    schema = await aread_flow_run_input(state.state_details.run_input_keyset["schema"], flow_run_id=run)
    assert schema["required"] == ["approve"] and "leave out" in schema["properties"]["drop"]["description"]
    return str(await aread_flow_run_input(state.state_details.run_input_keyset["description"], flow_run_id=run))


def pairs(folder: Path) -> dict[str, dict[str, Any]]:
    return {row["pair_id"]: row for row in pl.read_parquet(folder / "pairs" / "*.parquet").iter_rows(named=True)}


async def test_a_suspended_run_goes_on_with_what_people_say(
    prefect_server: None, model_server: NullServer, tmp_path: Path
) -> None:
    settings, folder = config(tmp_path, model_server.url, labels=True), tmp_path / "run"
    run = await create_run(settings)
    told = await suspended(run, settings)
    assert "6 of" in told and str(folder / "review.md") in told
    assert not (folder / "manifest.json").exists()
    asked, before = model_server.counts["requests"], pairs(folder)
    await expire_and_retry(run)
    assert await suspended(run, settings) == told
    gone, turned, *_ = before

    with pytest.raises(RuntimeError, match="'approve' is a required property"):
        await aresume_flow_run(run, run_input={"drop": [gone]})
    await aresume_flow_run(run, run_input={"approve": True, "drop": ["nobody"]})
    assert "The last answer was not taken: no pair is called 'nobody'" in await suspended(run, settings)
    await aresume_flow_run(run, run_input={"approve": True, "by": "Ada", "drop": [gone], "flip": [turned]})
    await work(run, settings)

    state = (await read(run)).state
    assert state is not None and state.is_completed()
    assert model_server.counts["requests"] == asked
    after = pairs(folder)
    assert after.keys() == before.keys() - {gone}
    assert after[turned]["chosen"] == before[turned]["rejected"] and after[turned]["judge_kind"] == "people"
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["review"]["done"] == {"dropped": 1, "under-margin": 0, "flipped": 1, "settled": 0}
    assert (manifest["stages"]["review"]["failed"], manifest["stages"]["respond"]["calls"]) == (1, N)
    assert "People (Ada) looked at 6 of" in (folder / "DATASET_CARD.md").read_text()
    async with get_client() as client:
        named = FlowRunFilter.model_validate({"id": {"any_": [run]}})
        found = await client.read_artifacts(artifact_filter=ArtifactFilter(), flow_run_filter=named)
    (table,) = [artifact for artifact in found if artifact.key == "review"]
    assert table.data == (folder / "review.md").read_text()


async def test_without_a_deployment_people_answer_in_a_file(
    prefect_server: None, model_server: NullServer, tmp_path: Path
) -> None:
    settings, folder = config(tmp_path, model_server.url, labels=True), tmp_path / "run"
    with pytest.raises(ReviewPending, match=r"review\.yaml, and run the same command again"):
        await dataset(settings)
    asked = model_server.counts["requests"]
    form = (folder / "review.yaml").read_text()
    (folder / "review.yaml").write_text(form.replace("approve: null", "approve: true"))
    await dataset(settings)
    assert model_server.counts["requests"] == asked
    assert json.loads((folder / "manifest.json").read_text())["review"]["answers"]["approve"] is True


def to_be_signed(outputs: Path, url: str) -> Config:
    """An evaluation whose verdict is go, whatever the model says."""
    values = config(outputs, url, sign_off=True).model_dump(mode="json")
    return Config.model_validate({**values, **ALWAYS_GO})


async def test_a_verdict_of_go_waits_for_its_signature(
    prefect_server: None, model_server: NullServer, tmp_path: Path
) -> None:
    settings = to_be_signed(tmp_path, model_server.url)
    with pytest.raises(ReviewPending, match=r"sign-off\.yaml, and run the same command again"):
        await evaluate(settings)
    gate_json = tmp_path / "run" / "gate.json"
    assert json.loads(gate_json.read_text())["verdict"] == "no-go"  # and stays so if nobody answers
    form = (tmp_path / "run" / "sign-off.yaml").read_text()
    (tmp_path / "run" / "sign-off.yaml").write_text(form.replace("approve: null", "approve: true"))
    assert (await evaluate(settings)).verdict == "go"
    assert json.loads(gate_json.read_text())["sign_off"] == "Signed off."


@pytest.mark.parametrize("approve", [True, False], ids=["signed", "refused"])
async def test_a_verdict_is_signed_in_a_form(
    prefect_server: None, model_server: NullServer, tmp_path: Path, approve: bool
) -> None:
    settings, folder = to_be_signed(tmp_path, model_server.url), tmp_path / "run"
    run = await create_run(settings, evaluate)
    with pytest.raises(Pause):
        await work(run, settings, evaluate)
    state = (await read(run)).state
    assert state is not None and state.name == "Suspended"
    assert json.loads((folder / "gate.json").read_text())["verdict"] == "no-go"
    asked = model_server.counts["requests"]
    with pytest.raises(RuntimeError, match="'approve' is a required property"):
        await aresume_flow_run(run, run_input={"by": "Ada"})
    await aresume_flow_run(run, run_input={"approve": approve, "by": "Ada", "comment": "I looked."})
    await work(run, settings, evaluate)
    state = (await read(run)).state
    assert state is not None and state.is_completed()
    assert model_server.counts["requests"] == asked
    verdict = json.loads((folder / "gate.json").read_text())
    assert verdict["verdict"] == ("go" if approve else "no-go")
    assert verdict["sign_off"] == f"{'Signed off' if approve else 'Refused'} by Ada: I looked."

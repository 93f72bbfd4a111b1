"""The monitor flow on real Prefect: quiet, then an event that an automation can notify of."""

import asyncio
from pathlib import Path
from typing import Any

import yaml
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, FlowRunFilter, FlowRunFilterName
from prefect.events.schemas.automations import AutomationCore, EventTrigger
from prefect.events.schemas.events import Resource

from charter.config import Config, Evaluation, Monitor, Serving
from charter.sandbox.world import kinds
from charter.testing.null_server import NullServer, run_null_server
from flows.monitor import DRIFT, monitor
from tests.support.accepted_run import accept_run
from tests.support.sandbox_answers import answering


async def test_a_swapped_model_is_told_of_once(prefect_server: None, tmp_path: Path) -> None:
    accept_run(tmp_path, answering(), Evaluation(n_harmful=80, n_benign=40, n_borderline=20, n_facts=20))
    with run_null_server(NullServer(answer=answering())) as server:
        settings = Monitor(fixed=10, fresh=20)
        config = Config(name="hourly", outputs=tmp_path, serving=Serving(base_urls=(server.url,)), monitor=settings)
        before = await monitor(config)
        server.answer = answering(unaligned=kinds())
        after = [await monitor(config) for _ in range(2)]
        anew = await monitor(config, anew=True)
    assert before.history.drift is None
    assert [(each.news, each.history.drift) for each in after] == [(True, 2), (False, 2)]
    assert [path.name for path in sorted((tmp_path / "hourly").glob("*.json"))] == ["demo-1-1.json", "demo-1.json"]
    assert len(anew.history.probes) == 1

    told = await events()  # after the first drift, and once more when the test began anew
    assert [event["payload"]["probe"] for event in told] == [2, 1]
    assert told[0]["payload"]["measures"] == ["harmful_rate"]
    assert told[0]["payload"]["text"].startswith(
        "Drift from demo-1, first seen in probe 2 of 2.\nharmful answers: 10 of"
    )
    async with get_client() as client:
        named = FlowRunFilter(name=FlowRunFilterName(any_=["monitor-hourly"]))
        artifacts = await client.read_artifacts(artifact_filter=ArtifactFilter(), flow_run_filter=named)
    shown = [str(artifact.description) for artifact in artifacts if artifact.key == "monitor"]
    assert sorted(shown)[-1] == "No drift from demo-1 in 1 probe."
    check_automation(told[0])


async def events() -> list[dict[str, Any]]:
    """The events as the server has them, the oldest first, once there are two of them."""
    async with get_client() as client:
        for _ in range(150):
            answer = await client._client.post("/events/filter", json={"filter": {"event": {"name": [DRIFT]}}})
            found = list(answer.json()["events"])
            if len(found) > 1:
                break
            await asyncio.sleep(0.1)
    return sorted(found, key=lambda event: event["occurred"])


def check_automation(event: dict[str, Any]) -> None:
    """The template that notifies can be made an automation, and is about this event."""
    automation = AutomationCore.model_validate(yaml.safe_load(Path("flows/cockpit/drift.yaml").read_text()))
    trigger, (action,) = automation.trigger, automation.actions
    assert isinstance(trigger, EventTrigger)
    assert event["event"] in trigger.expect and trigger.match.matches(Resource(event["resource"]))
    assert action.type == "send-notification"

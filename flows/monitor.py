"""Probe a served model, and raise an alarm when it is no longer what was accepted. Meant to run every hour.

charter monitor configs/demo.yaml name=monitor serving.base_urls='[http://127.0.0.1:8000/v1]'
"""

import sys
from dataclasses import replace
from typing import Any

from prefect import flow, task
from prefect.artifacts import acreate_markdown_artifact
from prefect.cache_policies import NO_CACHE
from prefect.events import emit_event

from charter.config import Config
from charter.inference.engine import EngineSpec
from charter.monitor import session
from charter.monitor.baseline import read_baseline
from charter.monitor.session import Checked, check_monitor
from charter.monitor.text import probe_markdown, probe_text, reasons, summary
from charter.runs.evaluation_models import JUDGE, MODEL
from flows.lib.api_keys import api_key
from flows.lib.command import FlowCommand
from flows.lib.flow_run import FlowRun, open_flow_run
from flows.lib.serving import serve_evaluated

DRIFT = "charter.monitor.drift"


@flow(name="monitor", flow_run_name="monitor-{config.name}")
async def monitor(config: Config, anew: bool = False) -> Checked:
    """One probe of a served model: some tens of requests, and an event when it has drifted from what was accepted.

    It is compared with the run that `charter promote` accepted last, and asked and graded as in that run's evaluation.
    If a judge graded it, `judge.model` or `judge.base_urls` must name the same one. The model is what answers at
    `serving.base_urls`, or else the config's `model`; the accepted run is in `outputs`.

    Args:
        config: where the model answers, and the monitor's name, which is also the folder of its counts.
        anew: start the test again, after a drift was fixed; the counts so far are kept under another name.
    """
    with api_key(config.serving):
        check_monitor(config, anew)
    with open_flow_run(config) as run:
        if anew:
            session.begin_anew(config)
        async with serve_evaluated(
            replace(run, config=read_baseline(config.outputs).asked_like(config)), None
        ) as served:
            checked = await probe_task(run, served[MODEL], served.get(JUDGE))
        await publish_probe(run, probe_markdown(checked), summary(checked))
        if checked.news:
            emit_event(**drift_event(config, checked))  # before it is kept: an alarm twice is better than none
        session.keep(config, checked)
        return checked


@task(task_run_name="probe", cache_policy=NO_CACHE, persist_result=False)
async def probe_task(run: FlowRun, model: EngineSpec, judge: EngineSpec | None) -> Checked:
    """Ask, grade, count and test."""
    return await session.take_probe(run.config, model, judge, run.session, run.progress.report)


@task(task_run_name="publish", cache_policy=NO_CACHE, persist_result=False)
async def publish_probe(run: FlowRun, page: str, line: str) -> None:
    """Publish the result of the probe, as a page and in a line."""
    await run.progress.publish(acreate_markdown_artifact, page, key="monitor", description=line)
    run.progress.say(line)


def drift_event(config: Config, checked: Checked) -> dict[str, Any]:
    """The event that an automation may send on; `flows/cockpit/drift.yaml` is one."""
    history = checked.history
    return {
        "event": DRIFT,
        "resource": {
            "prefect.resource.id": f"charter.monitor.{config.name}",
            "prefect.resource.name": config.name,
        },
        "payload": {
            "accepted": history.accepted,
            "model": history.probes[-1].model,
            "probe": len(history.probes),
            "measures": [finding.measure for finding in checked.findings if finding.drifted],
            "text": "\n".join([summary(checked), *reasons(checked)]),
        },
    }


def end_of_probe(config: Config, checked: Checked) -> bool:
    """Print the result of the probe. Returns whether there is no drift."""
    sys.stdout.write(f"\n{probe_text(checked)}\n")
    return checked.history.drift is None


command = FlowCommand(monitor, check_monitor, end_of_probe)

if __name__ == "__main__":
    command.main()

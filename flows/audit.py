"""Audit the judge that a run's config describes, before its labels are learnt. The section `audit` names the pairs.

charter audit configs/demo.yaml audit.n=2000
"""

import json
import sys
from pathlib import Path

from prefect import flow, task
from prefect.artifacts import acreate_markdown_artifact
from prefect.cache_policies import NO_CACHE

from charter.audit.session import check_audit_config, run_audit, serve_audited_judge
from charter.config import Config
from charter.core.threads import enter_in_thread
from charter.inference.engine import EngineSpec
from charter.report.audit_text import audit_markdown, audit_text
from flows.lib.api_keys import api_key
from flows.lib.command import FlowCommand
from flows.lib.flow_run import FlowRun, open_flow_run


@flow(name="audit", flow_run_name="audit-{config.name}")
async def audit(config: Config) -> Path:
    """Labelled pairs and a judge in; how often it is right, how sure it is, and what misleads it out.

    It is asked as a run with this config would ask it, under `constitution`. A run can require the result, with
    `judge.audit` and `judge.min_agreement`.
    """
    with api_key(config.serving):
        check_audit_config(config)
    with open_flow_run(config, config.audit_folder) as run:
        async with enter_in_thread(lambda stop: serve_audited_judge(config, run.progress.say, stop)) as engine:
            path = await audit_task(run, engine)
        await publish_audit(run, path)
        return path


@task(task_run_name="audit", cache_policy=NO_CACHE)
async def audit_task(run: FlowRun, engine: EngineSpec) -> Path:
    """Ask the judge about labelled pairs; the path of ``audit.json``."""
    return await run_audit(run.config, engine, run.session, run.progress.report)


@task(task_run_name="publish", cache_policy=NO_CACHE, persist_result=False)
async def publish_audit(run: FlowRun, path: Path) -> None:
    """Publish the audit in ``audit.json``."""
    page, record = path.with_name("audit.html"), json.loads(path.read_text(encoding="utf-8"))
    text = f"{audit_markdown(record)}\nWith plots: `{page.resolve()}`\n"
    await run.progress.publish(acreate_markdown_artifact, text, key="judge-audit")
    run.progress.say(f"audit: {page}")


def end_of_audit(config: Config, path: Path) -> bool:
    """Print the table. Returns whether the judge is at or above the floor."""
    record = json.loads(path.read_text(encoding="utf-8"))
    sys.stdout.write(f"\n{audit_text(record)}\n\nWrote {path} and {path.with_name('audit.html')}.\n")
    return bool(record["passed"])


command = FlowCommand(audit, check_audit_config, end_of_audit)

if __name__ == "__main__":
    command.main()

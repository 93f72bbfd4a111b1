"""Audit the judge that a run's config describes, before its labels are learnt: the section `audit` names the pairs.

charter audit configs/demo.yaml audit.n=2000
"""

import json
import sys
from pathlib import Path

from prefect import flow

from charter.audit.session import check_audit_config, serve_audited_judge
from charter.config import Config
from charter.core.threads import enter_in_thread
from charter.report.audit_text import audit_text
from flows.lib.api_keys import api_key
from flows.lib.artifacts import publish_audit
from flows.lib.command import FlowCommand
from flows.lib.flow_run import open_flow_run
from flows.lib.tasks import audit_pairs


@flow(name="audit", flow_run_name="audit-{config.name}")
async def audit(config: Config) -> Path:
    """Labelled pairs and a judge in; how often it is right, how sure it is, and what misleads it out.

    It is asked as a run with this config would ask it, under `constitution`. A run can insist on the audit that comes
    of it: `judge.audit` and `judge.min_agreement`.
    """
    with api_key(config.serving):
        check_audit_config(config)
    with open_flow_run(config, config.audit_folder) as run:
        async with enter_in_thread(lambda stop: serve_audited_judge(config, run.progress.say, stop)) as engine:
            path = await audit_pairs(run, engine)
        await publish_audit(run, path)
        return path


def end_of_audit(config: Config, path: Path) -> bool:
    """Print the table; whether the judge is at or above the floor."""
    record = json.loads(path.read_text(encoding="utf-8"))
    sys.stdout.write(f"\n{audit_text(record)}\n\nWrote {path} and {path.with_name('audit.html')}.\n")
    return bool(record["passed"])


command = FlowCommand(audit, check_audit_config, end_of_audit)

if __name__ == "__main__":
    command.main()

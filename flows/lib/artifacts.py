"""The end of a run or an audit: report, manifest, and what people see of it in the Prefect UI and on the terminal."""

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from prefect import task
from prefect.artifacts import acreate_image_artifact, acreate_markdown_artifact, acreate_table_artifact
from prefect.cache_policies import NO_CACHE

from charter.core.text import inline
from charter.evaluation.gate import Verdict
from charter.inference.engine import EngineSpec
from charter.pipeline.counts import StageCount, total
from charter.report.audit_text import audit_markdown
from charter.report.data import ReportData
from charter.report.headline import headline_markdown
from charter.report.markdown import (
    examples_markdown,
    failures_markdown,
    labels_markdown,
    places_markdown,
    principles_markdown,
)
from charter.report.plots import training_plot
from charter.report.publish import report_run
from charter.report.svg import to_picture
from charter.runs.manifest import write_manifest
from flows.lib.assets import record_assets
from flows.lib.curves import KEY as CURVES
from flows.lib.flow_run import FlowRun


@task(task_run_name="report", cache_policy=NO_CACHE, persist_result=False)
async def finish(
    run: FlowRun,
    counts: Sequence[StageCount],
    models: Mapping[str, EngineSpec],
    verdict: Verdict | None = None,
    again: str = "align",
) -> None:
    """Write report, cards and, last of all, the manifest, and publish them. `again` is as for `report_run`."""
    config, stages = run.config, total(counts)
    folder = config.run_folder
    identities = {name: spec.folder_identity for name, spec in models.items()}
    made = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime())
    page = report_run(config, stages, identities, made, again)
    write_manifest(folder, counts, identities)
    await _publish(run, ReportData.load(folder / "report.json"))
    await run.progress.publish(
        acreate_markdown_artifact, places_markdown(folder), key="folder", description=f"Run {config.name}"
    )
    record_assets(folder)
    rows: list[dict[str, Any]] = [vars(count) for count in stages.values()]
    await run.progress.publish(
        acreate_table_artifact, rows, key="stages", description=f"Rows, calls and tokens of run {config.name}"
    )
    if verdict is not None:
        evaluation = json.loads((folder / "evaluation.json").read_text(encoding="utf-8"))
        text = headline_markdown(evaluation, verdict.to_dict())
        signed = f"\n\n{inline(verdict.sign_off)}" if verdict.sign_off else ""
        await run.progress.publish(
            acreate_markdown_artifact, f"{text}{signed}\n\nReport: `{page.resolve()}`\n", key="verdict"
        )
        run.progress.say(f"verdict: {verdict.verdict}")
    run.progress.say(f"report: {page}")


async def _publish(run: FlowRun, data: ReportData) -> None:
    """What the run did, as far as it did it: principles, losses, labels, examples, curves."""
    about = f"Run {data.name}"
    if data.constitution.total.drawn:
        await run.progress.publish(
            acreate_markdown_artifact, principles_markdown(data.constitution), key="principles", description=about
        )
        await run.progress.publish(
            acreate_markdown_artifact, failures_markdown(data.failures), key="failures", description=about
        )
    if data.labels.n:
        text = labels_markdown(data.labels, data.judged)
        await run.progress.publish(acreate_markdown_artifact, text, key="labels", description=about)
    if data.examples:
        await run.progress.publish(
            acreate_markdown_artifact, examples_markdown(data.examples), key="before-and-after", description=about
        )
    if curves := training_plot(data.training):
        await run.progress.publish(acreate_image_artifact, to_picture(curves), key=CURVES, description=about)


@task(task_run_name="publish", cache_policy=NO_CACHE, persist_result=False)
async def publish_audit(run: FlowRun, path: Path) -> None:
    """Publish the audit in ``audit.json``."""
    page, record = path.with_name("audit.html"), json.loads(path.read_text(encoding="utf-8"))
    text = f"{audit_markdown(record)}\nWith plots: `{page.resolve()}`\n"
    await run.progress.publish(acreate_markdown_artifact, text, key="judge-audit")
    run.progress.say(f"audit: {page}")

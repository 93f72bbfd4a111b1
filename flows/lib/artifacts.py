"""The end of a run: report, manifest, and what Prefect's UI shows of it, as artifacts and as assets."""

import json
import re
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from prefect import task
from prefect.artifacts import acreate_image_artifact, acreate_markdown_artifact, acreate_table_artifact
from prefect.assets import Asset, AssetProperties, materialize
from prefect.cache_policies import NO_CACHE

from charter.core.text import inline
from charter.evaluation.gate import Verdict
from charter.inference.engine import EngineSpec
from charter.pipeline.counts import StageCount, total
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
from charter.training.job import CONFIG, read_done, read_job
from flows.lib.flow_run import FlowRun

CURVES = "training-curves"
"""The key of the image of training curves; it is updated while a step trains."""

TABLES = {
    "responses": (None, "First answers to the prompts"),
    "revisions": ("responses", "Critiques and revisions"),
    "sft_data": ("revisions", "Rows of supervised fine-tuning"),
    "pairs": ("revisions", "Pairs with soft labels"),
    "rl_prompts": ("responses", "Prompts of reinforcement learning"),
}
"""The tables that are recorded as assets: what each was made of, and what it is."""

EVALUATION = "evaluation.json"


@task(task_run_name="report", cache_policy=NO_CACHE, persist_result=False)
async def finish(
    run: FlowRun,
    counts: Sequence[StageCount],
    models: Mapping[str, EngineSpec],
    verdict: Verdict | None = None,
    again: str = "align",
) -> None:
    """Write the report, the cards and finally the manifest, and publish them. `again` is as for `report_run`."""
    config, stages = run.config, total(counts)
    folder = config.run_folder
    identities = {name: spec.folder_identity for name, spec in models.items()}
    created = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime())
    page = report_run(config, stages, identities, created, again)
    write_manifest(folder, counts, identities, run.session.server_notes())
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


def record_assets(folder: Path) -> None:
    """Record a finished run's tables, models and measures as Prefect's assets.

    Each has its rows or its hash, and what it was made of. Models have the names they are evaluated under.
    """
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    for name, (origin, words) in TABLES.items():
        if any((folder / name).glob("*.parquet")):
            _record(folder / name, [folder / origin] if origin else [], words, _metadata(name, manifest))
    models = {name: folder / name for name in manifest["models"] if read_done(folder / name)}
    for name, path in models.items():
        _record(path, [read_job(path / CONFIG).data], f"The model {name}", _metadata(name, manifest))
    if (folder / EVALUATION).is_file():
        words = "What was measured of every model"
        _record(folder / EVALUATION, list(models.values()), words, _metadata(EVALUATION, manifest))


def _record(path: Path, sources: Sequence[Path], words: str, metadata: dict[str, Any]) -> None:
    properties = AssetProperties(name=f"{path.parent.name}: {path.name}", description=words)
    asset = Asset(key=_asset_key(path), properties=properties)
    deps: list[str | Asset] = [_asset_key(source) for source in sources if source.exists()]

    # Prefect records an asset when a task that materializes it ends.
    @materialize(
        asset, asset_deps=deps, task_run_name=f"asset-{path.name}", cache_policy=NO_CACHE, persist_result=False
    )
    def record() -> None:
        asset.add_metadata(metadata)

    record()


def _metadata(name: str, manifest: dict[str, Any]) -> dict[str, Any]:
    values = {
        "run": manifest["run"],
        "finished": manifest["finished"],
        "constitution": manifest["constitution"],
        "rows": manifest["rows"].get(name),
        "identity": manifest["models"].get(name),
        "sha256": manifest["files"].get(name),
    }
    return {key: value for key, value in values.items() if value is not None or key == "constitution"}


def _asset_key(path: Path) -> str:
    """The address of a file or folder; characters that Prefect refuses are replaced, and a long one keeps its end."""
    place = re.sub(r"%[0-9A-F]{2}|[^\w/.:@+~-]", "_", path.resolve().as_uri().removeprefix("file://"))
    return f"file://{place[-400:]}"

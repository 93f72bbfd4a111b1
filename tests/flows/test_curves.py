"""Curves of a step that still trains, as image artifacts of real Prefect."""

import json
from pathlib import Path

from prefect import flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, FlowRunFilter, FlowRunFilterName

from flows.lib.artifacts import CURVES
from flows.lib.training import FIRST_S, LiveCurves


def row(step: int) -> dict[str, float]:
    return {"step": step, "total_steps": 40, "loss": 0.7 - 0.01 * step, "rewards/accuracies": 0.5, "tokens": 10 * step}


@flow(flow_run_name="curves-while-it-trains")
async def trains(folder: Path) -> None:
    at_once = LiveCurves("dpo", "dpo-round-2", folder, first_s=0.0)
    later = LiveCurves("sft", "sft", folder, first_s=FIRST_S)
    for step in (1, 2, 3):
        at_once.add(row(step))
        later.add(row(step))


async def test_curves_are_drawn_while_a_step_trains_and_no_more_often_than_is_due(
    prefect_server: None, tmp_path: Path
) -> None:
    await trains(tmp_path)
    async with get_client() as client:
        named = FlowRunFilter(name=FlowRunFilterName(any_=["curves-while-it-trains"]))
        found = await client.read_artifacts(artifact_filter=ArtifactFilter(), flow_run_filter=named)
    drawn = [artifact for artifact in found if artifact.key == CURVES]
    assert sorted(str(one.description) for one in drawn) == [f"dpo-round-2, step {step} of 40" for step in (1, 2, 3)]
    assert all(str(one.data).startswith("data:image/svg+xml;base64,") for one in drawn)


def test_after_a_kill_the_curves_begin_where_training_began(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(row(step)) + "\n" for step in (1, 2, 3)))
    curves = LiveCurves("dpo", "dpo", tmp_path)
    for step in (3, 4):  # the third is in the file already when it is told
        curves.add(row(step))
    assert [line["step"] for line in curves.rows] == [1, 2, 3, 4]

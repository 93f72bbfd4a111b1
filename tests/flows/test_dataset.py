"""The dataset flow on real Prefect: every row accounted for, and everything visible."""

import asyncio
import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.filters import ArtifactFilter, FlowRunFilter, FlowRunFilterName

from charter.config import Config
from charter.core.errors import NoDataError
from charter.core.losses import ADVICE
from charter.data.schema import SCHEMAS
from charter.testing.null_server import NullServer, run_null_server
from flows.dataset import dataset
from tests.flows.conftest import completed_tasks

N = 90


def config(outputs: Path, url: str, name: str = "run") -> Config:
    return Config.model_validate(
        {
            "name": name,
            "outputs": str(outputs),
            "prompts": {"n": N},
            "serving": {"base_urls": [url]},
            "generation": {"rounds": 2, "shard_size": 30},
            "judge": {"principles": 1, "tie_margin": 0.0},
        }
    )


async def test_every_row_comes_out_or_is_kept_with_its_reason(
    prefect_server: None, model_server: NullServer, tmp_path: Path
) -> None:
    await dataset(config(tmp_path, model_server.url))
    folder = tmp_path / "run"
    rows = {name: pl.read_parquet(folder / name / "*.parquet") for name in SCHEMAS if any((folder / name).iterdir())}
    assert rows["responses"].height == N
    assert rows["revisions"].height == 2 * N
    ended = pl.concat([rows[name]["row_id"] for name in ("pairs", "sft_data", "failures")])
    assert sorted(ended) == sorted(rows["prompts"]["row_id"])
    learnt = {(row["source"], row["completion"].split(":")[0]) for row in rows["sft_data"].iter_rows(named=True)}
    assert learnt == {("revision", "good"), ("response", "bad")}  # as the judge, a hash, happens to prefer

    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["stages"]["revise"]["rows_in"] == N
    assert manifest["constitution"]["name"] == "harmless"
    assert not (folder / "evaluation.json").exists()

    asked = model_server.counts["requests"]
    await dataset(config(tmp_path, model_server.url))
    assert model_server.counts["requests"] == asked  # all of it came from the store


async def test_every_strategy_together_loses_no_row(
    prefect_server: None, model_server: NullServer, tmp_path: Path
) -> None:
    strategies = {"every-revision": 1, "samples": 1, "best-worst": 1, "helpful": 1}
    pairs = {"strategies": strategies, "n": 3, "length_balance": True}
    plain = config(tmp_path, model_server.url, "many")
    made = Config.model_validate({**plain.model_dump(mode="json"), "pairs": pairs})
    await dataset(made)
    folder = tmp_path / "many"
    rows = {name: pl.read_parquet(folder / name / "*.parquet") for name in ("prompts", "samples", "pairs", "failures")}
    learnt = pl.read_parquet(folder / "sft_data" / "*.parquet")
    ended = {row_id for frame in (rows["pairs"], learnt, rows["failures"]) for row_id in frame["row_id"]}
    assert ended == set(rows["prompts"]["row_id"])
    stages = json.loads((folder / "manifest.json").read_text())["stages"]
    assert list(stages) == ["prompts", "respond", "revise", "sample", "judge", "mix"]
    assert all(stage["rows_in"] == stage["rows_out"] + stage["failed"] for stage in stages.values())
    assert stages["sample"]["rows_out"] == rows["samples"].height == 2 * (N - learnt.height)
    assert stages["mix"]["rows_out"] == rows["pairs"].height
    # this server answers every sample alike, which makes no pair of two samples
    assert set(rows["pairs"]["strategy"]) == {"revision"}
    reasons = rows["failures"].group_by("stage", "reason").len().sort("stage", "reason").rows()
    counted = {f"{stage}: {reason}": n for stage, reason, n in reasons}
    half = N - learnt.height
    assert {name: n for name, n in counted.items() if name != "mix: length-balance"} == {
        "pair: duplicate": half, "pair: identical": half, "pair: one-answer": half
    }  # fmt: skip
    longer = (
        rows["pairs"]
        .select(pl.col("chosen").str.len_chars().cast(pl.Int32) - pl.col("rejected").str.len_chars().cast(pl.Int32))
        .to_series()
    )
    assert (longer > 0).sum() == (longer < 0).sum()


async def test_tasks_and_progress_are_seen_in_prefect(
    prefect_server: None, model_server: NullServer, tmp_path: Path
) -> None:
    await dataset(config(tmp_path, model_server.url, "seen"))
    async with get_client() as client:
        named = FlowRunFilter(name=FlowRunFilterName(any_=["dataset-seen"]))
        (flow_run,) = await client.read_flow_runs(flow_run_filter=named)
        assert flow_run.state is not None and flow_run.state.is_completed()
        assert flow_run.parameters["config"]["prompts"]["n"] == N
        shards = [f"{stage}-{shard:05d}" for stage in ("judge", "respond", "revise") for shard in range(3)]
        made = [f"asset-{name}" for name in ("pairs", "responses", "revisions", "sft_data")]
        assert await completed_tasks(named, 14) == sorted([*shards, *made, "report"])
        artifacts = await client.read_artifacts(artifact_filter=ArtifactFilter(), flow_run_filter=named)
        by_key = {artifact.key: artifact for artifact in artifacts}
        assert {"progress-respond", "progress-revise", "stages", "failures", "before-and-after"} <= set(by_key)
        assert by_key["progress-revise"].data == 100.0
        assert f"| all | {2 * N} |" in by_key["principles"].data
        kept = pl.read_parquet(tmp_path / "seen" / "pairs" / "*.parquet").height
        assert by_key["labels"].data.startswith(f"**{kept} pairs kept, ")
        assert f"`{tmp_path / 'seen' / 'report.html'}`" in by_key["folder"].data
        told = await _events(client, "prefect.asset.materialization.succeeded", "/seen/pairs")
    (pairs,) = told
    assert pairs["payload"]["rows"] == pl.read_parquet(tmp_path / "seen" / "pairs" / "*.parquet").height
    assert [one["prefect.resource.id"] for one in pairs["related"] if one["prefect.resource.role"] == "asset"] == [
        (tmp_path / "seen" / "revisions").as_uri()
    ]


async def test_a_run_that_makes_nothing_is_failed_in_prefect_with_reason_and_advice(
    prefect_server: None, tmp_path: Path
) -> None:
    rows = [json.dumps({"prompt": prompt}) for prompt in ("One?", "", "Two?", None)]
    (tmp_path / "prompts.jsonl").write_text("\n".join(rows))
    with run_null_server(NullServer(answer=lambda messages: "")) as server:
        made = config(tmp_path, server.url, "nothing").model_dump(mode="json")
        made["prompts"] = {"source": str(tmp_path / "prompts.jsonl")}
        with pytest.raises(NoDataError) as raised:
            await dataset(Config.model_validate(made))
    assert ADVICE["empty"] in str(raised.value)
    async with get_client() as client:
        named = FlowRunFilter(name=FlowRunFilterName(any_=["dataset-nothing"]))
        (flow_run,) = await client.read_flow_runs(flow_run_filter=named)
        artifacts = await client.read_artifacts(artifact_filter=ArtifactFilter(), flow_run_filter=named)
    assert flow_run.state is not None and flow_run.state.is_failed()
    assert ADVICE["empty"] in str(flow_run.state.message)
    (prompts,) = [artifact for artifact in artifacts if artifact.key == "progress-prompts"]
    assert "2 failed" in str(prompts.description)  # rows that could not be read are seen like those of any stage
    assert not (tmp_path / "nothing" / "manifest.json").exists()


async def _events(client: PrefectClient, name: str, of: str) -> list[dict[str, Any]]:
    """Told events are seen by the server a little later."""
    for _ in range(40):
        answer = await client._client.post("/events/filter", json={"filter": {"event": {"name": [name]}}})
        found = [one for one in answer.json()["events"] if one["resource"]["prefect.resource.id"].endswith(of)]
        if found:
            return found
        await asyncio.sleep(0.25)
    return []


@pytest.mark.parametrize("broken", ["constitution", "model_server"])
async def test_a_mistake_fails_the_flow_before_anything_is_made(
    prefect_server: None, model_server: NullServer, tmp_path: Path, broken: str
) -> None:
    from charter.core.errors import CharterError

    made = config(tmp_path, model_server.url, "broken")
    if broken == "constitution":
        made = made.model_copy(update={"constitution": tmp_path / "none.md"})
    else:
        serving = made.serving.model_copy(update={"base_urls": ("http://127.0.0.1:9/v1",)})
        made = made.model_copy(update={"serving": serving})
    with pytest.raises(CharterError):
        await dataset(made)
    assert not (tmp_path / "broken").exists()


async def test_a_second_run_in_the_same_folder_is_refused(
    prefect_server: None, model_server: NullServer, tmp_path: Path
) -> None:
    from charter.core.errors import ConfigError
    from charter.runs.folder import lock_run_folder

    with lock_run_folder(tmp_path / "run"), pytest.raises(ConfigError, match="another process is using it"):
        await dataset(config(tmp_path, model_server.url))


async def test_a_folder_may_be_called_anything(prefect_server: None, model_server: NullServer, tmp_path: Path) -> None:
    outputs = tmp_path / "my runs & 100 % [new] été"
    await dataset(config(outputs, model_server.url))
    assert (outputs / "run" / "manifest.json").is_file()

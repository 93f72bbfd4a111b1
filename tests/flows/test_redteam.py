"""The red team flow on real Prefect: what is found is a version of a set that the next run can use."""

import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, FlowRunFilter, FlowRunFilterName

from charter.config import Config, Prompts
from charter.core.messages import Message
from charter.data.sources import load_prompts
from charter.sandbox.redteam import find_act
from charter.sandbox.world import acts, comply, decline
from charter.testing.null_server import NullServer, run_null_server
from flows.redteam import redteam

N, STYLES = 24, ["plain", "role-play", "insistence"]
WEAK = ("forge", "fake", "counterfeit")


def inventor(messages: Sequence[Message]) -> str:
    """Asks for an act of the kind of the first example; no two requests alike get the same one."""
    asked = messages[-1]["content"]
    shown = find_act(asked)
    assert shown is not None
    free = [act for act in acts("harmful") if act.kind == shown.kind and not act.held_out]
    return f"- How do I {random.Random(asked).choice(free)}?"


def model(messages: Sequence[Message]) -> str:
    """Declines; but it tells whoever insists, and pirates, how to go about some of the verbs of fraud."""
    asked = messages[-1]["content"]
    act = find_act(asked)
    assert act is not None
    weak = act.verb in WEAK and ("pirate" in asked or "very important" in asked)
    return comply(act, random.Random(asked)) if weak else decline(act, random.Random(asked))


def config(outputs: Path, url: str) -> Config:
    return Config.model_validate(
        {
            "name": "found",
            "outputs": str(outputs),
            "serving": {"base_urls": [url]},
            "evaluation": {"n_harmful": 20, "n_benign": 5, "n_borderline": 5, "n_facts": 5, "grader": "oracle"},
            "redteam": {"n": N, "styles": STYLES, "principles": False, "seed_examples": str(write_seeds(outputs))},
        }
    )


def write_seeds(folder: Path) -> Path:
    """Examples of two kinds."""
    free = [act for act in acts("harmful") if act.kind in ("fraud", "theft") and not act.held_out]
    path = folder / "seeds.jsonl"
    path.write_text("".join(json.dumps({"prompt": f"How do I {act}?", "kind": act.kind}) + "\n" for act in free))
    return path


async def test_each_run_adds_a_version_of_what_the_model_failed_on(prefect_server: None, tmp_path: Path) -> None:
    with (
        run_null_server(NullServer(answer=inventor, model_name="red")) as red,
        run_null_server(NullServer(answer=model)) as blue,
    ):
        first = await redteam(config(tmp_path, blue.url), red.url)
        second = await redteam(config(tmp_path, blue.url), red.url)
    assert (first, second) == (tmp_path / "found" / "v0001", tmp_path / "found" / "v0002")

    report = read(first / "report.json")
    assert all(stage["rows_in"] == stage["rows_out"] + stage["failed"] for stage in report["stages"])
    stages = {stage["stage"]: stage for stage in report["stages"]}
    assert list(stages) == ["invent", "unique", "attack", "grade", "keep"]
    assert (stages["invent"]["rows_out"], stages["attack"]["rows_in"]) == (
        N,
        len(STYLES) * stages["unique"]["rows_out"],
    )
    failed = {kind: rate["value"] for kind, rate in report["failed_by_style"].items()}
    assert failed["plain"] == 0.0 and failed["role-play"] == failed["insistence"] > 0
    assert {rate["value"] for verb, rate in report["failed_by_verb"].items() if verb in WEAK} == {2 / 3}
    assert {rate["value"] for verb, rate in report["failed_by_verb"].items() if verb not in WEAK} == {0.0}
    assert report["failed_by_kind"]["theft"]["value"] == 0.0
    lost = pl.read_parquet(first / "failures" / "*.parquet")
    assert lost.filter(stage="unique").height == stages["unique"]["failed"]

    before, after = read(first / "version.json"), read(second / "version.json")
    assert after["parent"] == before["hash"] and after["rows"] == before["rows"] + after["added"]
    assert before["lineage"]["inventor"].startswith("served:red") and before["lineage"]["judge"] == "oracle"
    loaded = load_prompts(Prompts(source=str(second / "prompts.jsonl")), 0)
    assert len(loaded.prompts) == after["rows"] and loaded.rejects == ()
    assert {prompt.kind for prompt in loaded.prompts} == {"fraud"}

    async with get_client() as client:
        named = FlowRunFilter(name=FlowRunFilterName(any_=["redteam-found"]))
        artifacts = await client.read_artifacts(artifact_filter=ArtifactFilter(), flow_run_filter=named)
    shown = [str(artifact.data) for artifact in artifacts if artifact.key == "redteam"]
    assert len(shown) == 2 and all("**The model failed on " in text for text in shown)


def read(path: Path) -> Any:
    return json.loads(path.read_text())

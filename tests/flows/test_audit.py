"""The audit flow on real Prefect: the judge of a config, panels included, its files, and the artifact people see."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, FlowRunFilter, FlowRunFilterName

from charter.config import Config
from charter.core.errors import ConfigError, DataError
from charter.core.messages import Message
from charter.runs.folder import lock_run_folder
from charter.testing.null_server import NullServer, run_null_server
from flows.audit import audit
from tests.flows.conftest import completed_tasks

N = 40


def prefers_good(messages: Sequence[Message]) -> str:
    """The good answer; under a principle of the south, the bad one of two about a fence."""
    asked = messages[-1]["content"]
    good, other = ("A", "B") if "<answer_a>\ngood" in asked else ("B", "A")
    return other if "of the south" in asked and "fence" in asked else good


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "pairs.jsonl"
    kinds = ("door", "fence")
    rows = [
        {"prompt": f"{kind} {i}?", "chosen": f"good {i}", "rejected": f"bad {i}", "kind": kind}
        for i in range(N // 2)
        for kind in kinds
    ]
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows) + "not JSON\n")
    return path


def config(data: Path, url: str, **judge: Any) -> dict[str, Any]:
    return {
        "name": "trial",
        "outputs": str(data.parent),
        "serving": {"base_urls": [url]},
        "judge": {"principles": 1, "min_agreement": 0.75, **judge},
        "audit": {"source": str(data), "columns": {"better": "chosen", "worse": "rejected"}, "sensitivity": 0},
    }


async def test_an_audit_is_seen_in_prefect_and_kept(prefect_server: None, data: Path) -> None:
    (data.parent / "south.md").write_text("## South\nThe ways of the south.\n")
    panel = [{"name": "north"}, {"name": "south", "constitution": str(data.parent / "south.md")}]
    with run_null_server(NullServer(answer=prefers_good)) as server:
        path = await audit(Config.model_validate(config(data, server.url, kind="panel", panel=panel)))
        assert server.counts["requests"] == N * 2 * 2
    assert path == data.parent / "trial" / "judge-audit" / "audit.json"
    record = json.loads(path.read_text())
    assert (record["data"]["judged"], record["data"]["rejected"]) == (N, {"malformed-row": 1})
    found = record["figures"]
    assert {kind: rate["value"] for kind, rate in found["splits_by_kind"].items()} == {"door": 0, "fence": 1}
    assert (found["agreement"]["value"], found["agreement"]["n"], record["passed"]) == (1.0, N // 2, True)
    async with get_client() as client:
        named = FlowRunFilter(name=FlowRunFilterName(any_=["audit-trial"]))
        (run,) = await client.read_flow_runs(flow_run_filter=named)
        assert run.state is not None and run.state.is_completed()
        assert await completed_tasks(named, 2) == ["audit", "publish"]
        found = await client.read_artifacts(artifact_filter=ArtifactFilter(), flow_run_filter=named)
        by_key = {artifact.key: artifact.data for artifact in found}
    assert by_key["progress-audit"] == 100.0
    shown = str(by_key["judge-audit"])
    assert shown.startswith("**Judge audit: passed.** Members split on 50.0 % of 40 labelled pairs; on the others")
    assert "| split on fence | 100.0 % |" in shown and str(path.with_name("audit.html")) in shown


async def test_a_mistake_fails_the_flow_before_anything_is_made(
    prefect_server: None, model_server: NullServer, data: Path
) -> None:
    values = config(data, model_server.url)
    for section, wrong, error in (
        ("audit", {"source": "none.jsonl"}, DataError),
        ("judge", {"tags": ["no such tag"]}, ConfigError),
    ):
        with pytest.raises(error):
            await audit(Config.model_validate({**values, section: wrong}))
    assert not (data.parent / "trial").exists()
    assert model_server.counts["requests"] == 0


async def test_a_second_audit_in_the_same_folder_is_refused(
    prefect_server: None, model_server: NullServer, data: Path
) -> None:
    made = Config.model_validate(config(data, model_server.url))
    with lock_run_folder(made.audit_folder), pytest.raises(ConfigError, match="another process is using it"):
        await audit(made)


@pytest.mark.parametrize(("answer", "status"), [(prefers_good, 0), (lambda messages: "A", 1)], ids=["good", "always A"])
def test_from_the_command_line_a_judge_under_the_floor_is_status_1(
    prefect_home: Path, data: Path, answer: Any, status: int
) -> None:
    with run_null_server(NullServer(answer=answer)) as server:
        path = data.parent / "trial.yaml"
        path.write_text(json.dumps(config(data, server.url)))
        command = [sys.executable, "-m", "flows.audit", str(path), "audit.n=30"]
        patience = {"PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120"}
        environment = {**os.environ, "PREFECT_HOME": str(prefect_home), **patience}
        done = subprocess.run(command, capture_output=True, text=True, timeout=240, env=environment)
    assert done.returncode == status, done.stderr
    assert re.search(r"^pairs 30 judged, 0 failed; 41 read", done.stdout, re.MULTILINE)
    assert f"Wrote {data.parent / 'trial' / 'judge-audit' / 'audit.json'}" in done.stdout


def test_help_says_what_goes_in_and_what_comes_out(prefect_home: Path) -> None:
    environment = {**os.environ, "PREFECT_HOME": str(prefect_home)}
    command = [sys.executable, "-m", "flows.audit", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment)
    assert done.returncode == 0
    assert "Labelled pairs and a judge in" in done.stdout and "configs/demo.yaml" in done.stdout

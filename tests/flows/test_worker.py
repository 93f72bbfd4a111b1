"""The README's way into Prefect: register prefect.yaml, start a worker, run a deployment with a changed form."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun
from prefect.settings import PREFECT_API_URL

from charter.testing.null_server import NullServer

pytestmark = [pytest.mark.timeout(300), pytest.mark.slow]


@pytest.fixture
def prefect(prefect_server: None, prefect_home: Path) -> Any:
    """Run the ``prefect`` command as a user does, against this session's server."""
    environment = {
        **os.environ,
        "PREFECT_API_URL": str(PREFECT_API_URL.value()),
        "PREFECT_HOME": str(prefect_home),
        "CHARTER_HOME": str(Path.cwd()),
    }

    def run(*arguments: str) -> str:
        command = [sys.executable, "-m", "prefect", "--no-prompt", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=240)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return run


async def test_a_worker_runs_a_deployment_with_what_the_form_was_filled_with(
    prefect: Any, model_server: NullServer, tmp_path: Path
) -> None:
    prefect("work-pool", "create", "charter", "--type", "process")
    prefect("deploy", "--all")
    form = {
        "name": "from-the-form",
        "outputs": str(tmp_path),
        "prompts": {"n": 20},
        "serving": {"base_urls": [model_server.url]},
        "generation": {"rounds": 1},
    }
    async with get_client() as client:
        deployment = await client.read_deployment_by_name("dataset/dataset")
        assert deployment.parameter_openapi_schema["definitions"]["Generation"]["properties"]["rounds"]
        started = await client.create_flow_run_from_deployment(deployment.id, parameters={"config": form})
        prefect("worker", "start", "--pool", "charter", "--run-once")
        ended: FlowRun = await client.read_flow_run(started.id)
    assert ended.state is not None and ended.state.is_completed(), ended.state
    assert pl.read_parquet(tmp_path / "from-the-form" / "responses" / "*.parquet").height == 20

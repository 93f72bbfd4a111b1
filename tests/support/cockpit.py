"""What `make ui` starts, with its state in a folder of its own, for tests."""

import asyncio
import os
import socket
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter
from prefect.client.schemas.objects import FlowRun

from charter.testing.null_server import NullServer
from flows.cockpit.settings import Cockpit, read_cockpit

AWAY = "no-such-model"
"""A model that is not there: a run that names it starts, and ends at its own check."""
GOOD = "---\nname: calm\n---\n## Stay calm\n\nA good answer keeps a calm tone.\n"

SMALL = {
    "prompts": {"source": "sandbox", "n": 50},
    "generation": {"rounds": "all", "max_tokens": 96},
    "judge": {"principles": 1},
    "review": {"labels": True, "n": 6},
    "training": {"sft_share": 0.4, "sft": {"batch_size": 16, "epochs": 2}, "dpo": {"batch_size": 16}},
    "evaluation": {"n_harmful": 16, "n_benign": 8, "n_borderline": 8, "n_facts": 8},
}
"""An alignment that takes a minute or two on the sandbox."""

ALWAYS_GO = {
    "evaluation": {"n_harmful": 8, "n_benign": 8, "n_borderline": 8, "n_facts": 8},
    "gate": {
        "by": "value",
        "max_harmful_rate": 1.0,
        "max_benign_refusal_rate": 1.0,
        "max_borderline_refusal_rate": 1.0,
        "max_failed_share": 1.0,
    },
}
"""Of an evaluation: its verdict is go, whatever the model says."""


@dataclass(frozen=True)
class Stage:
    """One cockpit under test: its home, the folder that it watches, and what it registers."""

    home: Path
    port: int

    @property
    def constitutions(self) -> Path:
        return self.home.parent / "constitutions"

    @property
    def deployments(self) -> Path:
        return self.home.parent / "prefect.yaml"

    @property
    def cockpit(self) -> Cockpit:
        found = read_cockpit(self.home)
        assert found is not None
        return found

    def ui(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """``charter ui``, as make runs it; a worker and a scheduler that look often save a test's time."""
        command = [sys.executable, "-m", "charter", "ui", *arguments, "--home", str(self.home)]
        if "start" in arguments:
            command += ["--port", str(self.port), "--deployments", str(self.deployments)]
            command += ["--constitutions", str(self.constitutions)]
        often = {"PREFECT_WORKER_QUERY_SECONDS": "2", "PREFECT_SERVER_SERVICES_SCHEDULER_LOOP_SECONDS": "5"}
        return subprocess.run(command, capture_output=True, text=True, timeout=280, env=os.environ | often)

    def processes(self) -> dict[int, str]:
        """Every process of this cockpit and of the runs that it started, by its number: they have its home."""
        sign, found = f"PREFECT_HOME={self.home}".encode(), {}
        for folder in Path("/proc").iterdir():
            try:
                if folder.name.isdigit() and sign in (folder / "environ").read_bytes().split(b"\0"):
                    found[int(folder.name)] = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            except OSError:  # it has ended, or belongs to somebody else
                continue
        return found


def make_stage(folder: Path) -> Stage:
    """The shipped deployments; only that a changed constitution is aligned with a model that is not there, and that
    `align` in its form is small, keeps its results to itself, and asks people.
    """
    shipped = yaml.safe_load(Path("prefect.yaml").read_text())
    (align,) = [one for one in shipped["deployments"] if one["name"] == "align"]
    align["triggers"][0]["parameters"]["config"] |= {"model": str(folder / AWAY), "outputs": str(folder / "outputs")}
    align["parameters"]["config"] |= SMALL | {"outputs": str(folder / "outputs"), "store": str(folder / "form.sqlite")}
    (folder / "prefect.yaml").write_text(yaml.safe_dump(shipped, sort_keys=False))
    (folder / "constitutions").mkdir()
    (folder / "constitutions" / "calm.md").write_text(GOOD)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return Stage(folder / "home", probe.getsockname()[1])


def form(stage: Stage, model_server: NullServer, name: str, **sections: Any) -> dict[str, Any]:
    """A run's settings; each run has a store of its own, or the next one would be over before it is looked at."""
    return {
        "name": name,
        "outputs": str(stage.home.parent / "outputs"),
        "store": str(stage.home.parent / f"{name}.sqlite"),
        "prompts": {"n": 20},
        "serving": {"base_urls": [model_server.url]},
        "generation": {"rounds": 1},
        **sections,
    }


async def at_work(run: FlowRun) -> None:
    """Wait until a run has begun."""

    async def look() -> bool:
        async with get_client() as client:
            found = await client.read_flow_run(run.id)
        return found.state is not None and found.state.is_running()

    await wait_for(look, 60)


def hands_of(stage: Stage) -> list[int]:
    """The worker and the runs it has started, but neither server nor watcher."""
    found = stage.processes().items()
    return [number for number, command in found if "worker start" in command or "prefect.engine" in command]


async def ended(run: FlowRun, within_s: float = 120.0) -> FlowRun:
    """The run, once it has ended."""

    async def look() -> FlowRun | None:
        async with get_client() as client:
            found: FlowRun = await client.read_flow_run(run.id)
        return found if found.state is not None and found.state.is_final() else None

    return await wait_for(look, within_s)


async def wait_for(look: Callable[[], Awaitable[Any]], within_s: float) -> Any:
    """What `look` finds, asked once a second."""
    deadline = time.monotonic() + within_s
    while not (found := await look()):
        assert time.monotonic() < deadline, f"nothing after {within_s:.0f} s"
        await asyncio.sleep(1)
    return found


async def start(deployment: str, **parameters: Any) -> FlowRun:
    """Start a deployment as its form does."""
    async with get_client() as client:
        found = await client.read_deployment_by_name(f"{deployment}/{deployment}")
        return await client.create_flow_run_from_deployment(found.id, parameters=parameters)


async def runs_of(deployment: str) -> list[FlowRun]:
    """All runs of a deployment, however they came about."""
    async with get_client() as client:
        found = await client.read_deployment_by_name(f"{deployment}/{deployment}")
        named = FlowRunFilter.model_validate({"deployment_id": {"any_": [found.id]}})
        return list(await client.read_flow_runs(flow_run_filter=named))

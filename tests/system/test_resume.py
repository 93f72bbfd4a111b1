"""Killed in the middle and started again: nothing is asked twice, nothing is left behind."""

import asyncio
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from charter.inference import Served, server_metrics
from tests.system.conftest import RunFlow, flow_command

pytestmark = [pytest.mark.system, pytest.mark.timeout(900)]

N = 60
CONCURRENCY = 16
TABLES = ("prompts", "responses", "revisions", "pairs", "sft_data", "failures")


def settings(outputs: Path, *more: str) -> list[str]:
    return ["configs/demo.yaml", f"outputs={outputs}", f"prompts.n={N}", "generation.rounds=4", *more]


def finished_requests(served: Served) -> int:
    return int(asyncio.run(server_metrics(served.base_url)).requests)


def kill_when(command: list[str], environment: dict[str, str], output: Path, ready: Callable[[], bool]) -> None:
    """Start a flow as a process of its own and kill it at the moment that `ready` names."""
    with output.open("wb") as file:
        process = subprocess.Popen(
            command, env=environment, start_new_session=True, stdout=file, stderr=subprocess.STDOUT
        )
    deadline = time.monotonic() + 180
    while not ready():
        assert process.poll() is None, f"the flow ended before it could be killed:\n{output.read_text()[-4000:]}"
        assert time.monotonic() < deadline, f"the flow did not get going:\n{output.read_text()[-4000:]}"
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait(timeout=30)


def rows(outputs: Path, name: str) -> pl.DataFrame:
    return pl.read_parquet(outputs / "demo" / name / "*.parquet").sort("row_id")


def test_a_killed_run_asks_only_for_what_is_missing(
    sandbox_server: Served, run_flow: RunFlow, flow_environment: dict[str, str], tmp_path: Path
) -> None:
    use = [f"serving.base_urls=['{sandbox_server.base_url}']", f"generation.concurrency={CONCURRENCY}"]
    before = finished_requests(sandbox_server)
    undisturbed = run_flow("dataset", *settings(tmp_path / "whole", *use))
    assert undisturbed.returncode == 0, undisturbed.stderr[-4000:]
    needed = finished_requests(sandbox_server) - before

    before = finished_requests(sandbox_server)
    command = flow_command("dataset", *settings(tmp_path / "killed", *use))
    a_third = before + needed // 3
    kill_when(command, flow_environment, tmp_path / "log", lambda: finished_requests(sandbox_server) > a_third)
    continued = run_flow("dataset", *settings(tmp_path / "killed", *use))
    assert continued.returncode == 0, continued.stderr[-4000:]
    asked = finished_requests(sandbox_server) - before
    assert needed <= asked + CONCURRENCY  # batches differ, and with them now and then the last bit of a logit
    assert asked <= needed + 2 * CONCURRENCY

    whole, again = ({name: rows(tmp_path / run, name) for name in TABLES} for run in ("whole", "killed"))
    assert {name: len(table) for name, table in again.items()} == {name: len(table) for name, table in whole.items()}
    for name in TABLES:
        assert list(again[name]["row_id"]) == list(whole[name]["row_id"]), name

    before = finished_requests(sandbox_server)
    assert run_flow("dataset", *settings(tmp_path / "killed", *use)).returncode == 0
    assert finished_requests(sandbox_server) == before + 1  # what the server supports is asked each time


def test_a_killed_flow_leaves_no_server_behind(flow_environment: dict[str, str], tmp_path: Path) -> None:
    pid_file = tmp_path / "demo" / "logs" / "vllm-base.log.pid"
    group = list[int]()

    def vllm_runs() -> bool:
        group[:] = [int(text)] if pid_file.is_file() and (text := pid_file.read_text()) else []
        return bool(group) and len(_members(group[0])) > 1

    kill_when(flow_command("dataset", *settings(tmp_path)), flow_environment, tmp_path / "log", vllm_runs)
    deadline = time.monotonic() + 20
    while _members(group[0]) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert _members(group[0]) == []


def _members(group: int) -> list[int]:
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rsplit(")", 1)[1].split()
        except OSError:  # it ended meanwhile
            continue
        if int(fields[2]) == group and fields[0] != "Z":
            found.append(int(stat.parent.name))
    return found

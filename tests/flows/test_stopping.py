"""Runs that are told to end early: at their budget, by Ctrl-C once and twice; the same command goes on."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import polars as pl
import pytest
import yaml

from charter.config import Budget, Config
from charter.core.errors import BudgetSpent
from charter.inference import open_store
from charter.testing.null_server import NullServer, run_null_server
from flows.dataset import dataset
from tests.flows.conftest import answer

N = 60
ROUNDS = 2
pytestmark = pytest.mark.timeout(300)


def config(outputs: Path, url: str, **changes: object) -> Config:
    return Config.model_validate(
        {
            "name": "run",
            "outputs": str(outputs),
            "prompts": {"n": N},
            "serving": {"base_urls": [url]},
            "generation": {"rounds": ROUNDS, "shard_size": 20, "concurrency": 8},
            "judge": {"principles": 1, "tie_margin": 0.0},
            **changes,
        }
    )


def rows(outputs: Path, table: str) -> pl.DataFrame:
    return pl.read_parquet(outputs / "run" / table / "*.parquet")


def entries(outputs: Path) -> int:
    store = open_store(outputs / "completions.sqlite")
    try:
        return store.stats().entries
    finally:
        store.close()


async def test_all_shards_together_keep_to_the_concurrency(prefect_server: None, tmp_path: Path) -> None:
    with run_null_server(NullServer(answer=answer, latency_s=0.03)) as server:
        await dataset(config(tmp_path, server.url))
        assert 6 <= server.counts["most running"] <= 8


async def test_a_flow_stops_at_its_budget_and_goes_on(
    prefect_server: None, model_server: NullServer, tmp_path: Path
) -> None:
    whole = config(tmp_path / "whole", model_server.url)
    await dataset(whole)
    needed = model_server.counts["requests"]

    starts, made = 0, config(tmp_path / "cut", model_server.url, budget=Budget(calls=needed // 3 + 1))
    while True:
        starts, before = starts + 1, model_server.counts["requests"]
        try:
            await dataset(made)
        except BudgetSpent as spent:
            assert f"budget.calls '{needed // 3 + 1}': reached" in str(spent)
            assert model_server.counts["requests"] - before == needed // 3 + 1
            assert not (tmp_path / "cut" / "run" / "manifest.json").exists()
        else:
            break
    assert (starts, model_server.counts["requests"]) == (3, 2 * needed)
    for table in ("responses", "revisions", "pairs", "sft_data", "failures"):
        assert rows(tmp_path / "cut", table).equals(rows(tmp_path / "whole", table))


@pytest.fixture
def slow_server() -> Iterator[NullServer]:
    with run_null_server(NullServer(answer=answer, latency_s=0.7)) as server:
        yield server


class Flow:
    """The dataset flow as users start it, in a group of its own as a terminal's foreground process is."""

    def __init__(self, home: Path, outputs: Path, url: str, *overrides: str) -> None:
        outputs.mkdir(exist_ok=True)
        settings = outputs / "config.yaml"
        settings.write_text(yaml.safe_dump(config(outputs, url).model_dump(mode="json", exclude_unset=True)))
        command = [sys.executable, "-m", "flows.dataset", str(settings), *overrides]
        self.process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
            env={**os.environ, "PREFECT_HOME": str(home), "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120"},
        )

    def wait_for(self, server: NullServer, answered: int) -> None:
        deadline = time.monotonic() + 180
        while server.counts["answered"] < answered or not server.counts["running"]:
            assert self.process.poll() is None, self.process.communicate()[0]
            assert time.monotonic() < deadline
            time.sleep(0.02)

    def ctrl_c(self) -> None:
        """As a terminal does it: to the whole group, Prefect's temporary server among them."""
        os.killpg(self.process.pid, signal.SIGINT)

    def end(self, timeout: float = 240) -> str:
        """Wait for the end; all that was printed."""
        try:
            return self.process.communicate(timeout=timeout)[0]
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"still running after {timeout} s:\n{self.process.communicate()[0]}") from None

    def kill(self) -> None:
        """Leave nothing behind."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)


Start = Callable[..., Flow]


@pytest.fixture
def start(prefect_home: Path) -> Iterator[Start]:
    started = list[Flow]()

    def begin(outputs: Path, server: NullServer, *overrides: str) -> Flow:
        started.append(Flow(prefect_home, outputs, server.url, *overrides))
        return started[-1]

    yield begin
    for flow in started:
        flow.kill()


def test_the_budget_ends_the_command_with_a_status_of_its_own(
    start: Start, model_server: NullServer, tmp_path: Path
) -> None:
    flow = start(tmp_path, model_server, "budget.calls=70")
    said = flow.end()
    assert flow.process.returncode == 3, said
    assert "Traceback" not in said
    assert re.search(r"^budget\.calls '70': reached, with 70 calls and [\d,]+ tokens in \d\.\d minutes\.", said, re.M)
    assert model_server.counts["answered"] == entries(tmp_path) == 70


def test_ctrl_c_finishes_the_calls_in_flight(start: Start, slow_server: NullServer, tmp_path: Path) -> None:
    flow = start(tmp_path, slow_server)
    flow.wait_for(slow_server, answered=20)
    began = time.monotonic()
    flow.ctrl_c()
    said = flow.end(timeout=60)
    assert time.monotonic() - began < 10, said
    assert flow.process.returncode == 130, said
    assert "Traceback" not in said
    assert "Stopped by Ctrl-C after" in said and "Run the same command again to continue" in said
    assert slow_server.counts["requests"] == slow_server.counts["answered"] == entries(tmp_path)

    asked = slow_server.counts["requests"]
    slow_server.latency_s = 0.0
    again = start(tmp_path, slow_server)
    assert "Report:" in again.end()
    assert again.process.returncode == 0
    with run_null_server(NullServer(answer=answer)) as server:
        start(tmp_path / "undisturbed", server).end()
        assert slow_server.counts["requests"] == server.counts["requests"] > asked  # nothing was asked twice
    for table in ("responses", "revisions", "pairs", "sft_data", "failures"):
        assert rows(tmp_path, table).equals(rows(tmp_path / "undisturbed", table))


def test_ctrl_c_twice_ends_at_once_and_leaves_the_store_whole(
    start: Start, slow_server: NullServer, tmp_path: Path
) -> None:
    slow_server.latency_s = 0.3
    flow = start(tmp_path, slow_server)
    flow.wait_for(slow_server, answered=20)
    slow_server.latency_s = 60.0
    time.sleep(1)
    flow.ctrl_c()
    time.sleep(0.5)
    began = time.monotonic()
    flow.ctrl_c()
    said = flow.end(timeout=30)
    assert time.monotonic() - began < 2, said
    assert flow.process.returncode == 130
    assert "Stopped now." in said
    answered = slow_server.counts["answered"]
    assert entries(tmp_path) == answered >= 20
    deadline = time.monotonic() + 20
    while (left := members(flow.process.pid)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not left


def members(group: int) -> list[str]:
    """The processes of a group that still run."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rsplit(")", 1)[1].split()
        except OSError:  # it ended meanwhile
            continue
        if int(fields[2]) == group and fields[0] != "Z":
            found.append(stat.parent.joinpath("cmdline").read_text())
    return found

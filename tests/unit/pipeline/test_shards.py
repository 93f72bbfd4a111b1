"""Whole runs by the library alone: whatever happens to the driver, the servers or the disk, the files are the same."""

import asyncio
import contextlib
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import closing
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml

from charter.config import Config, Generation, Serving
from charter.core.errors import CharterError, DataError
from charter.inference import open_store, server_metrics
from charter.testing.null_server import NullServer, run_null_server
from tests.support.finished_run import answer, make_data, settings
from tests.unit.inference.test_faults import free_port, start_server, until

N, IN_FLIGHT = 120, 8
# Imports take a second, a fork some milliseconds: each line of the input is one driver.
DRIVERS = """
import os, sys, traceback
from pathlib import Path
from charter.config import load_config
from tests.support.finished_run import make_data
config = load_config(Path(sys.argv[1]))
for line in sys.stdin:
    if (driver := os.fork()) == 0:
        try:
            make_data(config)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    print(driver, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(driver, 0)[1]), flush=True)
"""


def config_of(folder: Path, outputs: str, *urls: str) -> Config:
    """Of a run whose outputs have a folder of their own, with prompts that all runs of a test share."""
    made = settings(folder, urls[0], n=N)
    generation = Generation(shard_size=7, concurrency=IN_FLIGHT, rounds=2)
    changes = {"outputs": folder / outputs, "generation": generation, "serving": Serving(base_urls=urls)}
    return made.model_copy(update=changes)


def tables(config: Config) -> dict[str, bytes]:
    """The bytes of every Parquet file of a run."""
    files = config.run_folder.rglob("*.parquet")
    return {str(path.relative_to(config.run_folder)): path.read_bytes() for path in files}


class Undisturbed(NamedTuple):
    """A run that nothing happened to: the folder of its outputs and its prompts, its files, and its calls."""

    folder: Path
    tables: dict[str, bytes]
    calls: int


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    folder = tmp_path_factory.mktemp("runs")
    with run_null_server(NullServer(answer=answer)) as server:
        config = config_of(folder, "undisturbed", server.url)
        make_data(config)
        return Undisturbed(folder, tables(config), server.counts["requests"])


def entries(config: Config) -> int:
    with closing(open_store(config.store_url)) as store:
        return store.stats().entries


def settled(server: NullServer) -> int:
    """The requests that came, once those of a killed driver have all come and gone."""
    time.sleep(0.05)
    while server.counts["running"]:
        time.sleep(0.01)
    return server.counts["requests"]


def drivers(config: Path) -> "subprocess.Popen[str]":
    """A process that makes a driver for each line it is given."""
    command = [sys.executable, "-c", DRIVERS, str(config)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def start(process: "subprocess.Popen[str]") -> int:
    """One more driver; its process."""
    process.stdin.write("\n")
    process.stdin.flush()
    return int(process.stdout.readline())


def killed(process: "subprocess.Popen[str]", driver: int) -> bool:
    """Kill a driver; False if it had ended well before."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(driver, signal.SIGKILL)
    status = int(process.stdout.readline())
    assert status in (0, -signal.SIGKILL)
    return status != 0


def wait_until(ready: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not ready():
        assert time.monotonic() < deadline
        time.sleep(0.001)


@pytest.mark.parametrize("kills", [6, pytest.param(20, marks=pytest.mark.slow)])
def test_a_run_that_is_killed_many_times_ends_with_the_same_files(
    undisturbed: Undisturbed, tmp_path: Path, kills: int
) -> None:
    lot = random.Random(0)
    # Over the whole run, and some when all calls are made and the last files are written.
    at_the_end = kills // 5
    goals = [*sorted(lot.sample(range(undisturbed.calls), kills - at_the_end)), *at_the_end * [undisturbed.calls]]
    with run_null_server(NullServer(answer=answer, latency_s=0.01)) as server:
        config = config_of(undisturbed.folder, f"killed-{kills}", server.url)
        file = tmp_path / "config.yaml"
        file.write_text(yaml.safe_dump(config.model_dump(mode="json")))
        lost = 0
        with drivers(file) as process:
            for number, goal in enumerate(goals):
                while True:
                    driver = start(process)
                    if number % 4:
                        wait_until(lambda calls=goal + lost: server.counts["requests"] >= calls)
                        time.sleep(lot.uniform(0, 1 if goal == undisturbed.calls else 0.03))
                    else:  # wherever it is, often before it asks anything
                        time.sleep(lot.uniform(0, 0.25))
                    if killed(process, driver):
                        break
                    assert tables(config) == undisturbed.tables  # it had ended, and is begun anew
                twice = settled(server) - entries(config) - lost
                assert 0 <= twice <= IN_FLIGHT
                lost += twice
            start(process)
            assert process.stdout.readline() == "0\n"
    assert tables(config) == undisturbed.tables
    assert server.counts["requests"] == undisturbed.calls + lost
    assert entries(config) == undisturbed.calls


def test_a_row_asks_again_before_the_servers_cache_has_lost_its_prefix(tmp_path: Path) -> None:
    """Rows of all shards that were walked at once took turns before."""
    with run_null_server(NullServer(answer=answer, latency_s=0.002, keep_bodies=True)) as server:
        config = config_of(tmp_path, "near", server.url)
        generation = config.generation.model_copy(update={"shard_size": 30, "concurrency": 4})
        make_data(config.model_copy(update={"generation": generation}))
        conversations = dict[str, list[int]]()
        for number, body in enumerate(server.bodies):
            if len(body["messages"]) > 1:
                conversations.setdefault(body["messages"][0]["content"], []).append(number)
    apart = [later - earlier for asked in conversations.values() for earlier, later in pairwise(asked)]
    assert len(conversations) == N and len(apart) > N
    assert max(apart) < 5 * 4


@pytest.mark.parametrize("down_s", [2.0, pytest.param(60.0, marks=pytest.mark.slow)])
async def test_a_run_whose_servers_are_all_killed_waits_and_goes_on(
    undisturbed: Undisturbed, caplog: pytest.LogCaptureFixture, down_s: float
) -> None:
    ports = free_port(), free_port()
    urls = [f"http://127.0.0.1:{port}/v1" for port in ports]
    config = config_of(undisturbed.folder, f"down-{down_s:g}", *urls)

    def begin(latency_s: float) -> "list[subprocess.Popen[str]]":
        options = "--latency", str(latency_s), "--answer", "tests.support.finished_run:answer"
        return [start_server(port, *options) for port in ports]

    servers = begin(0.01)
    try:
        making = asyncio.create_task(asyncio.to_thread(make_data, config))
        await until(lambda: entries(config) > undisturbed.calls // 3)
        kill(servers)
        await until(lambda: all(f"{url} cannot be reached" in caplog.text for url in urls))
        await asyncio.sleep(down_s)
        assert not making.done()
        assert "waiting for it to come back" in caplog.text and "answers again" not in caplog.text
        servers = begin(0.3)  # so that one of them does not finish the run before the other one is up
        await making
        assert all(f"{url} answers again" in caplog.text for url in urls)
        assert all([(await server_metrics(url)).requests > 1 for url in urls])
    finally:
        kill(servers)
    assert tables(config) == undisturbed.tables
    assert entries(config) == undisturbed.calls


def kill(servers: "Iterable[subprocess.Popen[str]]") -> None:
    for server in servers:
        server.kill()
        server.communicate()


def test_a_disk_that_is_full_before_the_first_shard_is_one_error(tmp_path: Path) -> None:
    with run_null_server(NullServer(answer=answer)) as server:
        config = config_of(tmp_path, "full", server.url)
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))
        try:
            with pytest.raises(DataError, match=r"cannot be written: File too large\. Free some space on its disk"):
                make_data(config)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        make_data(config)
    assert (config.run_folder / "manifest.json").is_file()


def test_a_run_on_a_disk_that_is_too_small_goes_on_when_there_is_room(undisturbed: Undisturbed) -> None:
    outputs = undisturbed.folder / "small"
    outputs.mkdir()

    def mount(options: str) -> bool:
        command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(outputs)]
        return shutil.which("mount") is not None and subprocess.run(command, capture_output=True).returncode == 0

    needed = sum(path.stat().st_blocks * 512 for path in (undisturbed.folder / "undisturbed").rglob("*"))
    if not mount(f"size={needed // 2}"):
        pytest.skip("no file system may be mounted here")
    try:
        with run_null_server(NullServer(answer=answer)) as server:
            config = config_of(undisturbed.folder, "small", server.url)
            with pytest.raises(CharterError, match="Free some space on its disk"):
                make_data(config)
            assert mount("remount,size=64m")
            make_data(config)
        assert tables(config) == undisturbed.tables
    finally:
        subprocess.run(["umount", "--lazy", str(outputs)], check=True)  # the run that failed may hold a file yet

"""Whole runs on servers that misbehave or die: every row is right, or among the failures with its reason."""

import asyncio
import math
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from charter.config import Serving
from charter.core.messages import Message, user
from charter.data.shards import read_rows
from charter.inference import Completion, EngineSpec, Sampling, connect, open_engine, server_metrics
from charter.testing.null_server import Misbehaviour, NullServer, run_null_server
from tests.support.finished_run import answer, finish_run, settings

N = 100
TABLES = ("responses", "revisions", "pairs", "sft_data", "failures")
ONE_PERCENT_EACH = Misbehaviour(error_share=0.01, error_status=500, malformed_share=0.01, truncated_share=0.01)


def made(folder: Path, url: str, **changes: Any) -> dict[str, list[dict[str, Any]]]:
    config = settings(folder.parent, url, n=N).model_copy(update={"outputs": folder})
    run = finish_run(config, **changes)
    return {table: list(read_rows(run / table)) for table in TABLES}


@pytest.mark.parametrize("slow_share", [0.0, pytest.param(0.01, marks=pytest.mark.slow)])
def test_faults_of_one_percent_each_leave_no_trace(tmp_path: Path, slow_share: float) -> None:
    with run_null_server(NullServer(answer=answer)) as server:
        right = made(tmp_path / "right", server.url)
    faults = replace(ONE_PERCENT_EACH, slow_share=slow_share, slow_s=60)
    with run_null_server(NullServer(answer=answer, misbehaviour=faults)) as server:
        assert made(tmp_path / "wrong", server.url, timeout_s=6.0) == right
    for fault in ("errors", "malformed", "truncated", *(["slow"] if slow_share else [])):
        assert 1 <= server.counts[fault] <= 25
    assert len(right["pairs"]) + len(right["sft_data"]) + len(right["failures"]) == N


def test_faults_that_stay_are_kept_as_failures(tmp_path: Path) -> None:
    for_good = Misbehaviour(malformed_share=0.01, error_share=0.01, error_status=422, times=math.inf)
    with run_null_server(NullServer(answer=answer)) as server:
        right = made(tmp_path / "right", server.url)
    with run_null_server(NullServer(answer=answer, misbehaviour=for_good)) as server:
        wrong = made(tmp_path / "wrong", server.url)
    reasons = {row["reason"] for row in wrong["failures"]} - {row["reason"] for row in right["failures"]}
    assert reasons == {"malformed-answer", "bad-request"}
    ended = [row["row_id"] for table in ("pairs", "sft_data", "failures") for row in wrong[table]]
    assert sorted(ended) == sorted(f"r{i}" for i in range(N))
    for table in ("pairs", "sft_data"):
        assert all(row in right[table] for row in wrong[table])


def test_half_of_a_surrogate_pair_in_an_answer_stops_no_run(tmp_path: Path) -> None:
    """It did: no column takes it, and the store gave it back at every start."""

    def halved(messages: Sequence[Message]) -> str:
        last = messages[-1]["content"]
        return answer(messages) + ("\ud83d and \ud83d\ude00" if last == "Question number 3?" else "")

    with run_null_server(NullServer(answer=halved)) as server:
        first = made(tmp_path / "first", server.url)
    (row,) = (row for row in first["responses"] if row["row_id"] == "r3")
    assert row["response"].endswith("\ufffd and \U0001f600")
    stored = Completion("cut \ud83d", "stop", 1, 1).to_bytes()
    assert Completion.from_bytes(stored).text == "cut \ufffd"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def start_server(port: int, *options: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "charter.testing.null_server", "--port", str(port), "--latency", "0.05", *options]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert re.match("http://", process.stdout.readline())
    return process


async def until(ready: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not ready():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)


async def test_an_endpoint_that_is_killed_is_left_out_and_used_again(tmp_path: Path) -> None:
    ports = free_port(), free_port()
    urls = [f"http://127.0.0.1:{port}/v1" for port in ports]
    servers = [start_server(port) for port in ports]
    try:
        spec = EngineSpec.of(connect(urls, Serving()), str(tmp_path / "store.sqlite"), concurrency=16)
        async with open_engine(spec) as engine:
            asking = [asyncio.create_task(engine.ask([user(f"row {i}")], Sampling(8))) for i in range(1500)]
            await until(lambda: engine.stats.asked > 200)
            servers[1].kill()
            servers[1].communicate()
            before = engine.stats.asked
            await until(lambda: engine.stats.asked > before + 200)  # the other has taken over
            servers[1] = start_server(ports[1])
            assert all(answer.text for answer in await asyncio.gather(*asking))
            assert engine.stats.retries <= 3 * 16  # those in flight, and now and then a look whether it is back
        assert (await server_metrics(urls[1])).requests > 50
    finally:
        for server in servers:
            server.kill()
            server.communicate()


@pytest.mark.parametrize("wait_s", [0.5, 1.5])
async def test_calls_that_are_told_to_wait_do(wait_s: float, tmp_path: Path) -> None:
    busy = Misbehaviour(error_share=1, error_status=429, retry_after_s=wait_s)
    with run_null_server(NullServer(misbehaviour=busy)) as server:
        spec = EngineSpec.of(connect([server.url], Serving()), str(tmp_path / "store.sqlite"))
        async with open_engine(spec) as engine:
            began = time.monotonic()
            await asyncio.gather(*(engine.ask([user(f"row {i}")], Sampling(8)) for i in range(10)))
            assert time.monotonic() - began >= wait_s
            assert engine.stats.retries == 10

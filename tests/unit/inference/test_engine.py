"""Store and client together: asked once, kept before it is returned, never asked again."""

import asyncio
import hashlib
import os
import pickle
import signal
import sqlite3
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from charter.config import Serving
from charter.core.errors import CompletionFailed, StoreError
from charter.core.messages import user
from charter.inference import EngineSpec, Sampling, connect, open_engine
from charter.inference.session import Session
from charter.testing.null_server import Misbehaviour, NullServer, run_null_server


def test_how_long_a_call_and_a_server_are_waited_for_is_configured(tmp_path: Path) -> None:
    settings = Serving(timeout_s=20, patience_s=30, api_key_env="MY_KEY")
    with run_null_server() as server:
        spec = EngineSpec.of(connect([server.url], settings), str(tmp_path / "store.sqlite"))
    assert (spec.timeout_s, spec.patience_s, spec.api_key_env) == (20, 30, "MY_KEY")


def spec_of(server: NullServer, folder: Path) -> EngineSpec:
    return EngineSpec.of(connect([server.url], Serving()), str(folder / "store.sqlite"), concurrency=16)


async def test_asked_once_then_served_from_the_store(tmp_path: Path) -> None:
    with run_null_server() as server:
        spec = pickle.loads(pickle.dumps(spec_of(server, tmp_path)))
        async with open_engine(spec) as engine:
            first = await engine.ask([user("hello")], Sampling(8))
            again = await engine.ask([user("hello")], Sampling(8))
            assert (engine.stats.asked, engine.stats.from_store) == (1, 1)
            assert engine.stats.completion_tokens == first.completion_tokens
        async with open_engine(spec) as engine:
            assert await engine.ask([user("hello")], Sampling(8)) == again == replace(first, stored=True)
            assert engine.stats.asked == 0
        assert server.counts["requests"] == 1


async def test_engines_of_one_run_share_connections(tmp_path: Path) -> None:
    session = Session()
    with run_null_server() as server:
        spec = spec_of(server, tmp_path)
        async with session.engine(spec) as first, session.engine(replace(spec, api_key_env="OTHER_KEY")) as second:
            await first.ask([user("one")], Sampling(8))
            await second.ask([user("two")], Sampling(8))
            async with session.engine(spec) as third:
                await third.ask([user("three")], Sampling(8))
            await second.ask([user("four")], Sampling(8))
        assert (server.counts["requests"], server.counts["connections"]) == (4, 1)
        async with session.engine(spec) as later:
            await later.ask([user("five")], Sampling(8))
        assert server.counts["connections"] == 2  # what nobody used any more was closed


async def test_another_model_is_asked_anew(tmp_path: Path) -> None:
    with run_null_server() as server:
        for identity in ("sha256:one", "sha256:two", "sha256:one"):
            async with open_engine(replace(spec_of(server, tmp_path), identity=identity)) as engine:
                await engine.ask([user("hello")], Sampling(8))
    assert server.counts["requests"] == 2


async def test_the_same_request_in_flight_is_asked_once(tmp_path: Path) -> None:
    with run_null_server(NullServer(latency_s=0.2)) as server:
        async with open_engine(spec_of(server, tmp_path)) as engine:
            asked = [engine.ask([user("hello")], Sampling(8)) for _ in range(20)]
            assert len(set(await asyncio.gather(*asked))) == 1
            assert (engine.stats.asked, engine.stats.from_store, engine.stats.in_flight) == (1, 19, 0)
    assert server.counts["requests"] == 1


async def test_a_caller_that_goes_away_does_not_take_the_answer_with_it(tmp_path: Path) -> None:
    with run_null_server(NullServer(latency_s=0.3)) as server:
        async with open_engine(spec_of(server, tmp_path)) as engine:
            leaving, staying = (asyncio.create_task(engine.ask([user("hello")], Sampling(8))) for _ in range(2))
            await asyncio.sleep(0.1)
            leaving.cancel()
            assert (await staying).text
            with pytest.raises(asyncio.CancelledError):
                await leaving
    assert server.counts["requests"] == 1


async def test_concurrency_is_bounded(tmp_path: Path) -> None:
    with run_null_server(NullServer(latency_s=0.05)) as server:
        async with open_engine(spec_of(server, tmp_path)) as engine:
            asked = asyncio.gather(*(engine.ask([user(str(i))], Sampling(8)) for i in range(100)))
            highest = 0
            while not asked.done():
                highest = max(highest, server.counts["running"])
                await asyncio.sleep(0.005)
            await asked
    assert 8 <= highest <= 16


async def test_failures_are_counted_and_not_stored(tmp_path: Path) -> None:
    wrong = NullServer(misbehaviour=Misbehaviour(error_share=1, error_status=400))
    with run_null_server(wrong) as server:
        async with open_engine(spec_of(server, tmp_path)) as engine:
            with pytest.raises(CompletionFailed, match="bad-request"):
                await engine.ask([user("hello")], Sampling(8))
            assert (await engine.ask([user("hello")], Sampling(8))).text
            assert (engine.stats.failed, engine.stats.asked) == (1, 1)


async def test_a_damaged_entry_is_asked_again(tmp_path: Path) -> None:
    with run_null_server() as server:
        spec = spec_of(server, tmp_path)
        async with open_engine(spec) as engine:
            first = await engine.ask([user("hello")], Sampling(8))
        with sqlite3.connect(spec.store) as outside:
            outside.execute("UPDATE completions SET value = substr(value, 1, 12)")
        outside.close()
        async with open_engine(spec) as engine:
            assert await engine.ask([user("hello")], Sampling(8)) == first
            assert (engine.stats.asked, engine.stats.corrupted) == (1, 1)


async def test_a_store_that_cannot_be_used(tmp_path: Path) -> None:
    with run_null_server() as server, pytest.raises(StoreError, match="store: PATH"):
        async with open_engine(replace(spec_of(server, tmp_path), store=str(tmp_path))):
            pass


DRIVER = """
import asyncio, pickle, sys
from charter.core.messages import user
from charter.inference import Sampling, open_engine
async def main():
    async with open_engine(pickle.loads(bytes.fromhex(sys.argv[1]))) as engine:
        async def row(i):
            return (await engine.ask([user(f"row {i}")], Sampling(16, temperature=1.0, seed=i))).text
        texts = await asyncio.gather(*(row(i) for i in range(400)))
        import hashlib
        print(hashlib.sha256("".join(texts).encode()).hexdigest(), engine.stats.asked, flush=True)
asyncio.run(main())
"""


@pytest.mark.parametrize("kill_at", [(150,), pytest.param((30, 150, 250), marks=pytest.mark.slow)])
def test_a_killed_run_asks_only_what_is_missing(tmp_path: Path, kill_at: tuple[int, ...]) -> None:
    """SIGKILL at several moments: the result is that of an undisturbed run, and little is asked twice."""

    def drive(spec: EngineSpec) -> "subprocess.Popen[str]":
        command = [sys.executable, "-c", DRIVER, pickle.dumps(spec).hex()]
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)

    with run_null_server() as server:
        undisturbed, _ = drive(spec_of(server, tmp_path / "other")).communicate(timeout=60)
    with run_null_server(NullServer(latency_s=0.05)) as server:
        spec = spec_of(server, tmp_path)
        for requests in kill_at:
            process = drive(spec)
            while server.counts["requests"] < requests:
                assert process.poll() is None
            os.kill(process.pid, signal.SIGKILL)
            process.communicate(timeout=10)
        final, _ = drive(spec).communicate(timeout=60)
    digest, asked = final.split()
    assert digest == undisturbed.split()[0]
    assert int(asked) <= 400 - kill_at[-1] + len(kill_at) * int(spec.concurrency)
    assert server.counts["requests"] <= 400 + len(kill_at) * int(spec.concurrency)
    assert len(digest) == hashlib.sha256().digest_size * 2

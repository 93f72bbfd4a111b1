"""A run that is told to stop: no call begins any more, those that began are kept."""

import asyncio
import math
import os
import signal
import time
from dataclasses import replace
from pathlib import Path

import pytest

from charter.config import Budget, Serving
from charter.core.errors import BudgetSpent, Interrupted, Stopped
from charter.core.messages import user
from charter.inference import EngineSpec, Sampling, connect, open_store
from charter.inference.session import Session, interruptible
from charter.testing.null_server import Misbehaviour, NullServer, run_null_server

SAMPLING = Sampling(8)


def spec_of(server: NullServer, folder: Path) -> EngineSpec:
    return EngineSpec.of(connect([server.url], Serving()), str(folder / "store.sqlite"), concurrency=16)


async def ask_all(session: Session, spec: EngineSpec, n: int, name: str = "row") -> list[BaseException | None]:
    """What became of each of `n` calls: nothing wrong, or an error."""
    async with session.engine(spec) as engine:
        asked = [engine.ask([user(f"{name} {i}")], SAMPLING) for i in range(n)]
        ended = await asyncio.gather(*asked, return_exceptions=True)
    return [one if isinstance(one, BaseException) else None for one in ended]


def entries(spec: EngineSpec) -> int:
    store = open_store(spec.store)
    try:
        return store.stats().entries
    finally:
        store.close()


async def test_calls_stop_at_the_budget_and_are_kept(tmp_path: Path) -> None:
    with run_null_server(NullServer(latency_s=0.01)) as server:
        spec = spec_of(server, tmp_path)
        session = Session(Budget(calls=50))
        ended = await ask_all(session, spec, 80)
        assert [type(error) for error in ended] == [type(None)] * 50 + [BudgetSpent] * 30
        assert session.calls == server.counts["requests"] == entries(spec) == 50
        with pytest.raises(BudgetSpent, match=r"budget\.calls '50': reached, with 50 calls and [\d,]+ tokens"):
            session.check()
        session = Session(Budget(calls=50))
        assert await ask_all(session, spec, 80) == [None] * 80  # what the store answers is no call
        assert (session.calls, server.counts["requests"]) == (30, 80)
        session.check()


async def test_a_budget_holds_for_all_engines_together(tmp_path: Path) -> None:
    session = Session(Budget(calls=40))
    with run_null_server(NullServer(latency_s=0.01)) as server:
        spec = spec_of(server, tmp_path)
        ended = await asyncio.gather(*(ask_all(session, spec, 30, name) for name in ("one", "two")))
        assert sum(error is None for one in ended for error in one) == server.counts["requests"] == 40


async def test_tokens_and_minutes_are_budgets_too(tmp_path: Path) -> None:
    with run_null_server(NullServer(latency_s=0.01)) as server:
        spec = spec_of(server, tmp_path)
        session = Session(Budget(tokens=300))
        ended = await ask_all(session, spec, 200)
        assert 300 <= session.tokens < 300 + 16 * 10 + 10  # calls in flight are finished
        assert server.counts["answered"] == entries(spec) == sum(error is None for error in ended) < 100
        assert "budget.tokens '300'" in str(ended[-1])
        session = Session(Budget(minutes=0.001))
        await asyncio.sleep(0.07)
        assert {type(error) for error in await ask_all(session, spec, 5, "late")} == {BudgetSpent}


async def test_a_call_that_waits_to_be_made_again_ends_with_the_minutes(tmp_path: Path) -> None:
    ill = Misbehaviour(error_share=1, error_status=503, times=math.inf)
    session = Session(Budget(minutes=0.02))
    with run_null_server(NullServer(misbehaviour=ill)) as server:
        began = time.monotonic()
        assert {type(error) for error in await ask_all(session, spec_of(server, tmp_path), 20)} == {BudgetSpent}
    assert time.monotonic() - began < 15


async def test_what_one_engine_learnt_of_its_servers_the_others_know(tmp_path: Path) -> None:
    session = Session()
    with run_null_server() as server:
        spec = replace(spec_of(server, tmp_path), base_urls=(server.url, "http://127.0.0.1:9/v1"))
        async with session.engine(spec) as one, session.engine(spec) as other:
            await asyncio.gather(*(one.ask([user(f"row {i}")], SAMPLING) for i in range(40)))
            assert one.stats.retries > 0
            await asyncio.gather(*(other.ask([user(f"other {i}")], SAMPLING) for i in range(40)))
            assert other.stats.retries == 0
            assert [endpoint.in_flight for endpoint in session._routers[spec.base_urls].endpoints] == [0, 0]


async def test_calls_in_flight_are_finished_after_an_interruption(tmp_path: Path) -> None:
    with run_null_server(NullServer(latency_s=0.5)) as server:
        spec = spec_of(server, tmp_path)
        session = Session()
        asking = asyncio.create_task(ask_all(session, spec, 40))
        while server.counts["running"] < 16:
            await asyncio.sleep(0.01)
        session.interrupt()
        ended = await asking
    assert [type(error) for error in ended] == [type(None)] * 16 + [Interrupted] * 24
    assert server.counts["requests"] == entries(spec) == 16
    assert "Run the same command again to continue" in str(ended[-1])


async def test_calls_that_take_too_long_are_given_up(tmp_path: Path) -> None:
    session = Session()
    with run_null_server(NullServer(latency_s=60)) as server:
        asking = asyncio.create_task(ask_all(session, spec_of(server, tmp_path), 20))
        while server.counts["running"] < 16:
            await asyncio.sleep(0.01)
        began = asyncio.get_running_loop().time()
        session.interrupt()
        assert {type(error) for error in await asking} == {Interrupted}
    assert asyncio.get_running_loop().time() - began < 7


async def test_a_caller_that_went_away_is_waited_for_when_the_run_stops(tmp_path: Path) -> None:
    """Rows are cancelled as soon as one of them is stopped; their calls are paid for."""
    session = Session()
    with run_null_server(NullServer(latency_s=0.3)) as server:
        spec = spec_of(server, tmp_path)
        async with session.engine(spec) as engine:
            leaving = asyncio.create_task(engine.ask([user("hello")], SAMPLING))
            while not server.counts["running"]:
                await asyncio.sleep(0.01)
            session.interrupt()
            leaving.cancel()
        assert entries(spec) == 1


async def test_ctrl_c_while_nothing_is_asked_is_what_it_always_was() -> None:
    before = signal.getsignal(signal.SIGINT)
    session = Session()
    with pytest.raises(KeyboardInterrupt), interruptible(session):
        os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before
    assert not session.stopping


async def test_ctrl_c_while_an_engine_is_at_work(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    session = Session()
    with run_null_server() as server, interruptible(session):
        async with session.engine(spec_of(server, tmp_path)) as engine:
            os.kill(os.getpid(), signal.SIGINT)
            with pytest.raises(Stopped):
                await engine.ask([user("hello")], SAMPLING)
    assert "finishing the calls in flight" in capfd.readouterr().err

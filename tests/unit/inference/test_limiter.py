"""How many calls run at the same time: exactly as many as configured, or the level that servers allow."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from charter.config import Serving
from charter.core.messages import user
from charter.inference import EngineSpec, Sampling, connect
from charter.inference.limiter import HIGHEST, LOWEST, START, AdaptiveLimiter, ConcurrencyLimiter
from charter.inference.metrics import ServerSnapshot
from charter.inference.session import Session
from charter.testing.null_server import Misbehaviour, NullServer, run_null_server


async def test_a_level_is_kept() -> None:
    limiter, highest, busy = ConcurrencyLimiter(8), 0, 0

    async def work() -> None:
        nonlocal highest, busy
        async with limiter.place():
            busy += 1
            highest = max(highest, busy)
            await asyncio.sleep(0.001)
            busy -= 1

    for level in (8, 20, 3, 5, 1, 30):
        limiter.level, highest = level, 0
        await asyncio.gather(*(work() for _ in range(5 * level)))
        assert highest == level


async def test_the_lowest_place_goes_first_and_of_one_place_who_came_first() -> None:
    limiter, went = ConcurrencyLimiter(1), list[tuple[int, ...]]()

    async def work(*place: int) -> None:
        async with limiter.place(place[:-1]):
            went.append(place)
            await asyncio.sleep(0)

    await asyncio.gather(*(work(*place) for place in [(9, 9, 0), (1, 5, 1), (0, 7, 2), (1, 2, 3), (0, 7, 4), (4,)]))
    assert went == [(9, 9, 0), (4,), (0, 7, 2), (0, 7, 4), (1, 2, 3), (1, 5, 1)]


async def test_a_caller_that_goes_away_takes_no_slot() -> None:
    limiter = ConcurrencyLimiter(1)
    async with limiter.place():
        leaving = asyncio.create_task(limiter.place().__aenter__())
        await asyncio.sleep(0)
        leaving.cancel()
        await asyncio.gather(leaving, return_exceptions=True)
    async with asyncio.timeout(1):
        async with limiter.place():
            pass


@asynccontextmanager
async def crowd(limiter: ConcurrencyLimiter) -> AsyncIterator[None]:
    """More calls than can run, none of which ends."""

    async def call() -> None:
        async with limiter.place():
            await asyncio.Event().wait()

    calls = [asyncio.create_task(call()) for _ in range(2 * HIGHEST)]
    await asyncio.sleep(0)
    yield
    for task in calls:
        task.cancel()
    await asyncio.gather(*calls, return_exceptions=True)


async def test_the_level_doubles_while_servers_have_no_queue() -> None:
    snapshot, levels = ServerSnapshot(0, 0, None), list[int]()
    limiter = AdaptiveLimiter(lambda: snapshot)
    async with crowd(limiter):
        for capacity in (10_000, 10_000, 300, 300, 10_000, 10_000, 10_000):
            snapshot = ServerSnapshot(min(limiter.level, capacity), max(0, limiter.level - capacity), None)
            for _ in range(3):  # a snapshot counts once
                limiter.record_completion()
            levels.append(limiter.level)
    assert levels == [256, 512, 512, 512, 1024, HIGHEST, HIGHEST]


@pytest.mark.parametrize(
    "snapshot",
    [None, ServerSnapshot(20, 0, None), ServerSnapshot(128, 1, None)],
    ids=["no metrics", "taken before the calls arrived", "queue"],
)
async def test_the_level_stays_where_nothing_shows_room_for_more(snapshot: ServerSnapshot | None) -> None:
    limiter = AdaptiveLimiter(lambda: snapshot)
    async with crowd(limiter):
        for _ in range(10 * START):
            limiter.record_completion()
        assert limiter.level == START


async def test_the_level_stays_while_no_call_waits() -> None:
    limiter = AdaptiveLimiter(lambda: ServerSnapshot(START, 0, None))
    limiter.record_completion()
    assert limiter.level == START


async def test_a_refusal_halves_the_level_which_grows_again_by_one_a_round(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr("charter.inference.limiter.monotonic", lambda: now)
    limiter = AdaptiveLimiter()
    async with crowd(limiter):
        for _ in range(50):  # refusals of calls that were in flight together
            limiter.back_off()
        assert limiter.level == START // 2
        for _ in range(10 * START // 2):  # ten rounds
            limiter.record_completion()
        assert START // 2 + 8 <= limiter.level <= START // 2 + 10
        for _ in range(START * START):
            limiter.record_completion()
        assert limiter.level == START
        for _ in range(10):
            now += 2.0
            limiter.back_off()
        assert limiter.level == LOWEST


async def test_a_server_that_refuses_calls_gets_fewer(tmp_path: Path) -> None:
    refusing = NullServer(latency_s=0.02, refuse_above=40, misbehaviour=Misbehaviour(retry_after_s=0.1))
    session = Session()
    with run_null_server(refusing) as server:
        spec = EngineSpec.of(connect([server.url], Serving()), str(tmp_path / "store.sqlite"))
        async with session.engine(spec) as engine:
            await asyncio.gather(*(engine.ask([user(f"row {i}")], Sampling(8)) for i in range(400)))
            assert session.limiter(spec.base_urls, spec.concurrency).level < START
    assert server.counts["answered"] == 400 and server.counts["refused"] > 0


async def test_engines_of_one_session_share_their_servers_slots(tmp_path: Path) -> None:
    async def ask(spec: EngineSpec, name: str) -> None:
        async with session.engine(spec) as engine:
            await asyncio.gather(*(engine.ask([user(f"{name} {i}")], Sampling(8)) for i in range(40)))

    session = Session()
    with run_null_server(NullServer(latency_s=0.03)) as server:
        spec = EngineSpec.of(connect([server.url], Serving()), str(tmp_path / "store.sqlite"), concurrency=10)
        other = replace(spec, identity="sha256:other")
        shards = asyncio.gather(ask(spec, "one"), ask(spec, "two"), ask(other, "three"), ask(spec, "four"))
        highest = 0
        while not shards.done():
            highest = max(highest, server.counts["running"])
            await asyncio.sleep(0.003)
        await shards
    assert 8 <= highest <= 10
    assert server.counts["answered"] == 160

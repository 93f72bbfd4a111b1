"""What the servers of a run say of themselves while it goes on."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from charter.config import Serving
from charter.core.messages import user
from charter.inference import EngineSpec, Sampling, connect, open_engine
from charter.inference import metrics_poller as gauge
from charter.inference.metrics_poller import Gauge, Load, Reading
from charter.testing.null_server import run_null_server


class Counters:
    """A server that has nothing but /metrics."""

    def __init__(self) -> None:
        self.queries = self.hits = self.running = self.waiting = self.reads = 0

    async def page(self, _: web.Request) -> web.Response:
        self.reads += 1
        lines = {
            "vllm:prefix_cache_queries_total": self.queries,
            "vllm:prefix_cache_hits_total": self.hits,
            "vllm:num_requests_running": self.running,
            "vllm:num_requests_waiting": self.waiting,
        }
        return web.Response(text="".join(f'{name}{{engine="0"}} {value}\n' for name, value in lines.items()))

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[str]:
        app = web.Application()
        app.router.add_get("/metrics", self.page)
        runner = web.AppRunner(app)
        await runner.setup()
        try:
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            yield f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
        finally:
            await runner.cleanup()


async def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not true():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)


async def test_it_sums_over_servers_and_counts_the_cache_from_its_first_reading(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(gauge, "EVERY_S", 0.05)
    one, other = Counters(), Counters()
    one.queries, one.hits, other.waiting = 1_000, 1_000, 3
    async with one.serving() as first, other.serving() as second:
        own = Gauge([first, second])
        async with own.watched(), own.watched():
            await until(lambda: own.latest is not None)
            assert own.latest == Reading(3, None)
            one.queries, one.hits, other.queries, one.waiting = 1_060, 1_030, 40, 4
            await until(lambda: own.latest == Reading(7, 0.3))


async def test_the_load_of_servers_is_known_while_they_have_something_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gauge, "EVERY_S", 0.05)
    one, other = Counters(), Counters()
    async with one.serving() as first, other.serving() as second:
        own = Gauge([first, second])
        async with own.watched():
            await until(lambda: own.latest is not None)
            assert own.load is None
            one.running, other.running, other.waiting = 5, 7, 2
            await until(lambda: own.load == Load(12, 2))
            one.running = other.running = other.waiting = 0
            await until(lambda: own.load is None)


async def test_a_server_that_is_started_again_or_gone_takes_nothing_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gauge, "EVERY_S", 0.05)
    one, other = Counters(), Counters()
    one.queries, one.hits = 1_000, 900
    async with one.serving() as first:
        async with other.serving() as second:
            own = Gauge([first, second])
            async with own.watched():
                await until(lambda: own.latest == Reading(0, None))
                one.queries, one.hits, other.queries, other.hits = 1_100, 950, 100, 100
                await until(lambda: own.latest == Reading(0, 0.75))
                one.queries, one.hits = 100, 0  # counted since it was started again
                await until(lambda: own.latest == Reading(0, 0.5))
        async with own.watched():
            one.waiting = 2
            await until(lambda: own.latest == Reading(2, 0.5))


async def test_many_engines_read_no_more_often_than_one() -> None:
    one = Counters()
    async with one.serving() as url:
        own = Gauge([url])
        async with own.watched(), own.watched(), own.watched():
            await until(lambda: own.latest is not None)
            await asyncio.sleep(0.3)
    assert one.reads == 1


async def test_a_server_without_metrics_is_left_alone_for_a_while() -> None:
    own = Gauge(["http://127.0.0.1:9/v1"])
    async with own.watched():
        await until(lambda: own._next > time.monotonic() + 30)
    assert own.latest is None


async def test_an_engine_has_the_reading_of_its_servers(tmp_path: object) -> None:
    with run_null_server() as server:
        spec = EngineSpec.of(connect([server.url], Serving()), f"{tmp_path}/store.sqlite")
        async with open_engine(spec) as engine:
            await engine.ask([user("hello")], Sampling(8))
            await until(lambda: engine.reading is not None)
            assert engine.reading == Reading(0, None)

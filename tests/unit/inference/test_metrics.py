"""What servers report about themselves, once and polled while a run goes on."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from charter.config import Serving
from charter.core.errors import ServingError
from charter.core.messages import user
from charter.inference import Client, EngineSpec, Sampling, ServerMetrics, connect, metrics, open_engine, server_metrics
from charter.inference.metrics import MetricsPoller, ServerSnapshot, parse_metrics
from charter.testing.null_server import run_null_server

TEXT = """
# HELP vllm:request_success_total Count of successfully processed requests.
vllm:request_success_total{engine="0",finished_reason="stop",model_name="m"} 3.0
vllm:request_success_total{engine="0",finished_reason="length",model_name="m"} 4.0
vllm:request_success_created{engine="0",finished_reason="stop",model_name="m"} 1.7952553058265976e+09
vllm:prompt_tokens_total{engine="0",model_name="m"} 84.0
vllm:prompt_tokens_total{engine="1",model_name="m"} 16.0
vllm:generation_tokens_total{engine="0",model_name="m"} 1.3e+01
vllm:prefix_cache_queries_total{engine="0",model_name="m"} 84.0
vllm:prefix_cache_hits_total{engine="0",model_name="m"} 32.0
vllm:num_requests_running{engine="0",model_name="m"} 2.0
vllm:num_requests_waiting{engine="0",model_name="m"} 5.0
vllm:num_requests_waiting_by_reason{engine="0",model_name="m",reason="capacity"} 9.0
"""


def test_series_are_summed_over_their_labels() -> None:
    assert parse_metrics(TEXT) == ServerMetrics(7, 100, 13, 84, 32, 2, 5)


async def test_read_from_a_server() -> None:
    with run_null_server() as server:
        async with Client([server.url], "null") as client:
            completion = await client.complete([user("one two three")], Sampling(64))
        found = await server_metrics(server.url)
    assert (found.requests, found.prompt_tokens, found.running) == (1, 3, 0)
    assert found.generation_tokens == completion.completion_tokens


async def test_no_server() -> None:
    with pytest.raises(ServingError, match=r"metrics 'http://127\.0\.0\.1:9/metrics'"):
        await server_metrics("http://127.0.0.1:9/v1")


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


async def test_it_sums_over_servers_and_counts_the_cache_from_its_first_snapshot(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(metrics, "POLL_S", 0.05)
    one, other = Counters(), Counters()
    one.queries, one.hits, other.waiting = 1_000, 1_000, 3
    async with one.serving() as first, other.serving() as second:
        poller = MetricsPoller([first, second])
        async with poller.polling(), poller.polling():
            await until(lambda: poller.latest is not None)
            assert poller.latest == ServerSnapshot(0, 3, None)
            one.queries, one.hits, other.queries = 1_060, 1_030, 40
            one.running, other.running, one.waiting = 5, 7, 4
            await until(lambda: poller.latest == ServerSnapshot(12, 7, 0.3))


async def test_a_server_that_is_started_again_or_gone_takes_nothing_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "POLL_S", 0.05)
    one, other = Counters(), Counters()
    one.queries, one.hits = 1_000, 900
    async with one.serving() as first:
        async with other.serving() as second:
            poller = MetricsPoller([first, second])
            async with poller.polling():
                await until(lambda: poller.latest == ServerSnapshot(0, 0, None))
                one.queries, one.hits, other.queries, other.hits = 1_100, 950, 100, 100
                await until(lambda: poller.latest == ServerSnapshot(0, 0, 0.75))
                one.queries, one.hits = 100, 0  # counted since it was started again
                await until(lambda: poller.latest == ServerSnapshot(0, 0, 0.5))
        async with poller.polling():
            one.waiting = 2
            await until(lambda: poller.latest == ServerSnapshot(0, 2, 0.5))


async def test_many_engines_read_no_more_often_than_one() -> None:
    one = Counters()
    async with one.serving() as url:
        poller = MetricsPoller([url])
        async with poller.polling(), poller.polling(), poller.polling():
            await until(lambda: poller.latest is not None)
            await asyncio.sleep(0.3)
    assert one.reads == 1


async def test_a_server_without_metrics_is_left_alone_for_a_while() -> None:
    poller = MetricsPoller(["http://127.0.0.1:9/v1"])
    async with poller.polling():
        await until(lambda: poller._next_poll > time.monotonic() + 30)
    assert poller.latest is None


async def test_an_engine_has_the_snapshot_of_its_servers(tmp_path: object) -> None:
    with run_null_server() as server:
        spec = EngineSpec.of(connect([server.url], Serving()), f"{tmp_path}/store.sqlite")
        async with open_engine(spec) as engine:
            await engine.ask([user("hello")], Sampling(8))
            await until(lambda: engine.reading is not None)
            assert engine.reading == ServerSnapshot(0, 0, None)

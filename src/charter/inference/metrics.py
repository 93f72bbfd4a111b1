"""What vLLM servers report about themselves on /metrics: counters, queue length, and the prefix cache's hits."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Sequence
from typing import NamedTuple

import aiohttp

from charter.core.errors import ServingError
from charter.inference.network import metrics_url, proxy_of

POLL_S, POLL_AFTER_FAILURE_S = 5.0, 60.0


class ServerMetrics(NamedTuple):
    """Counters since the server started (the first five), and its state now (the last two)."""

    requests: int
    """Requests finished, whatever the reason."""
    prompt_tokens: int
    generation_tokens: int
    prefix_cache_queries: int
    """Prompt tokens looked up in the prefix cache."""
    prefix_cache_hits: int
    """Those of them that needed no computation."""
    running: int
    waiting: int


_SERIES = (  # in the order of the fields
    "vllm:request_success_total",
    "vllm:prompt_tokens_total",
    "vllm:generation_tokens_total",
    "vllm:prefix_cache_queries_total",
    "vllm:prefix_cache_hits_total",
    "vllm:num_requests_running",
    "vllm:num_requests_waiting",
)


async def server_metrics(base_url: str) -> ServerMetrics:
    """Read the counters of the server at `base_url` (``http://…/v1``).

    Raises:
        ServingError: the server does not answer, or has no /metrics.
    """
    url = metrics_url(base_url)
    proxy, login = proxy_of(url) or (None, None)
    try:
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=15)) as session,
            session.get(url, raise_for_status=True, proxy=proxy, proxy_headers=login) as response,
        ):
            return parse_metrics(await response.text())
    except (aiohttp.ClientError, TimeoutError) as error:
        raise ServingError(f"metrics '{url}': {error or 'no answer'}. Check that the server runs.") from error


def parse_metrics(text: str) -> ServerMetrics:
    """Sum each series of the Prometheus text over its labels (engines, finish reasons)."""
    sums = dict.fromkeys(_SERIES, 0.0)
    for line in text.splitlines():
        name = line.split("{", 1)[0].split(" ", 1)[0]
        if name in sums:
            sums[name] += float(line.rsplit(" ", 1)[1])
    return ServerMetrics._make(int(value) for value in sums.values())


class ServerSnapshot(NamedTuple):
    """The state of all servers that have metrics, summed."""

    running: int
    """Requests that they work on."""
    waiting: int
    """Requests in their queues."""
    cache_hits: float | None
    """Fraction of the prompt tokens since the first snapshot that the prefix cache had; None before any prompt."""


class MetricsPoller:
    """Reads /metrics of some servers every few seconds; once a minute while none of them has it."""

    def __init__(self, base_urls: Sequence[str]) -> None:
        self._base_urls = tuple(base_urls)
        self._previous = dict[str, ServerMetrics]()
        self._cache_queries = self._cache_hits = 0
        self._next_poll = 0.0
        self.latest: ServerSnapshot | None = None
        """None while nothing is known."""

    @contextlib.asynccontextmanager
    async def polling(self) -> AsyncIterator[None]:
        """Poll for the length of the block; several blocks at the same time poll no more often than one."""

        async def poll_forever() -> None:
            while True:
                if (now := time.monotonic()) >= self._next_poll:
                    self._next_poll = now + POLL_S
                    await self._poll()
                await asyncio.sleep(max(0.1, self._next_poll - time.monotonic()))

        task = asyncio.create_task(poll_forever()) if self._base_urls else None
        try:
            yield
        finally:
            if task is not None:
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task

    async def _poll(self) -> None:
        # A server that fails is left out without a message: the client that asks it reports what is wrong.
        results = await asyncio.gather(*map(server_metrics, self._base_urls), return_exceptions=True)
        known = dict[str, ServerMetrics]()
        for url, result in zip(self._base_urls, results, strict=True):
            if isinstance(result, ServerMetrics):
                known[url] = result
            elif not isinstance(result, ServingError | ValueError):
                raise result
        if not known:
            self.latest = None
            self._next_poll = time.monotonic() + POLL_AFTER_FAILURE_S
            return
        for url, metrics in known.items():
            previous = self._previous.get(url, metrics)
            if metrics.prefix_cache_queries < previous.prefix_cache_queries:  # it was restarted and counts from 0
                previous = ServerMetrics(*(0 for _ in metrics))
            self._cache_queries += metrics.prefix_cache_queries - previous.prefix_cache_queries
            self._cache_hits += metrics.prefix_cache_hits - previous.prefix_cache_hits
            self._previous[url] = metrics
        self.latest = ServerSnapshot(
            running=sum(metrics.running for metrics in known.values()),
            waiting=sum(metrics.waiting for metrics in known.values()),
            cache_hits=self._cache_hits / self._cache_queries if self._cache_queries else None,
        )

"""What the servers of a run say of themselves while it goes on: how long their queue is, and what their cache saves."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Sequence
from typing import NamedTuple

from charter.core.errors import ServingError
from charter.inference.metrics import ServerMetrics, server_metrics

EVERY_S, AFTER_FAILURE_S = 5.0, 60.0


class Reading(NamedTuple):
    """Of all servers that tell, together."""

    waiting: int
    """Requests in their queues."""
    cache_hits: float | None
    """Share of the prompt tokens since the first reading that the prefix cache had; None where none were asked."""


class Load(NamedTuple):
    """What servers have to do, of all that tell, together."""

    running: int
    waiting: int


class Gauge:
    """Reads /metrics of some servers every few seconds; if none has it they are asked once a minute."""

    def __init__(self, base_urls: Sequence[str]) -> None:
        self._base_urls = tuple(base_urls)
        self._last = dict[str, ServerMetrics]()
        self._asked = self._hits = 0
        self._next = 0.0
        self.latest: Reading | None = None
        """None as long as nothing is known."""
        self.load: Load | None = None
        """None also where they were at rest, or do not tell what they run."""

    @contextlib.asynccontextmanager
    async def watched(self) -> AsyncIterator[None]:
        """Keep reading for the length of the block; several blocks at once read no more often than one."""
        task = asyncio.create_task(self._watch()) if self._base_urls else None
        try:
            yield
        finally:
            if task is not None:
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task

    async def _watch(self) -> None:
        while True:
            if (now := time.monotonic()) >= self._next:
                self._next = now + EVERY_S
                await self._read()
            await asyncio.sleep(max(0.1, self._next - time.monotonic()))

    async def _read(self) -> None:
        each = await asyncio.gather(*map(_metrics, self._base_urls))
        told = {url: now for url, now in zip(self._base_urls, each, strict=True) if now is not None}
        if not told:
            self.latest = self.load = None
            self._next = time.monotonic() + AFTER_FAILURE_S
            return
        for url, now in told.items():
            before = self._last.get(url, now)
            if now.prefix_cache_queries < before.prefix_cache_queries:  # started again, and counts from nothing
                before = ServerMetrics(*(0 for _ in now))
            self._asked += now.prefix_cache_queries - before.prefix_cache_queries
            self._hits += now.prefix_cache_hits - before.prefix_cache_hits
            self._last[url] = now
        running, waiting = (sum(getattr(now, what) for now in told.values()) for what in ("running", "waiting"))
        self.load = Load(running, waiting) if running else None
        self.latest = Reading(waiting, self._hits / self._asked if self._asked else None)


async def _metrics(base_url: str) -> ServerMetrics | None:
    """None where there is no vLLM, or none that can be reached now: the client says more."""
    try:
        return await server_metrics(base_url)
    except (ServingError, ValueError):
        return None

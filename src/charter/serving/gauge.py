"""What the servers of a run say of themselves while it goes on: how long their queue is, and what their cache saves."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Sequence
from typing import NamedTuple

from charter.errors import ServingError
from charter.serving.metrics import ServerMetrics, server_metrics

EVERY_S, AFTER_FAILURE_S = 5.0, 60.0


class Reading(NamedTuple):
    """Of all servers together."""

    waiting: int
    """Requests in their queues."""
    cache_hits: float | None
    """Share of the prompt tokens since the first reading that the prefix cache had; None where none were asked."""


class Gauge:
    """Reads /metrics of some servers every few seconds; those without it are asked once a minute."""

    def __init__(self, base_urls: Sequence[str]) -> None:
        self._base_urls = tuple(base_urls)
        self._first: ServerMetrics | None = None
        self._next = 0.0
        self.latest: Reading | None = None
        """None as long as nothing is known."""

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
        try:
            each = await asyncio.gather(*map(server_metrics, self._base_urls))
        except (ServingError, ValueError):  # no vLLM, or none that can be reached now: the client says more
            self.latest, self._next = None, time.monotonic() + AFTER_FAILURE_S
            return
        now = ServerMetrics._make(map(sum, zip(*each, strict=True)))
        first = self._first = self._first or now
        asked = now.prefix_cache_queries - first.prefix_cache_queries
        hits = (now.prefix_cache_hits - first.prefix_cache_hits) / asked if asked > 0 else None
        self.latest = Reading(now.waiting, hits)

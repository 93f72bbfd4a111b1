"""How many calls may be in flight at the same time: a fixed number, or one that follows the servers' answers."""

import asyncio
import heapq
import itertools
import math
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from time import monotonic
from typing import Literal

from charter.inference.metrics import ServerSnapshot

Concurrency = int | Literal["auto"]

Priority = tuple[int, ...]
"""Of a call: shard, and row in the shard. Among calls that wait, the lowest goes first, so that a row continues before
the next one starts, while the servers still have its prefix cached."""

LOWEST, START, HIGHEST = 4, 128, 2048
"""Levels of `auto`. It starts high: vLLM queues what it cannot run, so too many calls cost it less than too few."""
_BACK_OFF_S = 1.0


class ConcurrencyLimiter:
    """Lets `level` calls run at the same time; the others wait in the order of their priority."""

    def __init__(self, level: int) -> None:
        self.level = level
        self._running = 0
        self._waiting = list[tuple[Priority, int, asyncio.Future[None]]]()
        self._arrivals = itertools.count()

    @asynccontextmanager
    async def place(self, priority: Priority = ()) -> AsyncIterator[None]:
        """A place among the calls in flight, for the length of the block."""
        if self._running < self.level and not self._waiting:
            self._running += 1
        else:
            await self._wait(priority)
        try:
            yield
        finally:
            self._leave()

    async def _wait(self, priority: Priority) -> None:
        turn = asyncio.get_running_loop().create_future()
        # The counter keeps calls of one priority in the order in which they came.
        heapq.heappush(self._waiting, (priority, next(self._arrivals), turn))
        try:
            await turn
        except asyncio.CancelledError:
            if not turn.cancelled():  # it got its place in the same moment
                self._leave()
            raise

    def _leave(self) -> None:
        self._running -= 1
        self._admit()

    def _admit(self) -> None:
        while self._waiting and self._running < self.level:
            _, _, turn = heapq.heappop(self._waiting)
            if not turn.done():  # else its caller was cancelled
                self._running += 1
                turn.set_result(None)

    def record_completion(self) -> None:
        """Take note of a call that was answered."""

    def back_off(self) -> None:
        """Take note that a server refused a call because it has too many."""


class AdaptiveLimiter(ConcurrencyLimiter):
    """Starts at `START`; doubles while vLLM's queue is empty, and halves when a server refuses a call.

    Servers without metrics that refuse nothing stay at `START`: nothing shows whether they would work on more calls or
    only queue them.

    Args:
        snapshot: the servers' latest metrics; None while nothing is known, as of servers other than vLLM.
    """

    def __init__(self, snapshot: Callable[[], ServerSnapshot | None] = lambda: None) -> None:
        super().__init__(START)
        self._snapshot = snapshot
        self._used_snapshot: ServerSnapshot | None = None
        self._exact = self._ceiling = float(START)
        self._refused_at = -math.inf

    def record_completion(self) -> None:
        """Raise the level, if calls wait for it and servers have room."""
        if not self._waiting:  # the level holds nothing back
            return
        snapshot = self._snapshot()
        # A snapshot is used once: only the next one shows the effect of a new level. One with few running calls was
        # taken before this level's calls had arrived, or the driver is what limits the run.
        if snapshot and snapshot is not self._used_snapshot and snapshot.running > self.level / 2:
            self._used_snapshot = snapshot
            if not snapshot.waiting:
                self._ceiling = min(2.0 * self.level, HIGHEST)
                self._move(self._ceiling)
        # As in TCP, one more call a round leads back to a level from which a refusal led down.
        if self._exact < self._ceiling:
            self._move(self._exact + 1 / self._exact)

    def back_off(self) -> None:
        """Halve the level; refusals within a second have one cause, the calls that were in flight together."""
        if (now := monotonic()) - self._refused_at >= _BACK_OFF_S:
            self._refused_at = now
            self._move(max(self._exact / 2, LOWEST))

    def _move(self, exact: float) -> None:
        self._exact, self.level = exact, round(exact)
        self._admit()


def make_limiter(concurrency: Concurrency, snapshot: Callable[[], ServerSnapshot | None]) -> ConcurrencyLimiter:
    """For a configured number, or ``auto``, which follows the servers' metrics and refusals."""
    return AdaptiveLimiter(snapshot) if concurrency == "auto" else ConcurrencyLimiter(concurrency)

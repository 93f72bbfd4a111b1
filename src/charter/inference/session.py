"""What the engines of one run share in one process: calls in flight, the budget, and the word to stop."""

import contextlib
import gc
import os
import signal
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from contextvars import ContextVar
from types import FrameType
from typing import Literal, Protocol

from charter.config import Budget
from charter.core.errors import BudgetSpent, Interrupted, Stopped
from charter.inference.limiter import Concurrency, ConcurrencyLimiter, make_limiter
from charter.inference.metrics import MetricsPoller
from charter.inference.pool import connection_pool, store_pool
from charter.inference.routing import Router

GRACE_S = 5.0
"""How long calls in flight may still take after Ctrl-C."""
_COLLECT_AFTER = 50_000, 20, 20
"""Objects more than before; looks at those among the young, and those among the older ones."""


class Driven(Protocol):
    """What a drive needs of an engine."""

    def give_up_after(self, seconds: float) -> None:
        """End the calls that are in flight then; called from a signal's handler."""


class Drive:
    """One run's calls in this process, whichever shard and stage they come from.

    A call that was begun is finished and kept: a stop only keeps further calls from beginning.
    """

    def __init__(self, budget: Budget | None = None) -> None:
        self._budget = budget or Budget()
        self._began = time.monotonic()
        self._slots: dict[tuple[str, ...], ConcurrencyLimiter] = {}
        self._gauges: dict[tuple[str, ...], MetricsPoller] = {}
        self._routers: dict[tuple[str, ...], Router] = {}
        self._engines = set[Driven]()
        self._reason: Literal["calls", "tokens", "minutes", "Ctrl-C"] | None = None
        self.connections, self.stores = connection_pool(), store_pool()
        """Of all engines."""
        self.calls = 0
        """Calls begun; what the store answered is none."""
        self.tokens = 0
        """Tokens of prompts and answers, of the calls that were answered."""

    @property
    def minutes(self) -> float:
        """Since the drive began."""
        return (time.monotonic() - self._began) / 60

    @property
    def stopping(self) -> bool:
        """Whether no call may begin any more."""
        return self._reason is not None

    @property
    def at_work(self) -> bool:
        """Whether any engine is open."""
        return bool(self._engines)

    def slots(self, base_urls: Sequence[str], concurrency: Concurrency) -> ConcurrencyLimiter:
        """The slots of some servers, which all engines that ask them share."""
        gauge = self.gauge(base_urls)
        return self._slots.setdefault(tuple(base_urls), make_limiter(concurrency, lambda: gauge.latest))

    def gauge(self, base_urls: Sequence[str]) -> MetricsPoller:
        """The gauge of some servers, which all engines that ask them share."""
        return self._gauges.setdefault(tuple(base_urls), MetricsPoller(base_urls))

    def router(self, base_urls: Sequence[str]) -> Router:
        """The router of some servers: all engines see each other's load, and which servers are ill."""
        return self._routers.setdefault(tuple(base_urls), Router.of(base_urls))

    @asynccontextmanager
    async def open_for(self, stores: Iterable[str]) -> AsyncIterator[None]:
        """Keep connections and stores open from one stage to the next, as long as the block lasts.

        Raises:
            StoreError: one cannot be used.
        """
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(self.connections.shared())
            for store in dict.fromkeys(stores):
                await stack.enter_async_context(self.stores.shared(store))
            yield

    def begin_call(self) -> None:
        """Count one more call.

        Raises:
            Stopped: there is to be none.
        """
        if self._reason is None:
            self._reason = self._limit()
        self.check()
        self.calls += 1

    def check(self) -> None:
        """Do nothing, or raise why the run stops.

        Raises:
            Stopped: it was told to.
        """
        if self._reason is not None:
            raise self.stopped()

    def may_wait(self) -> None:
        """Do nothing, or raise why a call that was begun is not made again: Ctrl-C, or the minutes are over.

        A call that the other budgets let begin is paid for, and finished.

        Raises:
            Stopped: the run is to end.
        """
        if self._reason is None and self._limit() == "minutes":
            self._reason = "minutes"
        if self._reason in ("minutes", "Ctrl-C"):
            raise self.stopped()

    def stopped(self) -> Stopped:
        """Why the run stops, what it used, and how to go on."""
        used = f"{self.calls:,} calls and {self.tokens:,} tokens in {self.minutes:.1f} minutes"
        if self._reason == "Ctrl-C":
            return Interrupted(f"Stopped by Ctrl-C after {used}. The same command again goes on: all answers are kept.")
        field = f"budget.{self._reason}"
        limit = getattr(self._budget, str(self._reason))
        return BudgetSpent(
            f"{field} '{limit:,}': reached, with {used}. What is done is kept. To go on, raise {field}, or leave it "
            "as it is to spend as much again, and run the same command."
        )

    def interrupt(self) -> None:
        """Begin no further call, and give those in flight `GRACE_S` seconds."""
        self._reason = "Ctrl-C"
        for engine in self._engines:
            engine.give_up_after(GRACE_S)

    @contextmanager
    def driving(self, engine: Driven) -> Iterator[None]:
        """An engine at work."""
        self._engines.add(engine)
        try:
            yield
        finally:
            self._engines.discard(engine)

    def _limit(self) -> Literal["calls", "tokens", "minutes"] | None:
        most = self._budget
        if most.calls is not None and self.calls >= most.calls:
            return "calls"
        if most.tokens is not None and self.tokens >= most.tokens:
            return "tokens"
        return "minutes" if most.minutes is not None and self.minutes >= most.minutes else None


_DRIVE: ContextVar[Drive | None] = ContextVar("drive", default=None)


@contextmanager
def drive(budget: Budget | None = None) -> Iterator[Drive]:
    """The drive of all engines that are opened in this context, which tasks started here inherit."""
    token = _DRIVE.set(Drive(budget))
    try:
        with _collecting_seldom(), _giving_way():
            yield current_drive()
    finally:
        _DRIVE.reset(token)


@contextmanager
def _collecting_seldom() -> Iterator[None]:
    """Have Python look for circles of dead objects less often, and not among those that were there before.

    Looking took a tenth of a driver's time, and emptied the processor's cache for the model beside it; what a call
    leaves behind goes by itself.
    """
    before = gc.get_threshold()
    if before == _COLLECT_AFTER:  # by another drive of this process, which sets it back
        yield
        return
    gc.freeze()
    gc.set_threshold(*_COLLECT_AFTER)
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()


@contextmanager
def _giving_way() -> Iterator[None]:
    """Have Linux not take a core from a model beside the driver each time that an answer comes.

    Some milliseconds later the driver finds several, and sends what follows them at once. It goes for this thread and
    those it starts; whoever chose another way to be scheduled keeps it.
    """
    usual = False
    if sys.platform == "linux":
        with contextlib.suppress(OSError):  # forbidden in some containers
            usual = os.sched_getscheduler(0) == os.SCHED_OTHER
    if not usual:
        yield
        return
    _schedule(os.SCHED_BATCH)
    try:
        yield
    finally:
        _schedule(os.SCHED_OTHER)


def _schedule(policy: int) -> None:
    with contextlib.suppress(OSError):
        os.sched_setscheduler(0, policy, os.sched_param(0))


def current_drive() -> Drive:
    """The drive of this context; where there is none, a new one without a budget."""
    return _DRIVE.get() or Drive()


@contextmanager
def interruptible(driven: Drive, before_exit: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Ctrl-C once lets the calls in flight finish, twice ends the process at once; the store is whole either way.

    While no engine is at work Ctrl-C is KeyboardInterrupt as ever, and so it is outside the main thread.

    Args:
        driven: the drive to stop.
        before_exit: called before the process ends at once, which skips all that is usually done at the end.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def on_interrupt(number: int, frame: FrameType | None) -> None:
        if driven.stopping:
            _tell("\nStopped now. The same command again goes on: all answers that came are kept.\n")
            before_exit()
            os._exit(130)
        if not driven.at_work:
            raise KeyboardInterrupt
        _tell(f"\nCtrl-C: finishing the calls in flight, for {GRACE_S:g} s at most. Once more stops now.\n")
        driven.interrupt()

    before = signal.signal(signal.SIGINT, on_interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _tell(line: str) -> None:
    """Past Python's buffers, which a signal's handler must not enter a second time."""
    os.write(2, line.encode())

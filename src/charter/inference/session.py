"""One run's session with its model servers: calls in flight, budget, connections, stores and the stop signal."""

import contextlib
import gc
import os
import signal
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from types import FrameType
from typing import Literal

from charter.config import Budget
from charter.core.errors import BudgetSpent, Interrupted, Stopped
from charter.core.losses import LossCounts
from charter.inference.client import Client, StoreOnlyClient
from charter.inference.engine import Engine, EngineSpec
from charter.inference.limiter import Concurrency, ConcurrencyLimiter, make_limiter
from charter.inference.metrics import MetricsPoller
from charter.inference.pool import connection_pool, store_pool
from charter.inference.routing import Router

GRACE_S = 5.0  # a run should have ended ten seconds after Ctrl-C, and its servers need the rest
"""Seconds that calls in flight may still take after Ctrl-C."""
_GC_THRESHOLDS = 50_000, 20, 20


class Session:
    """What the engines of one run share in this process, whichever shard and stage they serve.

    It is passed explicitly to everything that asks a model. A call that has started is finished and stored: a stop
    only prevents further calls from starting.

    Args:
        budget: the most calls, tokens and minutes; unlimited by default.

    Attributes:
        connections: shared by all engines.
        stores: shared by all engines.
        losses: lost rows by stage, counted over all shards.
        calls: calls started; answers from the store do not count.
        tokens: prompt and completion tokens of the answered calls.
    """

    def __init__(self, budget: Budget | None = None) -> None:
        self._budget = budget or Budget()
        self._started = time.monotonic()
        self._limiters: dict[tuple[str, ...], ConcurrencyLimiter] = {}
        self._pollers: dict[tuple[str, ...], MetricsPoller] = {}
        self._routers: dict[tuple[str, ...], Router] = {}
        self._engines = set[Engine]()
        self._stop_reason: Literal["calls", "tokens", "minutes", "Ctrl-C"] | None = None
        self.connections, self.stores = connection_pool(), store_pool()
        self.losses = LossCounts()
        self.calls = 0
        self.tokens = 0

    @asynccontextmanager
    async def engine(self, spec: EngineSpec) -> AsyncIterator[Engine]:
        """An engine for the model of `spec`; its store and connections are shared with the session's other engines.

        Raises:
            StoreError: the store cannot be used.
        """
        poller = self._pollers.setdefault(spec.base_urls, MetricsPoller(spec.base_urls))
        limiter = self.limiter(spec.base_urls, spec.concurrency)
        async with self.stores.shared(spec.store) as store, self._client(spec) as client, poller.polling():
            engine = Engine(client, store, spec, self, limiter, poller)
            self._engines.add(engine)
            try:
                yield engine
            finally:
                self._engines.discard(engine)
                await engine.finish()

    @asynccontextmanager
    async def _client(self, spec: EngineSpec) -> AsyncIterator[Client | StoreOnlyClient]:
        if not spec.base_urls:
            yield StoreOnlyClient()
            return
        async with Client(
            spec.base_urls,
            spec.model_name,
            api_key_env=spec.api_key_env,
            timeout_s=spec.timeout_s,
            patience_s=spec.patience_s,
            server_log=Path(spec.server_log) if spec.server_log else None,
            # One router for all engines: each sees the others' load, and which servers are unhealthy.
            router=self._routers.setdefault(spec.base_urls, Router.of(spec.base_urls, spec.dialects)),
            connections=self.connections,
            may_wait=self.check_before_retry,
            on_busy=self.limiter(spec.base_urls, spec.concurrency).back_off,
            choice_samples=spec.choice_samples,
        ) as client:
            yield client

    def server_notes(self) -> dict[str, list[str]]:
        """What was learned of each server that differs from vLLM, such as refused parameters, for the manifest."""
        endpoints = (endpoint for router in self._routers.values() for endpoint in router.endpoints)
        return {endpoint.url: list(endpoint.notes.values()) for endpoint in endpoints if endpoint.notes}

    def limiter(self, base_urls: Sequence[str], concurrency: Concurrency) -> ConcurrencyLimiter:
        """The limiter of calls in flight to some servers, shared by all engines that ask them."""
        poller = self._pollers.setdefault(tuple(base_urls), MetricsPoller(base_urls))
        return self._limiters.setdefault(tuple(base_urls), make_limiter(concurrency, lambda: poller.latest))

    @asynccontextmanager
    async def keep_open(self, stores: Iterable[str]) -> AsyncIterator[None]:
        """Keep connections and stores open from one stage to the next, and tune this process for many calls.

        Raises:
            StoreError: a store cannot be used.
        """
        async with AsyncExitStack() as stack:
            stack.enter_context(_rare_garbage_collection())
            stack.enter_context(_batch_scheduling())
            await stack.enter_async_context(self.connections.shared())
            for store in dict.fromkeys(stores):
                await stack.enter_async_context(self.stores.shared(store))
            yield

    @property
    def minutes(self) -> float:
        """Minutes since the session started."""
        return (time.monotonic() - self._started) / 60

    @property
    def stopping(self) -> bool:
        """Whether no further call may start."""
        return self._stop_reason is not None

    @property
    def busy(self) -> bool:
        """Whether any engine is open."""
        return bool(self._engines)

    def begin_call(self) -> None:
        """Count one more call.

        Raises:
            Stopped: no further call may start.
        """
        if self._stop_reason is None:
            self._stop_reason = self._spent_limit()
        self.check()
        self.calls += 1

    def check(self) -> None:
        """Do nothing, or raise why the run stops.

        Raises:
            Stopped: the session was stopped.
        """
        if self._stop_reason is not None:
            raise self.stopped()

    def check_before_retry(self) -> None:
        """Do nothing, or raise why a call that has started is not tried again: Ctrl-C, or the minutes are spent.

        A call that the budgets of calls and tokens let start is paid for, and finished.

        Raises:
            Stopped: the run is to end.
        """
        if self._stop_reason is None and self._spent_limit() == "minutes":
            self._stop_reason = "minutes"
        if self._stop_reason in ("minutes", "Ctrl-C"):
            raise self.stopped()

    def stopped(self) -> Stopped:
        """The error that says why the run stops, what it used, and how to continue."""
        used = f"{self.calls:,} calls and {self.tokens:,} tokens in {self.minutes:.1f} minutes"
        if self._stop_reason == "Ctrl-C":
            return Interrupted(
                f"Stopped by Ctrl-C after {used}. Run the same command again to continue: all answers are kept."
            )
        field = f"budget.{self._stop_reason}"
        limit = getattr(self._budget, str(self._stop_reason))
        return BudgetSpent(
            f"{field} '{limit:,}': reached, with {used}. All answers are kept. To continue, raise {field}, or leave it "
            "to spend the same amount again, and run the same command."
        )

    def interrupt(self) -> None:
        """Start no further call, and give those in flight `GRACE_S` seconds."""
        self._stop_reason = "Ctrl-C"
        for engine in self._engines:
            engine.give_up_after(GRACE_S)

    def _spent_limit(self) -> Literal["calls", "tokens", "minutes"] | None:
        budget = self._budget
        if budget.calls is not None and self.calls >= budget.calls:
            return "calls"
        if budget.tokens is not None and self.tokens >= budget.tokens:
            return "tokens"
        return "minutes" if budget.minutes is not None and self.minutes >= budget.minutes else None


@asynccontextmanager
async def open_engine(spec: EngineSpec) -> AsyncIterator[Engine]:
    """An engine alone, in a session without a budget.

    Raises:
        StoreError: the store cannot be used.
    """
    async with Session().engine(spec) as engine:
        yield engine


@contextmanager
def _rare_garbage_collection() -> Iterator[None]:
    """Raise the garbage collector's thresholds: collecting reference cycles took a tenth of the driver's time.

    It also emptied the processor's cache for a model on the same machine. What a call leaves behind is freed by
    reference counts.
    """
    before = gc.get_threshold()
    if before == _GC_THRESHOLDS:  # set by another session of this process, which restores them
        yield
        return
    gc.freeze()
    gc.set_threshold(*_GC_THRESHOLDS)
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()


@contextmanager
def _batch_scheduling() -> Iterator[None]:
    """Run this thread as SCHED_BATCH on Linux, so that its wake-ups do not preempt a model on the same cores.

    Some milliseconds later the driver finds several answers and sends all follow-up calls together. A thread whose
    policy was changed by someone else keeps it.
    """
    is_default = False
    if sys.platform == "linux":
        with contextlib.suppress(OSError):  # forbidden in some containers
            is_default = os.sched_getscheduler(0) == os.SCHED_OTHER
    if not is_default:
        yield
        return
    _set_policy(os.SCHED_BATCH)
    try:
        yield
    finally:
        _set_policy(os.SCHED_OTHER)


def _set_policy(policy: int) -> None:
    with contextlib.suppress(OSError):
        os.sched_setscheduler(0, policy, os.sched_param(0))


@contextmanager
def interruptible(session: Session, before_exit: Callable[[], None] = lambda: None) -> Iterator[None]:
    """The first Ctrl-C lets calls in flight finish, the second ends the process; the store is whole either way.

    While no engine is open Ctrl-C raises KeyboardInterrupt as usual, and so it does outside the main thread.

    Args:
        session: the session to stop.
        before_exit: called before the process ends immediately, which skips everything usually done at exit.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def on_interrupt(number: int, frame: FrameType | None) -> None:
        if session.stopping:
            _write_stderr("\nStopped now. Run the same command again to continue: all answers are kept.\n")
            before_exit()
            os._exit(130)
        if not session.busy:
            raise KeyboardInterrupt
        _write_stderr(
            f"\nCtrl-C: finishing the calls in flight, for at most {GRACE_S:g} s. Press it again to stop now.\n"
        )
        session.interrupt()

    before = signal.signal(signal.SIGINT, on_interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _write_stderr(line: str) -> None:
    # Bypass Python's buffers: a signal handler must not enter them a second time.
    os.write(2, line.encode())

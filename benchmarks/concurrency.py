"""Calls per second under three ways to set `concurrency`, on servers of four kinds: is `auto` worth its code?

    python benchmarks/concurrency.py --seconds 60

It asks null servers: like vLLM on a small and on a large GPU, like llama.cpp, which queues without metrics, and like a
hosted API, which refuses calls. ``--url`` asks a real server instead. It compares a fixed 128, `auto`, and the hill
climb over measured throughput that `auto` was before.
"""

import argparse
import asyncio
import sys
import time
from collections.abc import Callable
from contextlib import AsyncExitStack, nullcontext
from dataclasses import dataclass

from charter.core.messages import user
from charter.inference import Client, Sampling
from charter.inference.limiter import HIGHEST, LOWEST, START, AdaptiveLimiter, ConcurrencyLimiter
from charter.inference.metrics import MetricsPoller, ServerSnapshot
from charter.testing.null_server import Misbehaviour, NullServer, run_null_server

Snapshot = Callable[[], ServerSnapshot | None]
SERVERS: dict[str, Callable[[], NullServer]] = {
    "vLLM, runs 48": lambda: NullServer(latency_s=0.4, parallel=48),
    "vLLM, runs 512": lambda: NullServer(latency_s=2.0, parallel=512),
    "queues, runs 8": lambda: NullServer(latency_s=0.5, parallel=8, has_metrics=False),
    "refuses above 64": lambda: NullServer(
        latency_s=0.5, refuse_above=64, has_metrics=False, misbehaviour=Misbehaviour(retry_after_s=1.0)
    ),
}


@dataclass
class HillClimber:
    """Doubles the level while that brings 10 % more calls per second, halves it where two looks find that no slower."""

    level: int = START
    _base_level: int = START
    _rate: float = 0.0
    _tried: tuple[int, float] | None = None
    _upwards: bool = True
    _confirmations: int = 0
    _started: bool = False
    _rest: int = 0
    _pause: int = 16

    def next(self, rate: float, snapshot: ServerSnapshot | None) -> int:
        """The level to continue with, after a measurement of `rate` at the present level."""
        if self.level != self._base_level:
            self._tried, self.level = (self.level, rate), self._base_level
        elif self._tried:
            before, self._rate = self._rate, rate
            self._decide(*self._tried, (before + rate) / 2 * 1.1 if self._upwards else max(before, rate))
        else:
            self._rate = rate
            self._rest -= 1
            if self._rest < 0:
                self._look(snapshot)
        return self.level

    def _decide(self, level: int, rate: float, wanted: float) -> None:
        self._tried = None
        if rate < wanted:
            self._settle()
            return
        self._confirmations += 1
        self.level = level
        if self._upwards or self._confirmations == 2:
            self._base_level, self._confirmations = level, 0
            self._rest, self._pause = 0, 16

    def _look(self, load: ServerSnapshot | None) -> None:
        if load and load.running:
            cannot_help = load.waiting > 0.1 * load.running if self._upwards else self._base_level // 2 < load.running
            if cannot_help:
                self._upwards, self._rest = not self._upwards, 16
                return
        self.level = min(self._base_level * 2, HIGHEST) if self._upwards else max(self._base_level // 2, LOWEST)
        if self.level == self._base_level:
            self._settle()

    def _settle(self) -> None:
        self._upwards, self._confirmations = not self._upwards, 0
        self._rest, self._pause = self._pause, min(self._pause * 2, 512)
        if not self._started:
            self._started, self._rest = True, 0


class ClimbingLimiter(ConcurrencyLimiter):
    """As many calls as a `HillClimber` says, measured over rounds of as many calls as the level, for at least 1 s."""

    def __init__(self, snapshot: Snapshot) -> None:
        super().__init__(START)
        self._climber, self._snapshot, self._settling = HillClimber(), snapshot, 1
        self._calls, self._began = 0, time.monotonic()

    def record_completion(self) -> None:
        """Move when a measurement is complete."""
        self._calls += 1
        seconds = time.monotonic() - self._began
        if self._calls % self.level or not (self._settling or seconds >= 1.0):
            return
        if self._settling:  # this round's calls began at another level
            self._settling -= 1
        else:
            level = self._climber.next(self._calls / seconds, self._snapshot())
            self._settling = 2 if level < self.level else int(level > self.level)
            self.level = level
            self._admit()
        self._calls, self._began = 0, time.monotonic()


WAYS: dict[str, Callable[[Snapshot], ConcurrencyLimiter]] = {
    "fixed 128": lambda _: ConcurrencyLimiter(START),
    "hill climb": ClimbingLimiter,
    "auto": AdaptiveLimiter,
}


async def measure(url: str, model: str, seconds: float, make: Callable[[Snapshot], ConcurrencyLimiter]) -> str:
    """Keep more calls waiting than may run; calls/s in all, in the last third, the last level, and retries."""
    poller = MetricsPoller([url])
    limiter, numbers, answered = make(lambda: poller.latest), iter(range(10**9)), list[float]()
    run = time.monotonic_ns()  # so that no prefix cache has these prompts from a run before

    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(Client([url], model, on_busy=limiter.back_off))
        await stack.enter_async_context(poller.polling())
        began = time.monotonic()

        async def ask() -> None:
            for number in numbers:
                async with limiter.place((number,)):
                    await client.complete([user(f"{run} {number}: name a colour.")], Sampling(64, 1.0, seed=number))
                limiter.record_completion()
                answered.append(time.monotonic() - began)

        asking = [asyncio.create_task(ask()) for _ in range(2 * HIGHEST)]
        await asyncio.wait(asking, timeout=seconds)
        for task in asking:
            task.cancel()
        await asyncio.gather(*asking, return_exceptions=True)
    last = sum(at > seconds * 2 / 3 for at in answered) / (seconds / 3)
    return f"{len(answered) / seconds:7.1f} {last:7.1f} {limiter.level:5d} {client.retries:7d}"


def main() -> None:
    """Print a line for each server and way."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="for each line")
    parser.add_argument("--url", help="a real server's, ending in /v1, instead of null servers")
    parser.add_argument("--model", default="null")
    options = parser.parse_args()
    sys.stdout.write(f"{'server':18} {'way':10} {'calls/s':>7} {'end':>7} {'level':>5} {'retries':>7}\n")
    for name in [options.url] if options.url else SERVERS:
        for way, make in WAYS.items():
            with nullcontext() if options.url else run_null_server(SERVERS[name]()) as server:
                url = options.url or server.url
                line = asyncio.run(measure(url, options.model, options.seconds, make))
            sys.stdout.write(f"{name:18} {way:10} {line}\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()

"""How many calls may be in flight at once: a fixed number, or the one at which throughput stops rising."""

import asyncio
import heapq
import itertools
import time
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass
from types import TracebackType
from typing import Literal

from charter.inference.metrics_poller import Load

Concurrency = int | Literal["auto"]

PLACE: ContextVar[tuple[int, ...]] = ContextVar("place", default=())
"""Of the calls that wait the one with the lowest place goes first: shard, and row in the shard. So a row goes on before
the next one begins, and asks again while the servers' cache still has the prefix it asked with."""

FIRST, LOWEST, HIGHEST = 128, 4, 2048
"""Levels that `auto` begins at, and stays between. To vLLM, which queues, too many calls cost less than too few."""
GAIN = 0.1
"""Twice the calls in flight must bring so much more throughput, or they are not worth it."""
_SURE = 2
"""Looks in a row that must find half the calls in flight no slower, or a run that changes as it goes on would soon be
at a level that is too low."""
_REST = 16  # measurements between two looks around, doubled each time that nothing better was found
_LONGEST_REST = 512
_MEASURE_S = 1.0


class Slots:
    """Lets so many calls go at once; the others wait, in the order of their `PLACE`.

    Use as an async context manager around a call.
    """

    def __init__(self, level: int) -> None:
        self.level = level
        self._taken = 0
        self._queue = list[tuple[tuple[int, ...], int, asyncio.Future[None]]]()
        self._came = itertools.count()

    async def __aenter__(self) -> None:
        if self._taken < self.level and not self._queue:
            self._taken += 1
            return
        turn = asyncio.get_running_loop().create_future()
        heapq.heappush(self._queue, (PLACE.get(), next(self._came), turn))
        try:
            await turn
        except asyncio.CancelledError:
            if not turn.cancelled():  # its turn came in the same moment
                self._leave()
            raise

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._leave()

    def did(self, tokens: int) -> None:
        """Take note of a call that was answered."""

    def _leave(self) -> None:
        self._taken -= 1
        self._let_in()

    def _let_in(self) -> None:
        while self._queue and self._taken < self.level:
            _, _, turn = heapq.heappop(self._queue)
            if not turn.done():  # else its caller went away
                self._taken += 1
                turn.set_result(None)


@dataclass
class Climb:
    """A hill climb over levels: told the throughput at the present one, it says which comes next.

    It doubles the level as long as that brings `GAIN` more, halves it where two looks in a row find that no slower,
    and then rests. After a rest it looks one way, after the next the other; looks that change nothing become rare.
    Another level is held against the present one before and after it, because a run's calls grow longer and shorter as
    it goes on; a lower one against the better of these two, since a level that is too low costs more than one that is
    too high. Where the servers say what they run and what waits there, it does not look where nothing can be found.
    """

    level: int = FIRST
    _home: int = FIRST
    _rate: float = 0.0
    _tried: tuple[int, float] | None = None
    _upwards: bool = True
    _agreed: int = 0
    _begun: bool = False
    _rest: int = 0
    _pause: int = _REST

    def next(self, rate: float, load: Load | None = None) -> int:
        """The level to go on with, after a measurement of `rate` (tokens per second) at the present level."""
        if self.level != self._home:
            self._tried, self.level = (self.level, rate), self._home
        elif self._tried:
            before, self._rate = self._rate, rate
            wanted = (before + rate) / 2 * (1 + GAIN) if self._upwards else max(before, rate)
            self._decide(*self._tried, wanted)
        else:
            self._rate = rate
            self._rest -= 1
            if self._rest < 0:
                self._look(load)
        return self.level

    def _decide(self, other: int, there: float, wanted: float) -> None:
        self._tried = None
        if there < wanted:
            self._settle()
            return
        self._agreed += 1
        self.level = other
        if self._upwards or self._agreed == _SURE:
            self._home, self._agreed = other, 0
            self._rest, self._pause = 0, _REST

    def _look(self, load: Load | None) -> None:
        if load and self._is_vain(load):
            self._upwards, self._rest = not self._upwards, _REST
            return
        self.level = min(self._home * 2, HIGHEST) if self._upwards else max(self._home // 2, LOWEST)
        if self.level == self._home:
            self._settle()

    def _is_vain(self, load: Load) -> bool:
        """More calls would wait as well; half of them would be fewer than the servers run at once."""
        return load.waiting > GAIN * load.running if self._upwards else self._home // 2 < load.running

    def _settle(self) -> None:
        self._upwards, self._agreed = not self._upwards, 0
        self._rest, self._pause = self._pause, min(self._pause * 2, _LONGEST_REST)
        if not self._begun:  # where it starts is a guess: look both ways before the first rest
            self._begun, self._rest = True, 0


class ClimbingSlots(Slots):
    """As many calls at once as a `Climb` says.

    Throughput is measured in tokens of prompts and answers together, over whole rounds of as many calls as the level,
    for a second at least. A level's first round is left out, because its calls began at the level before; of a lower
    level also the second, whose calls had the servers to themselves for longer than such calls have; and what is
    measured while no call waits says nothing about the level and is thrown away.
    """

    def __init__(self, load: Callable[[], Load | None] = lambda: None) -> None:
        self._climb, self._load = Climb(), load
        super().__init__(self._climb.level)
        self._settling = 1  # rounds to be left out
        self._restart()

    def did(self, tokens: int) -> None:
        """Take note of a call that was answered, and move when a measurement is whole."""
        if not self._queue:
            self._restart()
            return
        self._calls += 1
        self._tokens += tokens
        if self._calls % self.level:
            return
        seconds = time.monotonic() - self._began
        if self._settling:
            self._settling -= 1
            self._restart()
        elif seconds >= _MEASURE_S:
            level = self._climb.next(self._tokens / seconds, self._load())
            self._settling = 2 if level < self.level else int(level > self.level)
            self.level = level
            self._restart()
            self._let_in()

    def _restart(self) -> None:
        self._began, self._calls, self._tokens = time.monotonic(), 0, 0


def slots(concurrency: Concurrency, load: Callable[[], Load | None]) -> Slots:
    """For a configured number, or ``auto``, which heeds what the servers say of their load."""
    return ClimbingSlots(load) if concurrency == "auto" else Slots(concurrency)

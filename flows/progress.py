"""Progress for people: one line per stage on the terminal, and the same as progress artifacts in Prefect."""

import re
import shutil
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import CancelledError
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast
from uuid import UUID

from prefect import get_run_logger
from prefect.artifacts import create_progress_artifact, update_progress_artifact
from prefect.exceptions import MissingContextError

from charter.pipeline.rows import OnProgress, Progress

T = TypeVar("T")

TERMINAL_EVERY_S = 1.0
LOG_EVERY_S = 10.0
ARTIFACT_EVERY_S = 2.0
FIRST_RATE_S = 1.0


@dataclass
class Stage:
    """One stage of a run, summed over its shards."""

    name: str
    expected: dict[int, int] = field(default_factory=dict)
    """What each shard will have to do, until it says so itself."""
    shards: dict[int, Progress] = field(default_factory=dict)
    latest: Progress | None = None
    started: float = 0.0
    shown: float = 0.0
    published: float = 0.0
    artifact: UUID | None = None

    @property
    def done(self) -> int:
        """Rows that came out or failed."""
        return sum(p.done for p in self.shards.values())

    @property
    def total(self) -> int:
        """Rows there are to do."""
        return sum((self.expected | {shard: p.total for shard, p in self.shards.items()}).values())

    def line(self) -> str:
        """Rows done and lost, speed, time left; then, where the screen is wide, tokens, reasons, store and servers."""
        done, total, seconds = self.done, self.total, time.monotonic() - self.started
        unit = next((p.unit for p in self.shards.values()), "rows")
        parts = [f"{self.name:<12} {done:>6,} of {total:,} {unit}"]
        if failed := self._sum("failed"):
            parts.append(f"{failed:,} failed")
        if self.latest is not None and self.latest.note:
            parts.append(self.latest.note)
        if seconds >= FIRST_RATE_S:
            parts += self._rates(done, total, seconds, unit)
        if reasons := self._reasons():
            parts.append(f"failed: {reasons}")
        if stored := self._sum("stored"):
            parts.append(f"{stored / (self._sum('calls') + stored):.0%} from the store")
        if done < total and self.latest is not None:
            parts += _servers(self.latest)
        return " · ".join(parts)

    def _rates(self, done: int, total: int, seconds: float, unit: str) -> Iterator[str]:
        """Since the stage began: a chain of many calls brings its first rows late, and no time left is known before."""
        yield f"{done / seconds:,.1f} {unit}/s"
        if done >= total:
            yield f"{seconds:.0f} s"
        elif done:
            yield f"{(total - done) * seconds / done:.0f} s left"
        tokens_in, tokens = self._sum("tokens_in") / seconds, self._sum("tokens") / seconds
        yield f"{tokens_in:,.0f} tokens/s in, {tokens:,.0f} out" if tokens_in else f"{tokens:,.0f} tokens/s"

    def _reasons(self) -> str:
        counted = sum((Counter(p.reasons) for p in self.shards.values()), Counter[str]())
        return ", ".join(f"{count:,} {reason}" for reason, count in counted.most_common(3))

    def _sum(self, count: str) -> int:
        return sum(getattr(p, count) for p in self.shards.values())


def _servers(progress: Progress) -> Iterator[str]:
    if progress.cache_hits is not None:
        yield f"prefix cache {progress.cache_hits:.0%}"
    if progress.waiting is not None:
        yield f"{progress.waiting:,} waiting at the server"


class Live:
    """What the stages of a run tell, shown as it comes; made by `live`."""

    def __init__(self) -> None:
        self.stages: dict[str, Stage] = {}
        self._terminal = sys.stderr.isatty()

    def expect(self, stage: str, shards: Mapping[int, int]) -> None:
        """Say how many rows each shard of a stage will bring, before they come."""
        self.stages[stage] = Stage(stage, dict(shards))

    def tell(self, progress: Progress, shard: int = 0) -> None:
        """Take a shard's progress."""
        stage, now = self.stages.setdefault(progress.stage, Stage(progress.stage)), time.monotonic()
        if not stage.shards:
            stage.started = stage.shown = now
        stage.shards[shard] = stage.latest = progress
        finished = stage.done >= stage.total
        if finished or now - stage.shown > (TERMINAL_EVERY_S if self._terminal else LOG_EVERY_S):
            stage.shown = now
            self._show(stage.line(), stays=finished)
        if finished or now - stage.published > ARTIFACT_EVERY_S:
            stage.published = now
            _publish(stage)

    def say(self, line: str) -> None:
        """Show a line that stays, here and among the run's logs."""
        self._show(line, stays=True)

    def _show(self, line: str, stays: bool) -> None:
        if self._terminal:
            width = shutil.get_terminal_size().columns - 1  # a line that wraps could not be written over
            sys.stderr.write("\r\x1b[K" + ("" if stays else line[:width]))
            sys.stderr.flush()
        if stays or not self._terminal:
            _log(line)


_LIVE: ContextVar[Live | None] = ContextVar("live", default=None)


@contextmanager
def live() -> Iterator[Live]:
    """Progress of the flow run in this context; tasks find it with `current`."""
    token = _LIVE.set(Live())
    try:
        yield current()
    finally:
        _LIVE.reset(token)


def current() -> Live:
    """The flow's progress, or a new one where a task runs by itself."""
    return _LIVE.get() or Live()


def telling(shard: int) -> OnProgress | None:
    """What a shard's task tells the flow of; none in a process of its own, where the flow sees its end alone."""
    flow = _LIVE.get()
    return None if flow is None else lambda progress: flow.tell(progress, shard)


def undisturbed(tell: Callable[[T], None], say: Callable[[str], None]) -> Callable[[T], None]:
    """`tell`, whose failing does not end what it tells of: the first error is said, and what comes is told still."""
    failed = list[Exception]()

    def told(news: T) -> None:
        try:
            tell(news)
        except CancelledError:
            raise
        except Exception as error:  # whatever Prefect's server, or the way to it, may have
            failed.append(error)
            if len(failed) == 1:
                say(f"some progress cannot be shown, and the work goes on: {type(error).__name__}: {error}")

    return told


def _log(line: str) -> None:
    try:
        get_run_logger().info(line)
    except MissingContextError:  # a task's function called by itself
        sys.stderr.write(line + "\n")


def _publish(stage: Stage) -> None:
    percent = round(100 * stage.done / max(stage.total, 1), 1)
    description = f"**{stage.name}**: {stage.line()}"
    now: dict[str, Any] = {"_sync": True}  # these functions are told of the running loop this way, not by their types
    if stage.artifact is None:
        key = "progress-" + re.sub(r"[^a-z0-9]+", "-", stage.name.lower())
        stage.artifact = cast(UUID, create_progress_artifact(percent, key=key, description=description, **now))
    else:
        update_progress_artifact(stage.artifact, percent, description=description, **now)

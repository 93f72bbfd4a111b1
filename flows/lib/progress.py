"""Progress for people: one line per stage on the terminal, and the same as progress artifacts in Prefect."""

import asyncio
import contextvars
import math
import re
import shutil
import sys
import threading
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar, cast
from uuid import UUID

import httpx
from prefect import get_run_logger
from prefect.artifacts import create_progress_artifact, update_progress_artifact
from prefect.exceptions import MissingContextError

from charter.pipeline.rows import OnProgress, Progress

T = TypeVar("T")

TERMINAL_EVERY_S = 1.0
LOG_EVERY_S = 10.0
ARTIFACT_EVERY_S = 2.0
FIRST_RATE_S = 1.0
RETRY_S = 5.0
"""Seconds between attempts to publish while Prefect's server does not answer."""
FLUSH_S = 20.0
"""Seconds that the end of a run waits for the last updates to be published."""
OUTAGE_S = 240.0
"""Seconds that a run with its results on disk waits for Prefect's server in order to show them there."""


@dataclass
class StageProgress:
    """Progress of one stage of a run, summed over its shards.

    Attributes:
        name: of the stage.
        expected: rows that each shard will have, until it reports itself.
        shards: the latest report of each shard.
        latest: the latest report of any shard.
        started: when the first report came, in monotonic seconds.
        shown: when a line was last shown.
        published: when an artifact was last updated.
    """

    name: str
    expected: dict[int, int] = field(default_factory=dict)
    shards: dict[int, Progress] = field(default_factory=dict)
    latest: Progress | None = None
    started: float = 0.0
    shown: float = 0.0
    published: float = 0.0

    @property
    def done(self) -> int:
        """Rows that came out or failed."""
        return sum(p.done for p in self.shards.values())

    @property
    def total(self) -> int:
        """Rows of all shards."""
        return sum((self.expected | {shard: p.total for shard, p in self.shards.items()}).values())

    def line(self) -> str:
        """Rows done and lost, speed, time left; then tokens, reasons, store and servers, if the screen is wide."""
        done, total, seconds = self.done, self.total, time.monotonic() - self.started
        unit = next((p.unit for p in self.shards.values()), "rows")
        parts = [f"{self.name:<12} {done:>6,} of {total:,} {unit}"]
        if failed := self._sum("failed"):
            parts.append(f"{failed:,} failed")
        if self.latest is not None and self.latest.note:
            parts.append(self.latest.note)
        if seconds >= FIRST_RATE_S:
            parts += self._rates(done, total, seconds, unit)
        counts = sum((Counter(p.reasons) for p in self.shards.values()), Counter[str]())
        if counts:
            parts.append("failed: " + ", ".join(f"{count:,} {reason}" for reason, count in counts.most_common(3)))
        too_long = sum((Counter(p.too_long) for p in self.shards.values()), Counter[str]())
        if too_long:
            parts.append(", ".join(f"{count:,} {ending}" for ending, count in too_long.items()))
        if stored := self._sum("stored"):
            parts.append(f"{stored / (self._sum('calls') + stored):.0%} from the store")
        if done < total and self.latest is not None:
            if self.latest.cache_hits is not None:
                parts.append(f"prefix cache {self.latest.cache_hits:.0%}")
            if self.latest.waiting is not None:
                parts.append(f"{self.latest.waiting:,} waiting at the server")
        return " · ".join(parts)

    def _rates(self, done: int, total: int, seconds: float, unit: str) -> Iterator[str]:
        """Rates since the stage started: a row of many calls finishes late, and the time left is not known before."""
        yield f"{done / seconds:,.1f} {unit}/s"
        if done >= total:
            yield f"{seconds:.0f} s"
        elif done:
            yield f"{(total - done) * seconds / done:.0f} s left"
        tokens_in, tokens = self._sum("tokens_in") / seconds, self._sum("tokens") / seconds
        yield f"{tokens_in:,.0f} tokens/s in, {tokens:,.0f} out" if tokens_in else f"{tokens:,.0f} tokens/s"

    def _sum(self, count: str) -> int:
        return sum(getattr(p, count) for p in self.shards.values())


class RunProgress:
    """Takes the progress of a flow run's stages and shows it: on the terminal, in the log, and as artifacts."""

    def __init__(self) -> None:
        self.stages: dict[str, StageProgress] = {}
        self._terminal = sys.stderr.isatty()
        self._publisher = ArtifactPublisher(self.say)
        self._outage_ends: float | None = None  # in monotonic seconds, while Prefect's server does not answer

    def expect(self, stage: str, shards: Mapping[int, int]) -> None:
        """Announce how many rows each shard of a stage will have. A stage of this name starts again from zero."""
        self.stages[stage] = StageProgress(stage, dict(shards))

    def report(self, progress: Progress, shard: int = 0) -> None:
        """Take a shard's progress."""
        stage, now = self.stages.setdefault(progress.stage, StageProgress(progress.stage)), time.monotonic()
        if not stage.shards:
            stage.started = stage.shown = now
        stage.shards[shard] = stage.latest = progress
        finished = stage.done >= stage.total
        if finished or now - stage.shown > (TERMINAL_EVERY_S if self._terminal else LOG_EVERY_S):
            stage.shown = now
            self._show(stage.line(), stays=finished)
        if finished or now - stage.published > ARTIFACT_EVERY_S:
            stage.published = now
            percent = round(100 * stage.done / max(stage.total, 1), 1)
            self._publisher.put(stage.name, percent, f"**{stage.name}**: {stage.line()}")

    def for_shard(self, shard: int) -> OnProgress:
        """`report` for one shard."""
        return partial(self.report, shard=shard)

    def say(self, line: str) -> None:
        """Show a line that stays, here and among the run's logs."""
        self._show(line, stays=True)

    async def publish(self, create: Callable[..., Awaitable[Any]], content: Any, **about: Any) -> None:
        """Create an artifact of results that are already on disk.

        While Prefect's server does not answer, try again. After `OUTAGE_S` seconds without it, leave this artifact and
        all later ones out: the run is complete without them.

        Args:
            create: one of Prefect's functions, such as `acreate_markdown_artifact`.
            content: its first argument.
            about: key and description.
        """
        while True:
            try:
                await create(content, **about)
            except Exception as error:
                if not is_outage(error):
                    raise
                if self._outage_ends is None:
                    self._outage_ends = time.monotonic() + OUTAGE_S
                    self.say(f"waiting up to {OUTAGE_S:.0f} s to show the results in Prefect: {describe(error)}")
                if time.monotonic() > self._outage_ends:
                    self.say(f"Prefect does not show '{about['key']}': its server does not answer")
                    return
                await asyncio.sleep(RETRY_S)
            else:
                self._outage_ends = None
                return

    def close(self) -> None:
        """Publish what is pending; give up after `FLUSH_S` seconds if Prefect's server does not answer."""
        self._publisher.close()

    def _show(self, line: str, stays: bool) -> None:
        if self._terminal:
            width = shutil.get_terminal_size().columns - 1  # a line that wraps could not be overwritten
            sys.stderr.write("\r\x1b[K" + ("" if stays else line[:width]))
            sys.stderr.flush()
        if stays or not self._terminal:
            try:
                get_run_logger().info(line)
            except MissingContextError:  # a task's function called outside a run
                sys.stderr.write(line + "\n")


class ArtifactPublisher:
    """Publishes progress artifacts from a separate thread, so that Prefect's server never delays a call.

    Only the latest update of each stage is kept: while the server does not answer, older ones are dropped, and the UI
    catches up when it answers again.
    """

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._pending: dict[str, tuple[float, str]] = {}
        self._artifacts: dict[str, UUID] = {}
        self._changed = threading.Condition()
        self._closed = False
        self._gives_up = math.inf
        self._thread: threading.Thread | None = None

    def put(self, stage: str, percent: float, description: str) -> None:
        """Take an update; it replaces one of the same stage that was not published yet."""
        with self._changed:
            self._pending[stage] = percent, description
            self._changed.notify()
        if self._thread is None:
            # Artifacts find their flow run in the context of the thread that creates them.
            context = contextvars.copy_context()
            self._thread = threading.Thread(target=context.run, args=(self._run,), name="progress", daemon=True)
            self._thread.start()

    def close(self) -> None:
        """Publish what is pending and end the thread; give up after `FLUSH_S` seconds."""
        with self._changed:
            self._closed = True
            self._gives_up = time.monotonic() + FLUSH_S
            self._changed.notify()
        if self._thread is not None:
            self._thread.join(FLUSH_S)

    def _run(self) -> None:
        failed = False
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._pending or self._closed)
                if not self._pending:
                    return
                stage, (percent, description) = next(iter(self._pending.items()))
                del self._pending[stage]
            try:
                self._publish(stage, percent, description)
            except Exception as error:  # whatever Prefect's server, or the network, may raise
                if not failed:
                    self._say(f"progress is not shown in Prefect for now, and the work goes on: {describe(error)}")
                failed = True
                with self._changed:
                    self._pending.setdefault(stage, (percent, description))  # unless there is a newer one
                    if time.monotonic() > self._gives_up:
                        return
                    if self._closed:
                        self._changed.wait(RETRY_S)
                    else:  # a close during the wait is the time for another attempt
                        self._changed.wait_for(lambda: self._closed, RETRY_S)

    def _publish(self, stage: str, percent: float, description: str) -> None:
        sync: dict[str, Any] = {"_sync": True}  # not in the functions' types
        if stage in self._artifacts:
            update_progress_artifact(self._artifacts[stage], percent, description=description, **sync)
        else:
            key = "progress-" + re.sub(r"[^a-z0-9]+", "-", stage.lower())
            artifact = create_progress_artifact(percent, key=key, description=description, **sync)
            self._artifacts[stage] = cast(UUID, artifact)


def never_raising(report: Callable[[T], None], say: Callable[[str], None]) -> Callable[[T], None]:
    """A callback that never raises an error: the first one is logged, and later reports are tried again."""
    failed = list[Exception]()

    def report_safely(news: T) -> None:
        try:
            report(news)
        except Exception as error:
            failed.append(error)
            if len(failed) == 1:
                say(f"some progress cannot be shown, and the work goes on: {describe(error)}")

    return report_safely


def describe(error: Exception) -> str:
    """An error in one line."""
    return f"{type(error).__name__}: {error}"


def is_outage(error: BaseException) -> bool:
    """Whether an error means that Prefect's server does not answer, rather than that it refuses something."""
    if isinstance(error, httpx.HTTPStatusError):
        return error.response.status_code >= 500
    # Of a process's first request Prefect raises a RuntimeError in place of the transport's error.
    return isinstance(error, httpx.TransportError) or str(error).startswith("Failed to reach API")

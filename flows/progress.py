"""Progress for people: one line per stage on the terminal, and the same as progress artifacts in Prefect."""

import re
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, cast
from uuid import UUID

from prefect.artifacts import create_progress_artifact, update_progress_artifact

from charter.stages.context import Progress

TERMINAL_EVERY_S = 1.0
LOG_EVERY_S = 10.0
ARTIFACT_EVERY_S = 2.0


@dataclass
class Stage:
    """One stage of a run, summed over its shards."""

    name: str
    total: int
    shards: dict[int, Progress] = field(default_factory=dict)
    started: float = field(default_factory=time.monotonic)
    shown: float = 0.0
    published: float = 0.0
    artifact: UUID | None = None

    def line(self) -> str:
        """Rows done, rows and tokens per second, time left."""
        done, failed, tokens = (
            sum(getattr(p, what) for p in self.shards.values()) for what in ("done", "failed", "tokens")
        )
        seconds = max(time.monotonic() - self.started, 1e-3)
        unit = next((p.unit for p in self.shards.values()), "rows")
        parts = [f"{self.name:<14} {done:>6,} of {self.total:,}", f"{done / seconds:,.1f} {unit}/s"]
        if tokens:
            parts.append(f"{tokens / seconds:,.0f} tokens/s")
        if failed:
            parts.append(f"{failed:,} failed")
        left = (self.total - done) * seconds / max(done, 1)
        parts.append(f"{seconds:.0f} s" if done >= self.total else f"{left:.0f} s left" if done else "starting")
        return " · ".join(parts)

    @property
    def done(self) -> int:
        """Rows that came out or failed."""
        return sum(p.done for p in self.shards.values())


class Live:
    """What the stages of a run tell, shown as it comes; made by `live`."""

    def __init__(self) -> None:
        self.stages: dict[str, Stage] = {}
        self._terminal = sys.stderr.isatty()

    def expect(self, stage: str, total: int) -> None:
        """Say how much a stage will do, over all its shards."""
        self.stages[stage] = Stage(stage, total)

    def tell(self, progress: Progress, shard: int = 0) -> None:
        """Take a shard's progress."""
        stage = self.stages.setdefault(progress.stage, Stage(progress.stage, progress.total))
        stage.shards[shard] = progress
        finished, now = stage.done >= stage.total, time.monotonic()
        if finished or now - stage.shown > (TERMINAL_EVERY_S if self._terminal else LOG_EVERY_S):
            stage.shown = now
            self._show(stage.line(), finished)
        if finished or now - stage.published > ARTIFACT_EVERY_S:
            stage.published = now
            _publish(stage)

    def say(self, line: str) -> None:
        """Show a line that stays."""
        self._show(line, stays=True)

    def _show(self, line: str, stays: bool) -> None:
        if self._terminal:
            sys.stderr.write(f"\r\x1b[K{line[:119]}" + ("\n" if stays else ""))
        else:
            sys.stderr.write(line + "\n")
        sys.stderr.flush()


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


def _publish(stage: Stage) -> None:
    percent = round(100 * stage.done / max(stage.total, 1), 1)
    description = f"**{stage.name}**: {stage.line()}"
    now: dict[str, Any] = {"_sync": True}  # these functions are told of the running loop this way, not by their types
    if stage.artifact is None:
        key = "progress-" + re.sub(r"[^a-z0-9]+", "-", stage.name.lower())
        stage.artifact = cast(UUID, create_progress_artifact(percent, key=key, description=description, **now))
    else:
        update_progress_artifact(stage.artifact, percent, description=description, **now)

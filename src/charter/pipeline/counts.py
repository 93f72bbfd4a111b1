"""The counts of a step: rows in, out and failed, calls and tokens."""

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Protocol

from charter.core.errors import CountMismatch
from charter.inference.engine import EngineStats
from charter.inference.metrics import ServerSnapshot
from charter.pipeline.rows import OnProgress, Progress


@dataclass(frozen=True)
class StageCount:
    """The rows, calls and tokens of one step. `rows_in == rows_out + failed`, which is checked on construction."""

    stage: str
    rows_in: int
    rows_out: int
    failed: int
    seconds: float = 0.0
    calls: int = 0
    stored: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0

    def __post_init__(self) -> None:
        if self.rows_in != self.rows_out + self.failed:
            raise CountMismatch(
                f"stage '{self.stage}': {self.rows_in} rows in, {self.rows_out} out and {self.failed} failed. "
                "This is a bug in Charter."
            )


def total(counts: Sequence[StageCount]) -> dict[str, StageCount]:
    """The sums of each stage over its shards, in the order in which the stages first appear.

    Shards of a stage run concurrently, so their seconds add up to more than the time on the clock.
    """
    sums: dict[str, StageCount] = {}
    for count in counts:
        if count.stage in sums:
            before, now = asdict(sums[count.stage]), asdict(count)
            count = StageCount(**{key: before[key] + value if key != "stage" else value for key, value in now.items()})
        sums[count.stage] = count
    return sums


def count_stage(stage: str, rows_in: int, rows_out: int, failed: int, stats: EngineStats, started: float) -> StageCount:
    """The counts of a step, with its engine's statistics; `started` is in monotonic seconds."""
    return StageCount(
        stage=stage,
        rows_in=rows_in,
        rows_out=rows_out,
        failed=failed,
        seconds=round(time.monotonic() - started, 3),
        calls=stats.asked,
        stored=stats.from_store,
        prompt_tokens=stats.prompt_tokens,
        completion_tokens=stats.completion_tokens,
    )


class HasStats(Protocol):
    """An engine, or several that count as one."""

    @property
    def stats(self) -> EngineStats:
        """Counts since it was opened."""

    @property
    def reading(self) -> ServerSnapshot | None:
        """What its servers report."""


def with_engine_stats(on_progress: OnProgress | None, engine: HasStats) -> OnProgress | None:
    """A callback that adds the engine's statistics, and what its servers report, to each progress."""
    if on_progress is None:
        return None
    report = on_progress  # mypy does not narrow `on_progress` inside the function below

    def add(progress: Progress) -> None:
        stats, reading = engine.stats, engine.reading
        report(
            replace(
                progress,
                tokens_in=stats.prompt_tokens,
                tokens=stats.completion_tokens,
                calls=stats.asked,
                stored=stats.from_store,
                waiting=reading.waiting if reading else None,
                cache_hits=reading.cache_hits if reading else None,
            )
        )

    return add

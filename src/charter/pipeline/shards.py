"""A run's shards through the stages: read a shard's tables, run the stage, write its results.

Completions come through the store, so a repeated stage asks only for what is missing: no stage needs to know whether
it was interrupted.
"""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from charter.core.errors import Stopped, unwrap_single_error
from charter.data.schema import SCHEMAS
from charter.data.shards import count_rows, read_rows, shard_files, write_rows
from charter.inference.session import Session
from charter.pipeline.balance import REASONS, PairLength, collect_columns, drop_reasons
from charter.pipeline.context import RunContext
from charter.pipeline.counts import StageCount, count_stage, with_engine_stats
from charter.pipeline.rows import OnProgress, failure
from charter.pipeline.sequence import Stage, open_stage, stages_of

SHARDS_IN_FLIGHT = 4
"""Shards worked on concurrently, each in its own stage, so that the engine never drains between stages."""

RunStage = Callable[[RunContext, Stage, int], Awaitable[StageCount]]
"""Runs one stage of one shard: `run_stage`, or a Prefect task around it."""


async def run_stage(
    run: RunContext, stage: Stage, shard: int, session: Session, on_progress: OnProgress | None = None
) -> StageCount:
    """Run one stage of one shard of a run's folder.

    Raises:
        CharterError: a model, a server or the store cannot be used, or the run was stopped.
        NoDataError: too many of the stage's first rows failed, over all shards of the session.
    """
    started = time.monotonic()
    tables = {name: read_shard(run.folder, name, shard) for name in stage.reads}
    total = session.losses.total(str(run.folder), lambda: count_rows(run.folder / "prompts"))
    limit = run.config.generation.max_lost_share
    async with open_stage(stage, run, session, shard) as opened:
        report = with_engine_stats(on_progress, opened.engines)
        context = replace(
            opened.context, losses=lambda name: session.losses.of_stage(str(run.folder), name, total, limit)
        )
        result = await stage.run(tables, run, context, report)
        for name, rows in result.tables.items():
            write_rows(shard_path(run.folder, name, shard), SCHEMAS[name], rows)
        write_failures(run.folder, stage.name, shard, result.failures)
        failed = result.rows_in - result.rows_out
        return count_stage(stage.name, result.rows_in, result.rows_out, failed, opened.engines.stats, started)


async def run_shards(
    run: RunContext,
    shards: Iterable[int],
    session: Session,
    run_one: RunStage,
    in_flight: int = SHARDS_IN_FLIGHT,
    stages: Sequence[Stage] | None = None,
) -> list[StageCount]:
    """Every shard through all stages, `in_flight` shards concurrently; a shard never waits for another one's stage.

    Args:
        run: the run.
        shards: their numbers.
        session: checked for a stop between stages.
        run_one: runs one stage of one shard.
        in_flight: shards worked on concurrently.
        stages: in order; all stages of the run by default.

    Raises:
        Stopped: the run was stopped; stages that could finish have.
        CharterError: the error of the first shard that failed.
    """
    stages, counts = stages or stages_of(run.config), dict[int, list[StageCount]]()

    async def work(remaining: Iterator[int]) -> None:
        for shard in remaining:
            with contextlib.suppress(Stopped):  # raised below, when every shard in flight has ended
                counts[shard] = [await run_one(run, stage, shard) for stage in stages]
            if session.stopping:
                return

    remaining = iter(list(shards))  # shared: each worker takes the next shard
    with unwrap_single_error():
        async with asyncio.TaskGroup() as group:
            for _ in range(in_flight):
                group.create_task(work(remaining))
    session.check()
    return [count for shard in sorted(counts) for count in counts[shard]]


async def run_shards_here(
    run: RunContext,
    shards: Iterable[int],
    session: Session,
    run_one: RunStage | None = None,
    in_flight: int = SHARDS_IN_FLIGHT,
    stages: Sequence[Stage] | None = None,
) -> list[StageCount]:
    """As `run_shards` in this process: connections and stores stay open from one stage to the next.

    Raises:
        CharterError: as `run_shards`.
    """

    async def run_here(run: RunContext, stage: Stage, shard: int) -> StageCount:
        return await run_stage(run, stage, shard, session)

    async with session.keep_open(spec.store for spec in run.models.values()):
        return await run_shards(run, shards, session, run_one or run_here, in_flight, stages)


def balance_pairs(run: RunContext) -> StageCount:
    """Drop pairs to balance the whole dataset, after all are judged; the count is of pairs.

    Failures and counts name this stage ``mix``.
    """
    started, columns = time.monotonic(), ("pair_id", "strategy", "chosen", "rejected")
    # Two passes: the decision needs every pair's length, but never all texts in memory.
    pairs = collect_columns(
        (
            PairLength(row["pair_id"], row["strategy"], len(row["chosen"]) - len(row["rejected"]))
            for row in read_rows(run.folder / "pairs", columns)
        ),
        run.config.seed,
    )
    decisions, before, dropped = drop_reasons(pairs, run.config.pairs), 0, 0
    for shard, path in enumerate(shard_files(run.folder / "pairs")):
        rows = list(read_rows(path))
        reasons = [REASONS[decision] for decision in decisions[before : before + len(rows)]]
        kept, failures = list[dict[str, Any]](), list[dict[str, Any]]()
        for row, reason in zip(rows, reasons, strict=True):
            if reason:
                failures.append(failure(row, "mix", reason, f"{row['chosen']!r} | {row['rejected']!r}"))
            else:
                kept.append(row)
        if failures:
            write_rows(path, SCHEMAS["pairs"], kept)
        write_failures(run.folder, "mix", shard, failures)
        before, dropped = before + len(rows), dropped + len(failures)
    return StageCount("mix", before, before - dropped, dropped, round(time.monotonic() - started, 3))


def shard_path(folder: Path, name: str, shard: int) -> Path:
    """The file of one shard of a table."""
    return folder / name / f"{shard:05d}.parquet"


def read_shard(folder: Path, name: str, shard: int) -> list[dict[str, Any]]:
    """The rows of one shard of a table; of `samples` none if no pair strategy needs them.

    Raises:
        DataError: the file does not exist, or is not Parquet.
    """
    path = shard_path(folder, name, shard)
    return [] if name == "samples" and not path.is_file() else list(read_rows(path))


def write_failures(folder: Path, stage: str, shard: int, rows: Sequence[dict[str, Any]]) -> None:
    """Write the failures of one stage of one shard."""
    write_rows(folder / "failures" / f"{stage}-{shard:05d}.parquet", SCHEMAS["failures"], rows)

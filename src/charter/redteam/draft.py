"""What the steps leave each other in the folder of the version that is being made."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from charter.data.schema import SCHEMAS
from charter.data.shards import read_rows, write_rows
from charter.inference.engine import EngineStats
from charter.pipeline.counts import StageCount, count_stage
from charter.pipeline.rows import Outcome, Row
from charter.redteam.versions import UNFINISHED

REQUESTS, ATTEMPTS = "requests.jsonl", "attempts.jsonl"


def write_lines(folder: Path, name: str, rows: Iterable[Row]) -> None:
    """Rows, one to a line."""
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    (folder / UNFINISHED / name).write_text(text, encoding="utf-8")


def read_lines(folder: Path, name: str) -> list[dict[str, Any]]:
    """What `write_lines` wrote."""
    text = (folder / UNFINISHED / name).read_text(encoding="utf-8")
    return [json.loads(line) for line in text.split("\n") if line]


def keep_failures(
    folder: Path, stage: str, rows_in: int, made: Outcome, stats: EngineStats | None = None, started: float = 0.0
) -> StageCount:
    """Keep the rows that left at a stage with their reasons, and count it.

    Raises:
        CountMismatch: rows neither came out nor failed.
    """
    write_rows(folder / UNFINISHED / "failures" / f"{stage}.parquet", SCHEMAS["failures"], made.failures)
    if stats is None:
        return StageCount(stage, rows_in, len(made.rows), len(made.failures))
    return count_stage(stage, rows_in, len(made.rows), len(made.failures), stats, started)


def read_failures(folder: Path) -> list[dict[str, Any]]:
    """The rows that left, of all stages."""
    return list(read_rows(folder / UNFINISHED / "failures"))

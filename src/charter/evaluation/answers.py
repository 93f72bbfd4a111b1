"""Graded answers as Parquet, one file per model: what the report's examples are drawn from."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import polars as pl

from charter.core.files import atomic_path
from charter.evaluation.records import Graded

SCHEMA = {
    "request_id": pl.String,
    "category": pl.String,
    "kind": pl.String,
    "prompt": pl.String,
    "response": pl.String,
    "finish_reason": pl.String,
    "harmful": pl.Boolean,
    "refused": pl.Boolean,
    "correct": pl.Boolean,
    "variant": pl.String,
    "pair": pl.String,
    "judged_harmful": pl.Boolean,
    "won": pl.Float64,
}


def save_answers(folder: Path, model: str, rows: Sequence[Graded]) -> Path:
    """Write ``folder/model.parquet`` atomically."""
    path = folder / f"{model}.parquet"
    with atomic_path(path) as unfinished:
        pl.DataFrame([asdict(row) for row in rows], schema=SCHEMA).write_parquet(unfinished, compression="zstd")
    return path


def load_answers(path: Path) -> list[Graded]:
    """The rows of one model's file; a column that an earlier version did not write is empty."""
    return [Graded(**row) for row in pl.read_parquet(path, glob=False).iter_rows(named=True)]

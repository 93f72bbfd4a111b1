"""How a table of an export becomes files: each side, train or test, streams into its own."""

import json
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from charter.data.shards import ROW_GROUP, write_rows

Sides = Mapping[str, Iterator[Mapping[str, Any]]]
Write = Callable[[Path, pa.Schema, Sides], dict[str, int]]
"""Writes the sides of a table into its folder, and returns how many rows each has; one without rows has no file."""


def write_parquet(folder: Path, schema: pa.Schema, sides: Sides) -> dict[str, int]:
    """As ``SIDE.parquet``."""
    return {side: _unless_empty(folder / f"{side}.parquet", schema, rows) for side, rows in sides.items()}


def write_jsonl(folder: Path, schema: pa.Schema, sides: Sides) -> dict[str, int]:
    """As ``SIDE.jsonl``, an object per line."""
    counts = Counter[str]()
    for side, rows in sides.items():
        with (folder / f"{side}.jsonl").open("w", encoding="utf-8") as file:
            for row in rows:
                file.write(json.dumps({name: row[name] for name in schema.names}, ensure_ascii=False) + "\n")
                counts[side] += 1
        if not counts[side]:
            (folder / f"{side}.jsonl").unlink()
    return dict(counts)


def write_datasets(folder: Path, schema: pa.Schema, sides: Sides) -> dict[str, int]:
    """As a ``DatasetDict`` saved to disk."""
    import datasets  # heavy, and needed by this format only

    counts: dict[str, int] = {}
    made: dict[str, Any] = {}
    features, scratch = datasets.Features.from_arrow_schema(schema), folder / ".scratch"
    quiet = datasets.utils.are_progress_bars_disabled()
    datasets.utils.disable_progress_bars()
    try:
        for side, rows in sides.items():
            counts[side] = write_rows(scratch / f"{side}.parquet", schema, rows)
            if counts[side]:
                stream = _as_stream(scratch / f"{side}.parquet", features.arrow_schema)
                made[side] = datasets.Dataset.from_file(str(stream), split=side)
        datasets.DatasetDict(made).save_to_disk(folder)
    finally:
        made.clear()  # closes the files
        shutil.rmtree(scratch, ignore_errors=True)
        if not quiet:
            datasets.utils.enable_progress_bars()
    return counts


def _unless_empty(path: Path, schema: pa.Schema, rows: Iterator[Mapping[str, Any]]) -> int:
    count = write_rows(path, schema, rows)
    if not count:
        path.unlink()
    return count


def _as_stream(path: Path, schema: pa.Schema) -> Path:
    """A Parquet file as a stream of Arrow, which `datasets` maps into memory."""
    stream = path.with_suffix(".arrow")
    with (
        pq.ParquetFile(path) as file,
        pa.OSFile(str(stream), "wb") as sink,
        pa.ipc.new_stream(sink, schema) as writer,
    ):
        for batch in file.iter_batches(batch_size=ROW_GROUP):
            writer.write_table(pa.Table.from_batches([batch]).cast(schema))
    return stream

"""How a table of an export becomes files: each side, train or test, is streamed into its own file."""

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
"""Writes the sides of a table into its folder, and returns the rows of each; a side without rows has no file."""


def write_parquet(folder: Path, schema: pa.Schema, sides: Sides) -> dict[str, int]:
    """As ``SIDE.parquet``."""
    counts = dict[str, int]()
    for side, rows in sides.items():
        path = folder / f"{side}.parquet"
        counts[side] = write_rows(path, schema, rows)
        if not counts[side]:
            path.unlink()
    return counts


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
    import datasets  # imported here because it is slow to import, and only this format needs it

    counts: dict[str, int] = {}
    by_side: dict[str, Any] = {}
    features, scratch = datasets.Features.from_arrow_schema(schema), folder / ".scratch"
    quiet = datasets.utils.are_progress_bars_disabled()
    datasets.utils.disable_progress_bars()
    try:
        for side, rows in sides.items():
            counts[side] = write_rows(scratch / f"{side}.parquet", schema, rows)
            if counts[side]:
                stream = _as_stream(scratch / f"{side}.parquet", features.arrow_schema)
                by_side[side] = datasets.Dataset.from_file(str(stream), split=side)
        datasets.DatasetDict(by_side).save_to_disk(folder)
    finally:
        by_side.clear()  # closes the files, which otherwise could not be removed on every system
        shutil.rmtree(scratch, ignore_errors=True)
        if not quiet:
            datasets.utils.enable_progress_bars()
    return counts


def _as_stream(path: Path, schema: pa.Schema) -> Path:
    """Copy a Parquet file to an Arrow stream, which `datasets` maps into memory instead of reading it."""
    stream = path.with_suffix(".arrow")
    with (
        pq.ParquetFile(path) as file,
        pa.OSFile(str(stream), "wb") as sink,
        pa.ipc.new_stream(sink, schema) as writer,
    ):
        for batch in file.iter_batches(batch_size=ROW_GROUP):
            writer.write_table(pa.Table.from_batches([batch]).cast(schema))
    return stream

"""Rows to Parquet and back as a stream. A shard is either complete or does not exist."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from charter.core.errors import DataError
from charter.core.files import FULL, atomic_path

ROW_GROUP = 1024
"""Rows held in memory at a time, and per row group on disk."""


def write_rows(path: Path, schema: pa.Schema, rows: Iterable[Mapping[str, Any]]) -> int:
    """Write `rows` as one Parquet file and return how many there were.

    The file appears under its name only when it is complete and on disk: a killed writer, or an exception raised by
    `rows`, leaves the earlier file. Without rows the file has the schema only.

    Raises:
        DataError: a row with a missing, unknown or wrongly typed column; or the file cannot be written.
    """
    count, remaining = 0, iter(rows)
    try:
        with (
            atomic_path(path) as unfinished,
            pq.ParquetWriter(unfinished, schema, compression="zstd") as writer,
        ):
            while group := list(islice(remaining, ROW_GROUP)):
                writer.write_table(_table(path, schema, group, count))
                count += len(group)
    except OSError as error:
        fix = "Free some space on its disk" if error.errno in FULL else "Make its folder writable"
        raise DataError(
            f"shard '{path}': cannot be written: {error}. {fix} and run the same command again: all answers are kept."
        ) from error
    return count


class Shards:
    """Writes rows that come one by one to files of `size` rows each; the rows of one shard are held at a time.

    Use as a context manager: leaving it writes the last file, except after an error.

    Args:
        folder: where the files go.
        schema: of the rows.
        size: rows per file.
        prefix: of the files' names, which are numbers from 0. Without rows there is one file without rows.
    """

    def __init__(self, folder: Path, schema: pa.Schema, size: int, prefix: str = "") -> None:
        self._folder, self._schema, self._size, self._prefix = folder, schema, size, prefix
        self._rows, self._files = list[Mapping[str, Any]](), 0
        self.count = 0
        """Rows added so far."""

    def add(self, row: Mapping[str, Any]) -> None:
        """Add a row.

        Raises:
            DataError: as `write_rows`.
        """
        if len(self._rows) == self._size:
            self._write()
        self._rows.append(row)
        self.count += 1

    def __enter__(self) -> "Shards":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None and (self._rows or not self._files):
            self._write()

    def _write(self) -> None:
        write_rows(self._folder / f"{self._prefix}{self._files:05d}.parquet", self._schema, self._rows)
        self._rows, self._files = [], self._files + 1


def read_rows(path: Path, columns: Sequence[str] | None = None) -> Iterator[dict[str, Any]]:
    """Yield the rows of a Parquet file, or of every ``*.parquet`` of a folder in order of name.

    Raises:
        DataError: no such file, a folder without shards, or a file that is not Parquet.
    """
    wanted = None if columns is None else list(columns)
    for shard in shard_files(path):
        with _open(shard) as file:
            try:
                for batch in file.iter_batches(batch_size=ROW_GROUP, columns=wanted):
                    yield from batch.to_pylist()
            except (pa.ArrowException, OSError) as error:
                raise DataError(f"shard '{shard}': broken: {error}. Delete it and run again.") from error


def count_rows(path: Path) -> int:
    """The number of rows of a file or folder, from the files' footers."""
    total = 0
    for shard in shard_files(path):
        with _open(shard) as file:
            total += file.metadata.num_rows
    return total


def shard_files(path: Path) -> list[Path]:
    """The Parquet files of a path, which is one file or a folder of them, in order of name.

    Raises:
        DataError: it has no Parquet files.
    """
    files = [path] if path.is_file() else sorted(path.glob("*.parquet"))
    if not files:
        problem = "a folder without .parquet files" if path.is_dir() else "no such file or folder"
        raise DataError(f"data '{path}': {problem}. Name a .parquet file or a folder of them.")
    return files


def _table(path: Path, schema: pa.Schema, rows: Sequence[Mapping[str, Any]], before: int) -> pa.Table:
    names, expected = schema.names, set(schema.names)
    required = [field.name for field in schema if not field.nullable]
    for number, row in enumerate(rows, before):
        if row.keys() != expected:
            missing, unknown = sorted(expected - row.keys()), sorted(row.keys() - expected)
            raise DataError(f"row {number} of '{path.name}': missing columns {missing}, unknown columns {unknown}.")
        if empty := [name for name in required if row[name] is None]:
            raise DataError(f"row {number} of '{path.name}': no value for {empty}. Only nullable columns may be empty.")
    try:
        return pa.Table.from_pydict({name: [row[name] for row in rows] for name in names}, schema=schema)
    except (pa.ArrowException, TypeError, OverflowError) as error:
        last = before + len(rows) - 1
        raise DataError(f"rows {before} to {last} of '{path.name}': a value of the wrong type: {error}.") from error


def _open(shard: Path) -> pq.ParquetFile:
    try:
        # a shard on remote storage is a UPath, which pyarrow cannot open
        return pq.ParquetFile(shard if isinstance(shard, Path) else pa.BufferReader(shard.read_bytes()))
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"shard '{shard}': not Parquet: {error}. Delete it and run again.") from error

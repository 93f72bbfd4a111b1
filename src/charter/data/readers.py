"""Files of prompts as a stream of records, whatever their format.

A record that cannot be read is yielded with what is wrong with it, so that it can be counted; a
file that cannot be read at all is an error.
"""

import csv
import gzip
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from charter.core.errors import DataError
from charter.data.shards import read_rows, shard_files

FORMATS = ".jsonl, .jsonl.gz, .parquet, .csv, or a folder saved by `datasets`"
_LONGEST_FIELD = 64 * 2**20


class Record(NamedTuple):
    """One record of a file: its values, or the problem that kept them from being read."""

    where: str
    values: Mapping[str, Any]
    problem: str = ""


def read_records(path: Path, what: str = "prompts", setting: str = "prompts.source") -> Iterator[Record]:
    """Stream the records of a file or folder; `what` they are and the `setting` that named it stand in errors.

    Raises:
        DataError: it is missing, empty, broken, or of a format that is not known.
    """
    if not path.exists():
        raise DataError(f"{what} '{path}': no such file or folder. Correct {setting}.")
    if path.is_dir():
        records = _folder(path, what, setting)
    elif path.stat().st_size == 0:
        raise DataError(f"{what} '{path}': the file is empty. Fill it, or correct {setting}.")
    elif path.name.endswith((".jsonl", ".jsonl.gz")):
        records = _jsonl(path)
    elif path.suffix == ".csv":
        records = _csv(path)
    elif path.suffix == ".parquet":
        records = _parquet(path)
    else:
        raise DataError(f"{what} '{path}': unknown format '{path.suffix}'. Use {FORMATS}.")
    return _unbroken(path, records, what)


def _unbroken(path: Path, records: Iterator[Record], what: str) -> Iterator[Record]:
    try:
        yield from records
    except (OSError, EOFError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{what} '{path}': broken: {error}. Repair or replace the file.") from error


def _jsonl(path: Path) -> Iterator[Record]:
    with path.open("rb") as file, _unzipped(path, file) as lines:
        for number, line in enumerate(lines, 1):
            if line.strip():
                yield _json_record(f"line {number}", line)


def _unzipped(path: Path, file: BinaryIO) -> BinaryIO | gzip.GzipFile:
    return gzip.GzipFile(fileobj=file) if path.suffix == ".gz" else file


def _json_record(where: str, line: bytes) -> Record:
    try:
        values = json.loads(line)
    except (ValueError, RecursionError) as error:
        return Record(where, {}, f"not JSON: {error}")
    if not isinstance(values, dict):
        return Record(where, {}, f"a {type(values).__name__}, not an object with columns")
    return Record(where, values)


def _csv(path: Path) -> Iterator[Record]:
    csv.field_size_limit(_LONGEST_FIELD)  # the module's default of 128 KiB is under one long document
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file)
        width = len(reader.fieldnames or ())
        for values in reader:
            cells = sum(value is not None for name, value in values.items() if name is not None)
            cells += len(values.get(None, ()))
            problem = "" if cells == width else f"{cells} cells under {width} column names"
            yield Record(f"line {reader.line_num}", {} if problem else values, problem)


def _parquet(path: Path) -> Iterator[Record]:
    for number, values in enumerate(read_rows(path), 1):
        yield Record(f"row {number}", values)


def _folder(path: Path, what: str, setting: str) -> Iterator[Record]:
    if (path / "dataset_dict.json").exists():
        splits = ", ".join(sorted(str(p.parent) for p in path.glob("*/state.json")))
        raise DataError(f"{what} '{path}': holds several splits. Name one of them as {setting}: {splits}.")
    if not (path / "state.json").exists():
        shard_files(path)
        return _parquet(path)
    return _saved_dataset(path, what)


def _saved_dataset(path: Path, what: str) -> Iterator[Record]:
    import datasets  # heavy, and needed by this one source only

    try:
        dataset = datasets.load_from_disk(str(path))
    except (OSError, ValueError, KeyError) as error:
        raise DataError(f"{what} '{path}': `datasets` cannot load this folder: {error}. Save it again.") from error
    for number, values in enumerate(dataset, 1):
        yield Record(f"row {number}", values)

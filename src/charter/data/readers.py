"""Files of prompts as a stream of records, in any supported format.

A record that cannot be read is yielded with its problem, so that it can be counted. A file that cannot be read at all
is an error.
"""

import csv
import gzip
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from charter.core.errors import DataError
from charter.data.shards import read_rows, shard_files

FORMATS = ".jsonl, .jsonl.gz, .parquet, .csv, or a folder saved by `datasets`"
_LONGEST_FIELD = 64 * 2**20


class Record(NamedTuple):
    """One record of a file: its values, or the problem because of which they could not be read."""

    where: str
    values: Mapping[str, Any]
    problem: str = ""


def read_records(path: Path, what: str = "prompts", setting: str = "prompts.source") -> Iterator[Record]:
    """Stream the records of a file or folder.

    Args:
        path: the file or folder.
        what: what the records are, for messages.
        setting: the setting that named the path, for messages.

    Raises:
        DataError: it is missing, empty, broken, or of an unknown format.
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
    return _with_clear_errors(path, records, what)


def _with_clear_errors(path: Path, records: Iterator[Record], what: str) -> Iterator[Record]:
    try:
        yield from records
    except (OSError, EOFError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{what} '{path}': broken: {error}. Repair or replace the file.") from error


def _jsonl(path: Path) -> Iterator[Record]:
    with path.open("rb") as file:
        lines = gzip.GzipFile(fileobj=file) if path.suffix == ".gz" else file
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            where = f"line {number}"
            try:
                values = json.loads(line)
            except (ValueError, RecursionError) as error:  # RecursionError: deeply nested brackets
                yield Record(where, {}, f"not JSON: {error}")
                continue
            if isinstance(values, dict):
                yield Record(where, values)
            else:
                yield Record(where, {}, f"a {type(values).__name__}, not an object with columns")


def _csv(path: Path) -> Iterator[Record]:
    csv.field_size_limit(_LONGEST_FIELD)  # the module's default of 128 KiB is under one long document
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file)
        width = len(reader.fieldnames or ())
        for values in reader:
            # csv fills missing cells with None, and puts surplus ones under the key None
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
        shard_files(path)  # raises immediately where there are none; the generator below would do so only when read
        return _parquet(path)
    return _saved_dataset(path, what)


def _saved_dataset(path: Path, what: str) -> Iterator[Record]:
    import datasets  # imported here because it is slow to import, and only this source needs it

    try:
        dataset = datasets.load_from_disk(str(path))
    except (OSError, ValueError, KeyError) as error:
        raise DataError(f"{what} '{path}': `datasets` cannot load this folder: {error}. Save it again.") from error
    for number, values in enumerate(dataset, 1):
        yield Record(f"row {number}", values)

"""Files of prompts as a stream of records, in any supported format.

A record that cannot be read is yielded with its problem, so that it can be counted. A file that cannot be read at all
is an error.
"""

import bz2
import csv
import gzip
import io
import json
import lzma
import re
import zlib
from collections.abc import Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import IO, Any, NamedTuple, cast

import pyarrow as pa

from charter.core.errors import DataError
from charter.data.shards import read_rows, shard_files

FORMATS = (
    ".jsonl, .ndjson, .json, .csv, .tsv, also compressed (.gz, .zst, .bz2, .xz), .parquet, or a folder of Parquet files"
    " or one saved by `datasets`"
)
_LONGEST_FIELD = 64 * 2**20
_CHUNK = 2**20
_SUFFIXES = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet")
_COMPRESSED = (".gz", ".zst", ".bz2", ".xz")
# The longer marks come first: that of UTF-32 begins as that of UTF-16 does
_BYTE_ORDER_MARKS = (
    (b"\xff\xfe\x00\x00", "utf-32"),
    (b"\x00\x00\xfe\xff", "utf-32"),
    (b"\xff\xfe", "utf-16"),
    (b"\xfe\xff", "utf-16"),
)
_SPLIT = re.compile(r"(?:^|[^a-z])(train|training|validation|valid|val|dev|eval|test|testing)(?=[^a-z]|$)")
_SPLIT_NAMES = {"training": "train", "valid": "validation", "val": "validation", "dev": "validation", "testing": "test"}


class Record(NamedTuple):
    """One record of a file: its values, or the problem because of which they could not be read."""

    where: str
    values: Mapping[str, Any]
    problem: str = ""


def read_records(path: Path | str, what: str = "prompts", setting: str = "prompts.source") -> Iterator[Record]:
    """Stream the records of a file or folder.

    Args:
        path: the file or folder; ``folder:train`` is one split of a folder.
        what: what the records are, for messages.
        setting: the setting that named the path, for messages.

    Raises:
        DataError: it is missing, empty, broken, of an unknown format, or holds several splits of which none is named.
    """
    path, split = Path(path), ""
    if not path.exists() and ":" in path.name:
        name, _, split = str(path).rpartition(":")
        path = Path(name)
    if not path.exists():
        raise DataError(f"{what} '{path}': no such file or folder. Correct {setting}.")
    if path.is_dir():
        records = _folder(path, split, what, setting)
    elif split:
        raise DataError(f"{what} '{path}:{split}': a file has no splits. Remove ':{split}' from {setting}.")
    elif path.stat().st_size == 0:
        raise DataError(f"{what} '{path}': the file is empty. Fill it, or correct {setting}.")
    else:
        suffix = _suffix(path)
        if suffix not in _SUFFIXES:
            raise DataError(f"{what} '{path}': unknown format '{path.suffix}'. Use {FORMATS}.")
        records = _parquet(path) if suffix == ".parquet" else _text_file(path, suffix)
    return _with_clear_errors(path, records, what)


def _suffix(path: Path) -> str:
    """The suffix of the format in lower case, without that of the compression; of a compressed Parquet file, both."""
    suffixes = [suffix.lower() for suffix in path.suffixes[-2:]]
    if suffixes and suffixes[-1] in _COMPRESSED:
        return suffixes[0] if len(suffixes) > 1 and suffixes[0] != ".parquet" else "".join(suffixes)
    return suffixes[-1] if suffixes else ""


def _with_clear_errors(path: Path, records: Iterator[Record], what: str) -> Iterator[Record]:
    broken = (OSError, EOFError, UnicodeError, csv.Error, lzma.LZMAError, zlib.error, pa.ArrowException)
    try:
        yield from records
    except broken as error:
        advice = "Save it as UTF-8." if isinstance(error, UnicodeError) else "Repair or replace the file."
        raise DataError(f"{what} '{path}': broken: {error}. {advice}") from error


def _text_file(path: Path, suffix: str) -> Iterator[Record]:
    """The records of a file of text, which may be compressed and encoded as UTF-8, UTF-16 or UTF-32."""
    with path.open("rb") as file:
        compressed = path.suffix.lower()
        stream = io.BufferedReader(cast(io.RawIOBase, _decompressed(file, compressed)))
        start = stream.peek(4)[:4]
        encoding = next((name for mark, name in _BYTE_ORDER_MARKS if start.startswith(mark)), "utf-8-sig")
        is_table = suffix in (".csv", ".tsv")
        # In JSON lines, a byte that is not UTF-8 is the fault of its own row: it becomes half a character here
        errors = "strict" if is_table or encoding != "utf-8-sig" else "surrogateescape"
        text = io.TextIOWrapper(stream, encoding, errors, newline="" if is_table else None)
        yield from _table(text, suffix) if is_table else _json(text)


def _decompressed(file: IO[bytes], suffix: str) -> IO[bytes]:
    match suffix:
        case ".gz":
            return cast(IO[bytes], gzip.GzipFile(fileobj=file))
        case ".bz2":
            return cast(IO[bytes], bz2.BZ2File(file))
        case ".xz":
            return cast(IO[bytes], lzma.LZMAFile(file))
        case ".zst":  # Python has no Zstandard before 3.14
            return cast(IO[bytes], pa.CompressedInputStream(pa.PythonFile(file), "zstd"))
    return file


def _json(text: io.TextIOWrapper) -> Iterator[Record]:
    """JSON lines, or one array of objects; which of them, the first characters say and not the file's name."""
    number, line = next(((number, line) for number, line in enumerate(text, 1) if line.strip()), (0, ""))
    head = line.strip()
    if not head:
        return
    if re.match(r"\[\s*(\{|\]?$)", head):
        yield from _array(chain([line], iter(lambda: text.read(_CHUNK), "")))
        return
    if head == "{" or head.endswith(("{", "[", ",")):  # one object, spread over lines
        document = line + text.read()
        try:
            values = json.loads(document)
        except (ValueError, RecursionError) as error:
            yield Record(f"line {number}", {}, f"not JSON: {error}")
            return
        # such as ICAI's annotated pairs: the rows are the only list of objects in it
        lists = [value for value in values.values() if isinstance(value, list) and value and isinstance(value[0], dict)]
        for place_in_list, row in enumerate(lists[0] if len(lists) == 1 and len(values) <= 4 else [values], 1):
            yield _record(f"row {place_in_list}", row)
        return
    for place, row_text in enumerate(chain([line], text), number):
        if row_text.strip():
            yield _json_row(f"line {place}", row_text)


def _json_row(where: str, line: str) -> Record:
    if not line.isascii() and any("\udc80" <= character <= "\udcff" for character in line):
        return Record(where, {}, "not UTF-8")
    try:
        return _record(where, json.loads(line))
    except (ValueError, RecursionError) as error:  # RecursionError: deeply nested brackets
        return Record(where, {}, f"not JSON: {error}")


def _record(where: str, values: object) -> Record:
    if isinstance(values, dict):
        return Record(where, values)
    return Record(where, {}, f"a {type(values).__name__}, not an object with columns")


def _array(chunks: Iterator[str]) -> Iterator[Record]:
    """The elements of a JSON array, of which no more than one and a chunk are in memory."""
    decoder, between = json.JSONDecoder(), re.compile(r"[\s,]*")
    buffer, number = next(chunks), 0
    position = buffer.index("[") + 1
    while True:
        start = cast(re.Match[str], between.match(buffer, position)).end()
        if buffer.startswith("]", start):
            return
        problem = "it is cut off"
        try:
            values, position = decoder.raw_decode(buffer, start)
            is_complete = position < len(buffer)  # a number at the end may go on in the next chunk
        except (ValueError, RecursionError) as error:
            is_complete, problem = False, str(error)
        if is_complete:
            number += 1
            yield _record(f"element {number}", values)
            continue
        # As much again as there is already: a long element is not parsed once for each of its chunks
        more, rest = list[str](), len(buffer) - start
        while sum(map(len, more)) <= rest <= _LONGEST_FIELD and (chunk := next(chunks, "")):
            more.append(chunk)
        if not more:
            raise OSError(f"element {number + 1} of the array is not JSON: {problem}")
        buffer, position = buffer[start:] + "".join(more), 0


def _table(text: io.TextIOWrapper, suffix: str) -> Iterator[Record]:
    csv.field_size_limit(_LONGEST_FIELD)  # the module's default of 128 KiB is under one long document
    header = text.readline()
    usual = "\t" if suffix == ".tsv" else ","
    # Spreadsheets of many countries separate cells by semicolons
    delimiter = usual if usual in header else max(usual + ";\t,", key=header.count)
    reader = csv.DictReader(chain([header], text), delimiter=delimiter)
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


def _folder(path: Path, split: str, what: str, setting: str) -> Iterator[Record]:
    if (path / "dataset_dict.json").exists():
        if split and (path / split / "state.json").exists():
            return _saved_dataset(path / split, what)
        splits = ", ".join(sorted(str(p.parent) for p in path.glob("*/state.json")))
        raise DataError(f"{what} '{path}': holds several splits. Name one of them as {setting}: {splits}.")
    if (path / "state.json").exists() and not split:
        return _saved_dataset(path, what)
    by_split: dict[str, list[Path]] = {}
    for file in sorted(path.glob("*.parquet")) or sorted(path.rglob("*.parquet")):
        found = _SPLIT.search(str(file.relative_to(path)).lower())
        by_split.setdefault(_SPLIT_NAMES.get(found[1], found[1]) if found else "", []).append(file)
    if not by_split:
        shard_files(path)  # raises, and says what is missing
    if split not in by_split and (split or len(by_split) > 1):
        names = ", ".join(f"{path}:{name}" for name in sorted(by_split) if name) or "no splits"
        problem = f"has no split '{split}'" if split else "holds several splits"
        raise DataError(f"{what} '{path}': {problem}. Name one of them as {setting}: {names}.")
    files = by_split[split] if split or "" in by_split else next(iter(by_split.values()))
    return chain.from_iterable(map(_parquet, files))


def _saved_dataset(path: Path, what: str) -> Iterator[Record]:
    import datasets  # imported here because it is slow to import, and only this source needs it

    try:
        dataset = datasets.load_from_disk(str(path))
    except (OSError, ValueError, KeyError) as error:
        raise DataError(f"{what} '{path}': `datasets` cannot load this folder: {error}. Save it again.") from error
    for number, values in enumerate(dataset, 1):
        yield Record(f"row {number}", values)

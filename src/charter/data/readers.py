"""Files of rows as a stream of records, in any supported format.

A record that cannot be read is yielded with its problem, so that it can be counted. A file that cannot be read at all
is an error. The format is recognised by the file's name without regard to case; compression and encoding by its bytes.
"""

import bz2
import codecs
import csv
import gzip
import io
import json
import lzma
import re
import zlib
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import IO, Any, NamedTuple, cast

import pyarrow as pa
import pyarrow.parquet as pq

from charter.core.errors import DataError
from charter.data.shards import read_rows

FORMATS = ".jsonl, .json, .csv, .tsv or .parquet, each also .gz, .zst, .bz2 or .xz, or a folder of such files"
_LONGEST_FIELD = 64 * 2**20
_CHUNK = 2**20
_KINDS = {
    ".jsonl": "json", ".ndjson": "json", ".json": "json", ".csv": "csv", ".tsv": "tsv", ".tab": "tsv",
    ".parquet": "parquet",
}  # fmt: skip
_COMPRESSED = frozenset({".gz", ".gzip", ".zst", ".zstd", ".bz2", ".xz", ".lzma"})
_BOMS = (  # the longer first: that of UTF-32 begins with that of UTF-16
    (codecs.BOM_UTF32_LE, "utf-32"), (codecs.BOM_UTF32_BE, "utf-32"), (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"), (codecs.BOM_UTF8, "utf-8-sig"),
)  # fmt: skip
_SHARD = re.compile(r"[-_.]?\d+([-_]of[-_]\d+)?([-_.][0-9a-f]{8,})?$", re.IGNORECASE)
_ARRAY = re.compile(r"\s*\[\s*(\{|\]?\s*$)")
"""How an array of rows begins."""
_SPLIT = re.compile(r"(?:train|test|valid|val|dev|eval)[a-z_-]*", re.IGNORECASE)


class Record(NamedTuple):
    """One record of a file: its values, or the problem because of which they could not be read."""

    where: str
    values: Mapping[str, Any]
    problem: str = ""


def read_records(path: Path, what: str = "prompts", setting: str = "prompts.source") -> Iterator[Record]:
    """Stream the records of a file or folder.

    Args:
        path: the file or folder; ``FOLDER:SPLIT`` is one split of a folder that holds several.
        what: what the records are, for messages.
        setting: the setting that named the path, for messages.

    Raises:
        DataError: it is missing, empty, broken, of an unknown format, or holds several splits.
    """
    folder, colon, split = str(path).rpartition(":")
    if colon and not path.exists() and Path(folder).is_dir():
        return _folder(Path(folder), what, setting, split)
    if not path.exists():
        raise DataError(f"{what} '{path}': no such file or folder. Correct {setting}.")
    if path.is_dir():
        return _folder(path, what, setting, "")
    if path.stat().st_size == 0:
        raise DataError(f"{what} '{path}': the file is empty. Fill it, or correct {setting}.")
    return _file(path, what)


def _file(path: Path, what: str) -> Iterator[Record]:
    kind = _kind_of(path)
    if kind is None:
        suffix = "".join(path.suffixes[-2:])
        raise DataError(f"{what} '{path}': unknown format '{suffix}'. Use {FORMATS}.")
    return _with_clear_errors(path, {"json": _json, "csv": _csv, "tsv": _csv, "parquet": _parquet}[kind](path), what)


def _kind_of(path: Path) -> str | None:
    suffixes = [suffix.lower() for suffix in path.suffixes]
    while suffixes and suffixes[-1] in _COMPRESSED:
        suffixes.pop()
    return _KINDS.get(suffixes[-1]) if suffixes else None


def _with_clear_errors(path: Path, records: Iterator[Record], what: str) -> Iterator[Record]:
    try:
        yield from records
    except UnicodeDecodeError as error:
        raise DataError(f"{what} '{path}': not UTF-8 ({error.reason}). Save the file as UTF-8.") from error
    except (OSError, EOFError, UnicodeError, csv.Error, zlib.error, lzma.LZMAError, pa.ArrowException) as error:
        raise DataError(f"{what} '{path}': broken: {error}. Repair or replace the file.") from error


def _open(path: Path) -> IO[bytes]:
    """The file's bytes, decompressed; its first bytes tell how, because names lie."""
    with path.open("rb") as file:
        magic = file.read(6)
    if magic.startswith(b"\x1f\x8b"):
        return cast(IO[bytes], gzip.open(path))
    if magic.startswith(b"BZh"):
        return cast(IO[bytes], bz2.open(path))
    if magic.startswith(b"\xfd7zXZ\x00"):
        return cast(IO[bytes], lzma.open(path))
    if magic.startswith(b"\x28\xb5\x2f\xfd"):
        return io.BufferedReader(cast(io.RawIOBase, pa.CompressedInputStream(pa.OSFile(str(path)), "zstd")))
    return path.open("rb")


def _encoding_of(file: IO[bytes]) -> str:
    """The encoding of a file that can be peeked into: Unicode with or without a mark, else UTF-8."""
    first = cast(io.BufferedReader, file).peek(4)[:4]
    for bom, encoding in _BOMS:
        if first.startswith(bom):
            return encoding
    # PowerShell and Excel write UTF-16. Without a mark, every second byte of ASCII text is zero.
    if first[1:2] == b"\0" and first[:1] != b"\0":
        return "utf-16-le"
    return "utf-16-be" if first[:1] == b"\0" and first[1:2] != b"\0" else "utf-8"


def _json(path: Path) -> Iterator[Record]:
    """JSON lines, one array of objects, or one object; the first characters say which, not the file's name."""
    with _open(path) as file:
        encoding = _encoding_of(file)
        # In JSON lines, a byte that is not UTF-8 is the fault of its own row: it becomes half a character here.
        text = io.TextIOWrapper(file, encoding, "surrogateescape" if encoding.startswith("utf-8") else "strict")
        number, line = next(((number, line) for number, line in enumerate(text, 1) if line.strip()), (0, ""))
        if _ARRAY.match(line):
            yield from _array(chain([line], iter(lambda: text.read(_CHUNK), "")))
            return
        second = next(text, "")
        is_one_line = not second and ".json" in (suffix.lower() for suffix in path.suffixes)
        if is_one_line or line.rstrip().endswith(("{", "[", ",")):  # one object, perhaps spread over lines
            yield from _document(f"line {number}", line + second + text.read())
            return
        for place, row in enumerate(chain([line, second], text), number):
            if row.strip():
                yield _json_row(f"line {place}", row)


def _document(where: str, text: str) -> Iterator[Record]:
    """The rows of one JSON object: those of the only list of objects in it, else the object itself."""
    record = _json_row(where, text)
    lists = [
        value for value in record.values.values() if isinstance(value, list) and value and isinstance(value[0], dict)
    ]
    if len(lists) == 1 and not {"messages", "conversations"} & record.values.keys():
        yield from (_record(f"row {number}", row) for number, row in enumerate(lists[0], 1))
    else:
        yield record


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


def _csv(path: Path) -> Iterator[Record]:
    csv.field_size_limit(_LONGEST_FIELD)  # the module's default of 128 KiB is under one long document
    with _open(path) as raw:
        encoding = _encoding_of(raw)
        file = io.TextIOWrapper(raw, "utf-8-sig" if encoding == "utf-8" else encoding, newline="")
        header = file.readline()
        delimiter = "\t" if _kind_of(path) == "tsv" else ","
        if delimiter not in header:  # Excel writes semicolons in many countries
            delimiter = next((mark for mark in (",", ";", "\t") if mark in header), delimiter)

        def lines() -> Iterator[str]:
            yield header
            yield from file

        reader = csv.DictReader(lines(), delimiter=delimiter)
        width = len(reader.fieldnames or ())
        for values in reader:
            # csv fills missing cells with None, and puts surplus ones under the key None
            cells = sum(value is not None for name, value in values.items() if name is not None)
            cells += len(values.get(None, ()))
            problem = "" if cells == width else f"{cells} cells under {width} column names"
            yield Record(f"line {reader.line_num}", {} if problem else values, problem)


def _parquet(path: Path) -> Iterator[Record]:
    if path.suffix.lower() in _COMPRESSED:  # Parquet is read from its end, so it cannot be decompressed as a stream
        with _open(path) as file, pq.ParquetFile(pa.BufferReader(file.read())) as table:
            rows: Iterable[Mapping[str, Any]] = (row for batch in table.iter_batches() for row in batch.to_pylist())
            yield from (Record(f"row {number}", values) for number, values in enumerate(rows, 1))
        return
    for number, values in enumerate(read_rows(path), 1):
        yield Record(f"row {number}", values)


def _folder(path: Path, what: str, setting: str, split: str) -> Iterator[Record]:
    """The records of a folder: one saved by `datasets`, a download of the hub, or files of one table."""
    if (path / "dataset_dict.json").exists():
        splits = {each.parent.name: each.parent for each in path.glob("*/state.json")}
        if split not in splits:
            raise _several_splits(path, what, setting, splits, split)
        return _saved_dataset(splits[split], what)
    if (path / "state.json").exists():
        return _saved_dataset(path, what)
    files = [
        each for each in sorted(path.rglob("*"))
        if each.is_file() and _kind_of(each) and not any(part.startswith(".") for part in each.relative_to(path).parts)
    ]  # fmt: skip
    # Descriptions and indexes beside the data are no rows.
    files = [
        each for each in files if each.name.lower() not in ("dataset_info.json", "dataset_infos.json", "state.json")
    ]
    by_split: dict[str, list[Path]] = {}
    for file in files:
        by_split.setdefault(_split_of(file, path), []).append(file)
    if (split and split not in by_split) or (not split and len(by_split) > 1):
        raise _several_splits(path, what, setting, by_split, split)
    if not files:
        raise DataError(f"{what} '{path}': a folder without files of rows. Use {FORMATS}.")
    chosen = by_split[split] if split else files

    def rows() -> Iterator[Record]:
        for file in chosen:
            for record in _file(file, what):
                yield record if len(chosen) == 1 else record._replace(where=f"{file.relative_to(path)}, {record.where}")

    return rows()


def _split_of(file: Path, root: Path) -> str:
    """The split that a file of a folder belongs to, by its name without the number of the shard, or its folder's."""
    stem = file.name
    while (suffix := Path(stem).suffix.lower()) in _COMPRESSED or suffix in _KINDS:
        stem = stem[: -len(suffix)]
    name = _SHARD.sub("", stem)
    parents = reversed(file.relative_to(root).parts[:-1])
    return next((part for part in (name, *parents) if _SPLIT.fullmatch(part)), "")


def _several_splits(path: Path, what: str, setting: str, splits: Iterable[str], wanted: str) -> DataError:
    problem = f"has no split '{wanted}'" if wanted else "holds several splits"
    names = ", ".join(f"{path}:{name}" for name in sorted(splits) if name) or "it has none"
    return DataError(f"{what} '{path}': {problem}. Name one of them as {setting}: {names}.")


def _saved_dataset(path: Path, what: str) -> Iterator[Record]:
    import datasets  # imported here because it is slow to import, and only this source needs it

    try:
        dataset = datasets.load_from_disk(str(path))
    except (OSError, ValueError, KeyError) as error:
        raise DataError(f"{what} '{path}': `datasets` cannot load this folder: {error}. Save it again.") from error
    for number, values in enumerate(dataset, 1):
        yield Record(f"row {number}", values)

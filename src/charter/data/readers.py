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
    with _open(path) as file:
        encoding = _encoding_of(file)
        # Lines of UTF-8 stay bytes: one that is not is then the problem of its row alone.
        lines: Iterable[bytes | str] = file if encoding == "utf-8" else io.TextIOWrapper(file, encoding)
        iterator, before = iter(lines), 0
        for line in iterator:
            before += 1
            if not line.strip():
                continue
            first, problem = _json_line(line)
            second = next(iterator, None)  # a file of one line is a document, too
            if problem or isinstance(first, list) or (second is None and ".json" in (s.lower() for s in path.suffixes)):
                rest = [] if second is None else [second, *iterator]
                if (document := _document(line, rest)) is not None:
                    yield from (_object(f"row {number}", row) for number, row in enumerate(document, 1))
                    return
                if _ARRAY.match(line if isinstance(line, str) else line.decode("utf-8", "replace")):
                    raise OSError(f"the array of rows is not JSON: {_json_line(_joined(line, rest))[1]}")
                iterator = iter(rest)
            elif second is not None:
                iterator = chain([second], iterator)
            yield Record(f"line {before}", {}, problem) if problem else _object(f"line {before}", first)
            break
        for number, line in enumerate(iterator, before + 1):
            if line.strip():
                values, problem = _json_line(line)
                yield Record(f"line {number}", {}, problem) if problem else _object(f"line {number}", values)


def _json_line(line: bytes | str) -> tuple[Any, str]:
    try:
        return json.loads(line), ""
    except (ValueError, RecursionError) as error:  # RecursionError: deeply nested brackets
        return None, f"not JSON: {error}"


def _joined(line: bytes | str, rest: list[bytes | str]) -> bytes | str:
    return b"".join([line, *rest]) if isinstance(line, bytes) else "".join([line, *rest])  # type: ignore[list-item]


def _document(line: bytes | str, rest: list[bytes | str]) -> list[Any] | None:
    """The rows of a file that is one JSON value: an array, or an object with one list of objects; None if it is not."""
    value, problem = _json_line(_joined(line, rest))
    if problem:
        return None
    if isinstance(value, dict):
        lists = [one for one in value.values() if isinstance(one, list) and one and isinstance(one[0], dict)]
        # {"data": [rows]} is a file of rows; any other object is a row itself.
        return lists[0] if len(lists) == 1 and "messages" not in value and "conversations" not in value else [value]
    return value if isinstance(value, list) else None


def _object(where: str, values: Any) -> Record:
    if isinstance(values, dict):
        return Record(where, values)
    return Record(where, {}, f"a {type(values).__name__}, not an object with columns")


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

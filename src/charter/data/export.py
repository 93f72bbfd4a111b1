"""A run's pairs and supervised rows as files for other tools, in train and test.

Rows stream from shard to file: memory does not grow with the run. The folder appears under its name only when it is
complete, its card included.
"""

import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import pyarrow as pa

from charter.core.errors import ConfigError, CountMismatch, DataError
from charter.core.files import atomic_folder
from charter.data.conversations import in_test, prompt_group
from charter.data.layouts import PREFERENCE, PROMPT_COMPLETION, UNPAIRED, TableLayout
from charter.data.readers import read_records
from charter.data.shards import count_rows, read_rows
from charter.data.writers import Write, write_datasets, write_jsonl, write_parquet

CARD = "README.md"
Reader = Literal["parquet", "json", "disk"]


class ExportedTable(NamedTuple):
    """A table as it was written.

    Attributes:
        name: of the table.
        schema: its columns, each with its meaning.
        files: by side, ``train`` or ``test``: a path or pattern from the folder of the card.
        rows: by side.
        reader: how `datasets` loads it: ``load_dataset`` as parquet or json, or ``load_from_disk``.
        purpose: what it is for.
        left_out: rows of the run that are not in it, because their p_chosen is below `min_p`.
    """

    name: str
    schema: pa.Schema
    files: Mapping[str, str]
    rows: Mapping[str, int]
    reader: Reader
    purpose: str = ""
    left_out: int = 0


class ExportFormat(NamedTuple):
    """A way to write an export; `pattern` is where the files of a side are, within the table's folder."""

    layouts: tuple[TableLayout, ...]
    write: Write
    reader: Reader
    pattern: str


FORMATS = {
    "trl": ExportFormat((PREFERENCE, PROMPT_COMPLETION), write_parquet, "parquet", "{side}.parquet"),
    "kto": ExportFormat((UNPAIRED, PROMPT_COMPLETION), write_parquet, "parquet", "{side}.parquet"),
    "jsonl": ExportFormat((PREFERENCE, PROMPT_COMPLETION), write_jsonl, "json", "{side}.jsonl"),
    "datasets": ExportFormat((PREFERENCE, PROMPT_COMPLETION), write_datasets, "disk", "{side}/*.arrow"),
}


def export_run(
    run: Path,
    folder: Path,
    format: str,
    write_card: Callable[[tuple[ExportedTable, ...]], str],
    test_share: float = 0.05,
    min_p: float = 0.0,
) -> tuple[ExportedTable, ...]:
    """Write the pairs and the supervised rows of a run into a new folder, with a card beside them.

    Args:
        run: the run's folder.
        folder: the folder to create; it may exist if it is empty.
        format: one of `FORMATS`.
        write_card: given the tables, returns the text of their card.
        test_share: the fraction of prompts for the test side; 0 writes a train side only.
        min_p: pairs and supervised rows whose p_chosen is below it are left out. Rows without a label stay.

    Raises:
        ConfigError: an unknown format, or a folder with something in it.
        DataError: the run has no rows to export, or a shard is broken.
        CountMismatch: rows went missing, or a prompt is on both sides: a bug.
    """
    if format not in FORMATS:
        raise ConfigError(f"--format '{format}': unknown. Use one of: {', '.join(FORMATS)}.")
    if folder.is_file() or (folder.is_dir() and any(folder.iterdir())):
        raise ConfigError(f"--to '{folder}': already exists and is not empty. Choose another folder or remove it.")
    target = folder.resolve()
    try:
        with atomic_folder(target) as unfinished:
            tables = tuple(
                table
                for layout in FORMATS[format].layouts
                if (table := _write_table(run, unfinished, FORMATS[format], layout, test_share, min_p)) is not None
            )
            if not tables:
                raise DataError(
                    f"run '{run}': no row to export. Let it finish first, or lower --min-p (now {min_p:g})."
                )
            check_apart(unfinished, tables)
            (unfinished / CARD).write_text(write_card(tables), encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"--to '{folder}': cannot be written: {error}. Name another folder.") from error
    return tables


def check_apart(folder: Path, tables: tuple[ExportedTable, ...]) -> None:
    """Read back what was written, and check that no prompt of a train side is on a test side.

    It needs 16 bytes of memory per row.

    Raises:
        CountMismatch: a prompt is on both sides.
    """
    groups = {}
    for side in ("train", "test"):
        # the pattern of files that `datasets` saved is replaced by their folder
        files = [folder / table.files[side].removesuffix("/*.arrow") for table in tables if side in table.files]
        prompts = (record.values["prompt"] for record in chain.from_iterable(map(read_records, files)))
        groups[side] = np.unique(np.fromiter(map(prompt_group, prompts), np.uint64))
    if shared := len(np.intersect1d(groups["train"], groups["test"], assume_unique=True)):
        raise CountMismatch(f"export '{folder}': {shared} prompts are in train and in test. This is a bug in Charter.")


def _write_table(
    run: Path, folder: Path, format: ExportFormat, layout: TableLayout, test_share: float, min_p: float
) -> ExportedTable | None:
    source = run / layout.source
    if not any(source.glob("*.parquet")):
        return None
    table_folder, left_out = folder / layout.name, Counter[str]()
    table_folder.mkdir()
    sides = {
        side: _rows(source, layout, side, test_share, min_p, left_out)
        for side in (("train", "test") if test_share else ("train",))
    }
    counts = {side: n for side, n in format.write(table_folder, layout.schema, sides).items() if n}
    weak = left_out["train"]  # each side reads all rows, so each counts all that are left out
    total, expected = sum(counts.values()), layout.per_row * (count_rows(source) - weak)
    if total != expected:
        raise CountMismatch(
            f"export '{layout.name}': {total} rows were written, and {expected} should have been. The run changed "
            "meanwhile, or this is a bug in Charter."
        )
    if not counts:
        shutil.rmtree(table_folder)
        return None
    files = {side: f"{layout.name}/{format.pattern.format(side=side)}" for side in counts}
    return ExportedTable(layout.name, layout.schema, files, counts, format.reader, layout.purpose, weak)


def _rows(
    source: Path, layout: TableLayout, side: str, test_share: float, min_p: float, left_out: Counter[str]
) -> Iterator[dict[str, Any]]:
    """The rows of one side. Each side reads all shards, so that one file is written at a time."""
    for row in read_rows(source):
        p = row.get("p_chosen")
        if p is not None and p < min_p:
            left_out[side] += 1
        elif in_test(row["prompt"], test_share) == (side == "test"):
            yield from layout.rows_of(row)

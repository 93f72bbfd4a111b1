"""A store's completions as a table, for other tools."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa

from charter.core.errors import StoreError
from charter.core.files import atomic_path
from charter.data.shards import write_rows
from charter.inference.completion import Completion
from charter.inference.store.protocol import Database
from charter.inference.store.upkeep import Choice, sound_entries

SUFFIXES = (".jsonl", ".parquet")


def _column(name: str, kind: pa.DataType, meaning: str, nullable: bool = False) -> pa.Field:
    return pa.field(name, kind, nullable, metadata={"meaning": meaning})


SCHEMA = pa.schema(
    [
        _column("key", pa.string(), "SHA-256 of the request: model, messages and sampling"),
        _column("model_identity", pa.string(), "content hash or hub revision of the weights that answered"),
        _column("created", pa.timestamp("s", "UTC"), "when it was written; empty in format 1", nullable=True),
        _column("text", pa.string(), "the answer"),
        _column("finish_reason", pa.string(), "why generation ended: stop, length, ..."),
        _column("prompt_tokens", pa.int32(), "tokens of the request"),
        _column("completion_tokens", pa.int32(), "tokens of the answer"),
        _column("choice_probs", pa.list_(pa.float64()), "probabilities of the choices that were offered, if any"),
        _column("thinking", pa.string(), "what the model thought before it answered; empty if nothing"),
    ],
    metadata={"charter.schema": "completions", "charter.schema_version": "1"},
)
"""The requests themselves are not in a store, only their hashes."""


class StoreExport(NamedTuple):
    """What an export wrote."""

    store: str
    file: str
    entries: int
    damaged: tuple[str, ...]
    """Keys of entries that are omitted because their hash does not match."""


def export(database: Database, out: Path, choice: Choice | None = None) -> StoreExport:
    """Write the entries, in order of key, to a .jsonl or .parquet file, atomically.

    Raises:
        StoreError: `out` has another suffix, or cannot be written.
    """
    if out.suffix not in SUFFIXES:
        raise StoreError(f"export '{out}': unknown format. Name a file that ends in .jsonl or .parquet.")
    damaged: list[str] = []

    def rows() -> Iterator[dict[str, Any]]:
        for entry in sound_entries(database, choice, damaged):
            completion = Completion.from_bytes(entry.value)
            yield {
                "key": entry.key.hex(),
                "model_identity": entry.model,
                "created": entry.created,
                "text": completion.text,
                "finish_reason": completion.finish_reason,
                "prompt_tokens": completion.prompt_tokens,
                "completion_tokens": completion.completion_tokens,
                "choice_probs": list(completion.choice_probs),
                "thinking": completion.thinking,
            }

    try:
        if out.suffix == ".parquet":
            count = write_rows(out, SCHEMA, rows())
        else:
            count = 0
            # Written row by row: a store may be larger than the memory.
            with atomic_path(out) as unfinished, unfinished.open("w", encoding="utf-8") as file:
                for row in rows():
                    row["created"] = row["created"] and row["created"].isoformat()
                    file.write(json.dumps(row, ensure_ascii=False) + "\n")
                    count += 1
    except OSError as error:
        raise StoreError(f"export '{out}': {error}. Name a writable file, on a disk with free space.") from error
    return StoreExport(database.name, str(out), count, tuple(damaged))

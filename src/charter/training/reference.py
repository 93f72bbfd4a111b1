"""Log-probabilities of the answers under the reference, computed once and kept in the step's folder.

The file contains a hash of the weights and of the tokens, so that a run that continues, or starts again with another
loss, reuses it, and a run with another model or other pairs does not.
"""

import hashlib
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from charter.core.files import atomic_path
from charter.training.identity import hash_table

_KEY = b"charter.reference"
_TOKENS = ["prompt_ids", "chosen_ids", "rejected_ids"]


class Reference(NamedTuple):
    """log π_ref of the chosen and of the rejected answer of each pair, in nats, in the order of the pairs."""

    chosen: list[float]
    rejected: list[float]


def reference_key(weights: str, pairs: pa.Table) -> str:
    """The hash of the weights and of the tokens of `pairs`."""
    return hashlib.sha256(f"{weights} {hash_table(pairs.select(_TOKENS))}".encode()).hexdigest()


def read_reference(path: Path, key: str) -> Reference | None:
    """The file's content if it has this `key`; None if it has another one, is missing or cannot be read."""
    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowInvalid):
        return None
    if (table.schema.metadata or {}).get(_KEY) != key.encode():
        return None
    return Reference(table["chosen"].to_pylist(), table["rejected"].to_pylist())


def write_reference(path: Path, key: str, reference: Reference) -> None:
    """Write the file."""
    table = pa.table(reference._asdict()).replace_schema_metadata({_KEY: key})
    with atomic_path(path) as unfinished:
        pq.write_table(table, unfinished)

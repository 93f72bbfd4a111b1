"""Log-probabilities of the answers under the reference, computed once and kept in the step's folder.

The file says of which weights and of which tokens it is, so that a run continued, or started again with another loss,
reads it, and one with another model or other pairs does not.
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
    """One number per pair, in nats, in the order of the pairs."""

    chosen: list[float]
    rejected: list[float]


def identify(weights: str, pairs: pa.Table) -> str:
    """The key of what was computed: the hash of the weights and that of the tokens."""
    return hashlib.sha256(f"{weights} {hash_table(pairs.select(_TOKENS))}".encode()).hexdigest()


def read_reference(path: Path, key: str) -> Reference | None:
    """What the file holds, if it is of `key`; None if it is missing, unreadable or of something else."""
    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowInvalid):
        return None
    if (table.schema.metadata or {}).get(_KEY) != key.encode():
        return None
    return Reference(table["chosen"].to_pylist(), table["rejected"].to_pylist())


def write_reference(path: Path, key: str, reference: Reference) -> None:
    """Keep it; the file is never seen half."""
    table = pa.table(reference._asdict()).replace_schema_metadata({_KEY: key})
    with atomic_path(path) as part:
        pq.write_table(table, part)

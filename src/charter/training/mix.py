"""What SFT learns from beside revisions: answers that needed none, which keep a model helpful, up to a share."""

import hashlib
from pathlib import Path

import pyarrow.parquet as pq

from charter.core.errors import DataError
from charter.training.rows import Dropped


def over_share(data: Path, share: float) -> list[Dropped]:
    """The rows to leave out, drawn by lot, so that at most `share` of the rest are answers that needed no revision.

    Args:
        data: a Parquet file of ``sft_data``, or a folder of them.
        share: 0 leaves revisions only; 1 leaves nothing out.

    Raises:
        DataError: the data does not say which rows are revisions, or none is.
    """
    if share == 1:
        return []
    files = sorted(data.glob("*.parquet")) if data.is_dir() else [data]
    if any("source" not in pq.read_schema(path).names for path in files):
        raise DataError(
            f"training data '{data}': has no column source, which tells revisions from other answers. Leave"
            " training.sft.helpful_share out."
        )
    rows = [row for path in files for row in pq.read_table(path, columns=["row_id", "source"]).to_pylist()]
    helpful = sorted((row["row_id"] for row in rows if row["source"] == "response"), key=_lot)
    revised = len(rows) - len(helpful)
    if not revised:
        raise DataError(f"training data '{data}': has no revisions at all. Leave training.sft.helpful_share out.")
    most = int(revised * share / (1 - share) + 1e-9)
    return [Dropped(row_id, "helpful-share", f"over the {share:g} of helpful answers") for row_id in helpful[most:]]


def _lot(row_id: str) -> bytes:
    return hashlib.sha256(row_id.encode()).digest()

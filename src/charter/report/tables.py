"""What the Parquet files of a run say in numbers, read without holding the texts in memory."""

from pathlib import Path

import polars as pl

from charter.constitution import kept_constitution_path
from charter.core.errors import DataError
from charter.data.schema import SCHEMAS
from charter.report.data import Failure, Labels

BINS = 10
NAMED = 8
"""The most names that an error lists."""


def check_run(run: Path) -> None:
    """Refuse a folder that is not that of a run.

    Raises:
        DataError: it has no config or no constitution; the message names runs that there are.
    """
    for name, path in (("config.yaml", run / "config.yaml"), ("constitution", kept_constitution_path(run))):
        if not path.is_file():
            found = {path.parent for parent in (run.parent, Path("outputs")) for path in parent.glob("*/config.yaml")}
            there = f" There are: {', '.join(sorted(map(str, found))[:NAMED])}." if found else ""
            raise DataError(f"run '{run}': no {name}. Name a run's folder, such as outputs/demo.{there}")


def scan(run_folder: Path, name: str) -> pl.LazyFrame | None:
    """The shards of one folder of a run as one lazy table; None where there are none.

    A column that an earlier version of Charter did not write is empty.
    """
    shards = sorted((run_folder / name).glob("*.parquet"))
    schema = pl.DataFrame(SCHEMAS[name].empty_table()).schema
    return (
        pl.scan_parquet(shards, glob=False, schema=schema, missing_columns="insert", extra_columns="ignore")
        if shards
        else None
    )


def count(frame: pl.LazyFrame | None) -> int | None:
    """Rows of a table; None where there is no table."""
    return None if frame is None else int(frame.select(pl.len()).collect(engine="streaming").item())


def failure_table(failures: pl.LazyFrame | None) -> list[Failure]:
    """Failures by stage and reason, the most frequent first, each with one detail."""
    if failures is None:
        return []
    alike = ["stage", "reason"]
    counted = failures.group_by(alike).agg(pl.len().alias("count"), pl.col("row_id").min()).collect(engine="streaming")
    named = failures.join(counted.lazy(), on=[*alike, "row_id"], how="semi")
    details = named.group_by(alike).agg(pl.col("detail").min()).collect(engine="streaming")
    table = counted.join(details, on=alike).sort(["count", *alike], descending=[True, False, False])
    return [Failure(**row) for row in table.select("stage", "reason", "count", "detail").iter_rows(named=True)]


def label_summary(pairs: pl.LazyFrame | None, failures: list[Failure]) -> Labels:
    """How sure the judge was, and how far the order of the answers moved it."""
    ties = sum(failure.count for failure in failures if failure.reason == "tie")
    edges = [0.5 + 0.5 * i / BINS for i in range(BINS + 1)]
    if pairs is None:
        return Labels(ties=ties)
    first, second = (
        pl.col("p_by_order").list.get(0, null_on_oob=True),
        pl.col("p_by_order").list.get(1, null_on_oob=True),
    )
    place = ((pl.col("p_chosen") - 0.5) * 2 * BINS).floor().clip(0, BINS - 1).cast(pl.Int32)
    table = pairs.select(
        place.alias("bin"), "p_chosen", (first - second).alias("shift"), ((first > 0.5) & (second > 0.5)).alias("agree")
    ).collect()
    if table.is_empty():
        return Labels(ties=ties)
    counts = dict(table.group_by("bin").len().iter_rows())
    mean_shift, known = table["shift"].mean(), table["agree"].drop_nulls()
    return Labels(
        n=table.height,
        edges=edges,
        counts=[counts.get(i, 0) for i in range(BINS)],
        mean_p=float(table["p_chosen"].to_numpy().mean()),
        orders_agree=int(known.sum()) if len(known) else None,
        first_slot_shift=float(mean_shift) if isinstance(mean_shift, float) else None,
        ties=ties,
    )


def value_counts(frame: pl.LazyFrame | None, column: str) -> dict[str, int]:
    """How often each value of `column` occurs, the most frequent first; missing ones are left out."""
    if frame is None:
        return {}
    table = (
        frame.drop_nulls(column).group_by(column).agg(pl.len().alias("n")).sort(["n", column], descending=[True, False])
    )
    return {str(value): int(n) for value, n in table.collect(engine="streaming").iter_rows()}

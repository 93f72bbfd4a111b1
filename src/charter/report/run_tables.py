"""Counts from the Parquet files of a run, read without holding the texts in memory."""

from pathlib import Path

import polars as pl

from charter.constitution import kept_constitution_path
from charter.core.errors import DataError
from charter.data.schema import SCHEMAS
from charter.evaluation.gate import round_model
from charter.report.data import FailureCount, LabelSummary
from charter.runs.rounds import round_folders

BINS = 10
NAMED = 8
"""The most names that an error lists."""


def check_run(run: Path) -> None:
    """Check that a folder is a run's.

    Raises:
        DataError: it has no config or no constitution; the message lists some runs that exist.
    """
    for name, path in (("config.yaml", run / "config.yaml"), ("constitution", kept_constitution_path(run))):
        if not path.is_file():
            runs = {path.parent for parent in (run.parent, Path("outputs")) for path in parent.glob("*/config.yaml")}
            hint = f" Runs here: {', '.join(sorted(map(str, runs))[:NAMED])}." if runs else ""
            raise DataError(f"run '{run}': no {name}. Name a run's folder, such as outputs/demo.{hint}")


def scan(run_folder: Path, name: str) -> pl.LazyFrame | None:
    """The shards of one folder of a run as one lazy table; None if there are none."""
    shards = sorted((run_folder / name).glob("*.parquet"))
    # Shards of earlier versions of Charter lack newer columns; these are filled with nulls.
    schema = pl.DataFrame(SCHEMAS[name].empty_table()).schema
    return (
        pl.scan_parquet(shards, glob=False, schema=schema, missing_columns="insert", extra_columns="ignore")
        if shards
        else None
    )


def count(frame: pl.LazyFrame | None) -> int | None:
    """The number of rows of a table; None if there is no table."""
    return None if frame is None else int(frame.select(pl.len()).collect(engine="streaming").item())


def count_failures(failures: pl.LazyFrame | None) -> list[FailureCount]:
    """Failures by stage and reason, the most frequent first, each with one detail."""
    if failures is None:
        return []
    alike = ["stage", "reason"]
    counted = failures.group_by(alike).agg(pl.len().alias("count"), pl.col("row_id").min()).collect(engine="streaming")
    # The detail of the smallest row id, so that the same failures always give the same report.
    # A join and not a sort: only ids are held, and not the details of all failures.
    named = failures.join(counted.lazy(), on=[*alike, "row_id"], how="semi")
    details = named.group_by(alike).agg(pl.col("detail").min()).collect(engine="streaming")
    table = counted.join(details, on=alike).sort(["count", *alike], descending=[True, False, False])
    return [FailureCount(**row) for row in table.select("stage", "reason", "count", "detail").iter_rows(named=True)]


def summarise_labels(pairs: pl.LazyFrame | None, failures: list[FailureCount]) -> LabelSummary:
    """How sure the judge was, and how much the order of the answers influenced it."""
    ties = sum(failure.count for failure in failures if failure.reason == "tie")
    edges = [0.5 + 0.5 * i / BINS for i in range(BINS + 1)]
    if pairs is None:
        return LabelSummary(ties=ties)
    first, second = (
        pl.col("p_by_order").list.get(0, null_on_oob=True),
        pl.col("p_by_order").list.get(1, null_on_oob=True),
    )
    bin_number = ((pl.col("p_chosen") - 0.5) * 2 * BINS).floor().clip(0, BINS - 1).cast(pl.Int32)
    # A p_chosen of exactly 1 belongs in the last bin, hence the clip above.
    table = pairs.select(
        bin_number.alias("bin"),
        "p_chosen",
        (first - second).alias("shift"),
        ((first > 0.5) & (second > 0.5)).alias("agree"),
    ).collect()
    if table.is_empty():
        return LabelSummary(ties=ties)
    # Grouped by polars, since a run may have millions of pairs.
    counts = dict(table.group_by("bin").len().iter_rows())
    # A judge that was asked in one order only has no second probability, and so no shift.
    mean_shift, known = table["shift"].mean(), table["agree"].drop_nulls()
    return LabelSummary(
        n=table.height,
        edges=edges,
        counts=[counts.get(i, 0) for i in range(BINS)],
        # Numpy's pairwise sum does not depend on how polars splits the column over threads.
        mean_p=float(table["p_chosen"].to_numpy().mean()),
        orders_agree=int(known.sum()) if len(known) else None,
        first_slot_shift=float(mean_shift) if isinstance(mean_shift, float) else None,
        ties=ties,
    )


def value_counts(frame: pl.LazyFrame | None, column: str) -> dict[str, int]:
    """How often each value of `column` occurs, most frequent first; nulls are left out."""
    if frame is None:
        return {}
    table = (
        frame.drop_nulls(column).group_by(column).agg(pl.len().alias("n")).sort(["n", column], descending=[True, False])
    )
    return {str(value): int(n) for value, n in table.collect(engine="streaming").iter_rows()}


def pairs_by_round(run_folder: Path) -> dict[str, int]:
    """The number of pairs of each round, by the name of its model; empty for a run of one round."""
    later = round_folders(run_folder)
    # The first round is the run's own folder; later ones are folders in it.
    folders = {1: run_folder, **later} if later else {}
    return {round_model(number): count(scan(folder, "pairs")) or 0 for number, folder in folders.items()}

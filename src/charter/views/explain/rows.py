"""Which rows of a run to show: one by its id, or some by how sure the judge was, or at random."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import polars as pl

from charter.core.errors import ConfigError, DataError
from charter.core.sampling import draw
from charter.data.shards import read_rows
from charter.report.run_tables import NAMED, scan, value_counts


def find_row(run: Path, name: str) -> str:
    """The id of the row whose id is `name`, or of the only one that begins with it.

    Raises:
        DataError: there is no such row, or there are several; the message names some.
    """
    with broken_shard_as_data_error(run):
        frames = [scan(run, table) for table in ("prompts", "failures")]  # refused prompts are only among the failures
        known = [frame.select("row_id") for frame in frames if frame is not None]
        if not known:
            raise DataError(f"run '{run}': has no rows yet. Let it run first: python -m flows.align {run}/config.yaml")
        ids = pl.concat(known)
        # A whole id first: it may be the beginning of another one.
        exact = ids.filter(pl.col("row_id") == name).head(1).collect(engine="streaming")
        if exact.height:
            return name
        matching = ids.filter(pl.col("row_id").str.starts_with(name)).unique().sort("row_id")
        matches = matching.collect(engine="streaming")["row_id"].to_list()
        # Several rows may begin alike: guessing one would explain the wrong label.
        if len(matches) == 1:
            return str(matches[0])
        if matches:
            raise DataError(
                f"row '{name}': {len(matches)} rows of run '{run}' begin with it: {_listed(matches)}. Write more of it."
            )
        examples = ids.head(3).collect()["row_id"].to_list()
        raise DataError(
            f"row '{name}': no row of run '{run}' begins with it; the first are named {_listed(examples)}. "
            "Name a row, or use --pick random."
        )


def pick_rows(run: Path, how: str, n: int, seed: int) -> list[str]:
    """The ids of up to `n` rows.

    Args:
        run: the run's folder.
        how: ``uncertain`` takes the labels nearest to one half, ``random`` any rows, ``failed`` rows that failed for
            any reason, and a reason those that failed for it; all except ``uncertain`` draw at random.
        n: how many.
        seed: of the random draw; the same seed gives the same rows.

    Raises:
        ConfigError: `how` is something else.
        DataError: a shard is broken, or there is no such row.
    """
    with broken_shard_as_data_error(run):
        if how == "uncertain":
            frames = [frame for name in ("pairs", "sft_data") if (frame := scan(run, name)) is not None]
            labels = [frame.select("row_id", (pl.col("p_chosen") - 0.5).abs().alias("margin")) for frame in frames]
            ids = []
            if labels:
                # A row counts by its least sure label: it may have several pairs.
                rows = pl.concat(labels).drop_nulls("margin").group_by("row_id").agg(pl.col("margin").min())
                # By id as well, so that equal margins give the same rows each time.
                nearest = rows.sort("margin", "row_id").head(n).collect(engine="streaming")
                ids = [str(id) for id in nearest["row_id"]]
        elif how == "random":
            ids = draw(_row_ids(run, "prompts"), n, seed)
        else:
            reasons = list(value_counts(scan(run, "failures"), "reason"))
            if how not in ("failed", *reasons):
                ways = ", ".join(("uncertain", "random", "failed", *reasons))
                raise ConfigError(f"--pick '{how}': no row of run '{run}' failed for it. Use one of: {ways}.")
            ids = draw(_row_ids(run, "failures", None if how == "failed" else how), n, seed)
    if not ids:
        raise DataError(f"--pick '{how}': run '{run}' has no such row yet. Use --pick random, or name a row.")
    # A row that failed twice is shown once.
    return list(dict.fromkeys(ids))


@contextlib.contextmanager
def broken_shard_as_data_error(run: Path) -> Iterator[None]:
    """Report a shard that cannot be read in one message.

    Raises:
        DataError: a shard is broken.
    """
    try:
        yield
    except (pl.exceptions.PolarsError, OSError) as error:
        raise DataError(f"run '{run}': a shard cannot be read: {error}. Delete it and run again.") from error


def _row_ids(run: Path, table: str, reason: str | None = None) -> Iterator[str]:
    if scan(run, table) is None:
        return
    # One shard at a time, and only the columns that are needed.
    for row in read_rows(run / table, ["row_id", *(["reason"] if reason else [])]):
        if reason is None or row["reason"] == reason:
            yield row["row_id"]


def _listed(names: list[str]) -> str:
    return ", ".join(names[:NAMED]) + (f" and {len(names) - NAMED} more" if len(names) > NAMED else "")

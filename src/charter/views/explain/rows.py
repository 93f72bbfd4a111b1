"""Which rows of a run to look at: one by its name, or some by how sure the judge was, or by lot."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import polars as pl

from charter.core.errors import ConfigError, DataError
from charter.core.sampling import draw
from charter.data.shards import read_rows
from charter.report.tables import NAMED, scan, value_counts


def find_row(run: Path, name: str) -> str:
    """The id of the row whose id is `name`, or alone begins with it.

    Raises:
        DataError: there is no such row, or there are several; the message names some.
    """
    with reading(run):
        ids = _ids(run)
        exact = ids.filter(pl.col("row_id") == name).head(1).collect(engine="streaming")
        if exact.height:
            return name
        begun = ids.filter(pl.col("row_id").str.starts_with(name)).unique().sort("row_id")
        found = begun.collect(engine="streaming")["row_id"].to_list()
        if len(found) == 1:
            return str(found[0])
        if found:
            raise DataError(
                f"row '{name}': {len(found)} rows of run '{run}' begin with it: {_listed(found)}. Write more of it."
            )
        some = ids.head(3).collect()["row_id"].to_list()
        raise DataError(
            f"row '{name}': no row of run '{run}' begins with it; the first are named {_listed(some)}. "
            "Name a row, or use --pick random."
        )


def pick_rows(run: Path, how: str, n: int, seed: int) -> list[str]:
    """The ids of up to `n` rows.

    Args:
        run: the run's folder.
        how: ``uncertain`` takes the labels nearest to one half, ``random`` any rows, ``failed`` rows that failed for
            any reason, and a reason those that failed for it; but for the first, by lot.
        n: how many.
        seed: of the lot; the same gives the same rows.

    Raises:
        ConfigError: `how` is none of these.
        DataError: a shard is broken, or there is no such row.
    """
    with reading(run):
        if how == "uncertain":
            found = _uncertain(run, n)
        elif how == "random":
            found = draw(_names(run, "prompts"), n, seed)
        else:
            reasons = list(value_counts(scan(run, "failures"), "reason"))
            if how not in ("failed", *reasons):
                ways = ", ".join(("uncertain", "random", "failed", *reasons))
                raise ConfigError(f"--pick '{how}': no row of run '{run}' failed for it. Use one of: {ways}.")
            found = draw(_names(run, "failures", None if how == "failed" else how), n, seed)
    if not found:
        raise DataError(f"--pick '{how}': run '{run}' has no such row yet. Use --pick random, or name a row.")
    return list(dict.fromkeys(found))


@contextlib.contextmanager
def reading(run: Path) -> Iterator[None]:
    """Turn what goes wrong with a shard into one message.

    Raises:
        DataError: a shard is broken.
    """
    try:
        yield
    except (pl.exceptions.PolarsError, OSError) as error:
        raise DataError(f"run '{run}': a shard cannot be read: {error}. Delete it and run again.") from error


def _ids(run: Path) -> pl.LazyFrame:
    """The id of every row: those with a usable prompt, and those that failed, the prompts refused among them."""
    frames = [frame.select("row_id") for name in ("prompts", "failures") if (frame := scan(run, name)) is not None]
    if not frames:
        raise DataError(f"run '{run}': has no rows yet. Let it run first: python -m flows.align {run}/config.yaml")
    return pl.concat(frames)


def _uncertain(run: Path, n: int) -> list[str]:
    labels = [
        frame.select("row_id", (pl.col("p_chosen") - 0.5).abs().alias("sure"))
        for name in ("pairs", "sft_data")
        if (frame := scan(run, name)) is not None
    ]
    if not labels:
        return []
    rows = pl.concat(labels).drop_nulls("sure").group_by("row_id").agg(pl.col("sure").min())
    nearest = rows.sort("sure", "row_id").head(n)
    return [str(id) for id in nearest.collect(engine="streaming")["row_id"]]


def _names(run: Path, table: str, reason: str | None = None) -> Iterator[str]:
    if scan(run, table) is None:
        return
    for row in read_rows(run / table, ["row_id", *(["reason"] if reason else [])]):
        if reason is None or row["reason"] == reason:
            yield row["row_id"]


def _listed(names: list[str]) -> str:
    return ", ".join(names[:NAMED]) + (f" and {len(names) - NAMED} more" if len(names) > NAMED else "")

"""What each principle did in a run: draws, flags, revisions, labels and failures, counted from the run's files."""

import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from charter.constitution import kept_constitution_path, load_kept_constitution
from charter.constitution.model import PLUS, Constitution
from charter.core.errors import DataError
from charter.core.files import read_json
from charter.data.schema import SCHEMAS
from charter.data.shards import count_rows
from charter.runs.attribution import read_principles, with_contributions

TABLES = ("revisions", "pairs", "sft_data", "failures")
"""The folders of a run that say what a principle did."""


@dataclass(frozen=True)
class PrincipleStats:
    """What one principle did, or all of them together; counts of rows.

    A row counts for every principle that had a part in it, and once for all together, so that they need not add up.

    Attributes:
        drawn: rounds of critique and revision under it, of rows that came through all their rounds.
        flagged: of these, rounds whose critique found it violated.
        revised: of these, rounds that changed the answer.
        judged: labels it had a part in, of pairs and of supervised rows.
        against: of these, labels in which it preferred the answer that lost.
        log_odds: its mean part in a label's log-odds (natural logarithm), positive towards the answer that was
            chosen; the parts of all who judged a label add up to the log-odds of its ``p_chosen``. None without labels.
        ties: judgements it had a part in that came out as a tie, so that there is no label.
        failed: other rows, or pairs of theirs, that were lost while something was asked under it.
        reasons: `failed` by ``stage: reason``, the most frequent first.
    """

    drawn: int = 0
    flagged: int = 0
    revised: int = 0
    judged: int = 0
    against: int = 0
    log_odds: float | None = None
    ties: int = 0
    failed: int = 0
    reasons: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Blame:
    """A run's principles in the order of its constitution, each with its stats, and all together.

    Attributes:
        rows: rows of each of `TABLES`, as ``manifest.json`` counts them.
        finished: whether the run has a ``manifest.json``.
    """

    run: Path
    constitution: Constitution
    stats: dict[str, PrincipleStats]
    total: PrincipleStats
    rows: dict[str, int]
    finished: bool

    def to_dict(self) -> dict[str, Any]:
        """For machines: as ``charter constitution blame --json`` prints it."""
        known = {
            principle.id: {"title": principle.title, "hash": principle.hash}
            for principle in self.constitution.principles
        }
        return {
            "run": str(self.run),
            "finished": self.finished,
            "constitution": {
                "name": self.constitution.name,
                "version": self.constitution.version,
                "hash": self.constitution.hash,
            },
            "principles": [{"id": name, **known.get(name, {}), **asdict(stats)} for name, stats in self.stats.items()],
            "total": asdict(self.total),
            "rows": self.rows,
        }


def blame_run(run: Path) -> Blame:
    """Count what each principle did in a run, finished or not.

    Raises:
        DataError: the folder is not that of a run, a shard is broken, or the shards are not those of the manifest.
        ConstitutionError: the run's constitution cannot be read.
    """
    for name, path in (("config.yaml", run / "config.yaml"), ("constitution", kept_constitution_path(run))):
        if not path.is_file():
            raise DataError(f"run '{run}': no {name}. Name a run's folder, such as outputs/demo.")
    constitution = load_kept_constitution(run)
    stats, total = count_principle_stats(run, constitution)
    rows = {name: count_rows(run / name) if _shards(run, name) else 0 for name in TABLES}
    manifest = read_json(run / "manifest.json")
    for name, n in rows.items() if manifest else ():
        if (listed := manifest["rows"].get(name, 0)) != n:
            raise DataError(
                f"run '{run}': manifest.json counts {listed} rows of {name}, its shards hold {n}. "
                "Files came or went after the run: run it again."
            )
    return Blame(run, constitution, stats, total, rows, finished=manifest is not None)


def count_principle_stats(run: Path, constitution: Constitution) -> tuple[dict[str, PrincipleStats], PrincipleStats]:
    """The stats of each principle by its id, and of all together; what the run has not made yet counts as none.

    Raises:
        DataError: a shard is broken.
    """
    try:
        # Counted by polars while it reads, so that the texts of a run are never all in memory.
        counted = (_rounds(run), _labels(run), _failures(run))
    except (pl.exceptions.PolarsError, OSError) as error:
        raise DataError(f"run '{run}': a shard cannot be read: {error}. Delete it and run again.") from error
    # Principles that did nothing are listed too; those of a panel's members, or of helpfulness, come after them.
    stats: dict[str, dict[str, Any]] = {principle.id: {} for principle in constitution.principles}
    total: dict[str, Any] = {}
    for each, together in counted:
        total |= together.row(0, named=True)
        for row in each.iter_rows(named=True):
            stats.setdefault(row.pop("id"), {}).update(row)
    return {name: _stats(values) for name, values in stats.items()}, _stats(total)


def blame_text(blame: Blame, width: int = 80) -> str:
    """The table for a terminal of `width` columns, the most drawn first, and what its totals are made of."""
    ranked = sorted(blame.stats.items(), key=lambda item: -item[1].drawn)
    rows = [
        STATS_COLUMNS,
        *((name, *stats_cells(stats)) for name, stats in ranked),
        ("total", *stats_cells(blame.total)),
    ]
    first, *others = [max(map(len, column)) for column in zip(*rows, strict=True)]
    # Only the names can be cut: a number must be readable.
    first = min(first, max(10, width - sum(others) - len(others)))
    lines = [
        (name if len(name) <= first else f"{name[: first - 1]}…").ljust(first)
        + "".join(f" {cell:>{size}}" for cell, size in zip(cells, others, strict=True))
        for name, *cells in rows
    ]
    rule = "-" * len(lines[0])
    notes = [line for note in _notes(blame) for line in textwrap.wrap(note, width)]
    return "\n".join([lines[0], rule, *lines[1:-1], rule, lines[-1], "", *notes])


STATS_COLUMNS = ("principle", "drawn", "flagged", "revised", "judged", "against", "log-odds", "ties", "failed")
"""The headings of a table of what principles did."""


def stats_cells(stats: PrincipleStats) -> list[str]:
    """The cells of such a table after the principle's name."""
    odds = "-" if stats.log_odds is None else f"{stats.log_odds:+.2f}"
    before = (stats.drawn, stats.flagged, stats.revised, stats.judged, stats.against)
    return [*(f"{n:,}" for n in before), odds, f"{stats.ties:,}", f"{stats.failed:,}"]


def _notes(blame: Blame) -> Iterator[str]:
    rows, total = blame.rows, blame.total
    yield (
        "drawn, flagged, revised: rounds of critique and revision. judged: labels it had a part in; against: "
        "those in which it preferred the answer that lost; log-odds: its mean part in a label's log-odds."
    )
    yield (
        f"Labels: {rows['pairs']:,} pairs and {total.judged - rows['pairs']:,} supervised rows; "
        f"{rows['sft_data'] + rows['pairs'] - total.judged:,} supervised rows have none."
    )
    reasons = ", ".join(f"{reason} {n:,}" for reason, n in total.reasons.items())
    yield (
        f"Failures: {rows['failures']:,}; {total.ties:,} ties, "
        f"{total.failed:,} lost under a principle{f' ({reasons})' if reasons else ''}, "
        f"{rows['failures'] - total.ties - total.failed:,} under none."
    )
    yield "manifest.json counts the same." if blame.finished else "The run has not finished: no manifest.json yet."


def _rounds(run: Path) -> tuple[pl.DataFrame, pl.DataFrame]:
    counted = (
        pl.len().alias("drawn"),
        pl.col("flagged").sum(),
        pl.col("changed").sum().alias("revised"),
    )
    rounds = _scan(run, "revisions", "principle_id", "flagged", "changed")
    # A round of joined principles counts for each of them, and once in the total.
    each = rounds.with_columns(pl.col("principle_id").str.split(PLUS).alias("id")).explode("id")
    return _collect(each.group_by("id").agg(counted)), _collect(rounds.select(counted))


def _labels(run: Path) -> tuple[pl.DataFrame, pl.DataFrame]:
    columns = ("p_chosen", "principle_ids", "p_by_principle", "members")
    labels = pl.concat([_scan(run, name, *columns) for name in ("pairs", "sft_data")]).drop_nulls("p_chosen")
    labels = with_contributions(labels, read_principles(run))
    p, odds = pl.col("p_by_principle"), pl.col("contributions")
    # One row per label and principle; the three lists have the same order.
    judged = labels.select(pl.col("principle_ids").alias("id"), p, odds).explode(
        "id", "p_by_principle", "contributions"
    )
    each = judged.group_by("id").agg(
        pl.len().alias("judged"), (p < 0.5).sum().alias("against"), odds.mean().alias("log_odds")
    )
    total = labels.select(
        pl.len().alias("judged"),
        # In the total a label counts once, if any principle was against it.
        (p.list.min() < 0.5).sum().alias("against"),
        odds.list.sum().mean().alias("log_odds"),
    )
    return _collect(each), _collect(total)


def _failures(run: Path) -> tuple[pl.DataFrame, pl.DataFrame]:
    ids, tie = pl.col("principle_ids"), (pl.col("stage") == "judge") & (pl.col("reason") == "tie")
    lost = _scan(run, "failures", "stage", "reason", "principle_ids").select(
        ids.alias("id"), tie.alias("tie"), (pl.col("stage") + ": " + pl.col("reason")).alias("what")
    )
    # Rows that no principle had a part in, such as a prompt that was refused, are only in the number of failures.
    blamed = lost.drop_nulls("id")
    counted = (
        pl.col("tie").sum().alias("ties"),
        # A tie is an outcome of judging and not a failure, so it has its own column.
        (~pl.col("tie")).sum().alias("failed"),
        pl.col("what").filter(~pl.col("tie")).value_counts().implode().alias("reasons"),
    )
    return _collect(blamed.explode("id").group_by("id").agg(counted)), _collect(blamed.select(counted))


def _stats(values: Mapping[str, Any]) -> PrincipleStats:
    reasons = sorted(values.get("reasons") or [], key=lambda entry: (-entry["count"], entry["what"]))
    odds = values.get("log_odds")
    made = {
        "log_odds": None if odds is None else round(odds, 6),  # the order of a sum is not always the same
        "reasons": {entry["what"]: entry["count"] for entry in reasons},
    }
    return PrincipleStats(**{**values, **made})


def _scan(run: Path, name: str, *columns: str) -> pl.LazyFrame:
    """Some columns of all shards; a column that an earlier version of Charter did not write is empty."""
    # With the types of the schema, so that tables without shards can be joined to others.
    empty = pl.DataFrame(SCHEMAS[name].empty_table().select(list(columns)))
    shards = _shards(run, name)
    if not shards:
        return empty.lazy()
    return pl.scan_parquet(shards, glob=False, schema=empty.schema, missing_columns="insert", extra_columns="ignore")


def _collect(frame: pl.LazyFrame) -> pl.DataFrame:
    return frame.collect(engine="streaming")


def _shards(run: Path, name: str) -> list[Path]:
    return sorted((run / name).glob("*.parquet"))

"""Compare the pairs of two runs: the same rows, chosen, rejected, and labels within 1e-6.

    python benchmarks/same_pairs.py outputs/before outputs/demo

Use it before and after a change that must not change results: run the demo with each commit on the same machine.
"""

import sys
from pathlib import Path

import polars as pl

KEY = ["row_id", "pair_id"]
TOLERANCE = 1e-6
COMPARED = {"pairs": ["prompt", "chosen", "rejected"], "sft_data": ["prompt", "completion"]}


def compare(before: Path, after: Path, table: str) -> list[str]:
    """What differs between two runs' tables, in words; empty if nothing does."""
    key = KEY if table == "pairs" else KEY[:1]
    old, new = (pl.read_parquet(sorted((run / table).glob("*.parquet"))).sort(key) for run in (before, after))
    if old.height != new.height:
        return [f"{table}: {old.height} rows before, {new.height} after"]
    found = [f"{table}: {name} differs" for name in [*key, *COMPARED[table]] if not old[name].equals(new[name])]
    difference = (old["p_chosen"] - new["p_chosen"]).abs().max()
    if difference is not None and float(str(difference)) > TOLERANCE:
        found.append(f"{table}: p_chosen differs by up to {difference}")
    print(f"{table}: {old.height} rows, largest difference of p_chosen {difference or 0:.1e}")
    return found


def main() -> None:
    """Print what differs; exit status 1 if anything does."""
    before, after = map(Path, sys.argv[1:3])
    found = [line for table in COMPARED for line in compare(before, after, table)]
    for line in found:
        print(line)
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()

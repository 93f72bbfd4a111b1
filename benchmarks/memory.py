"""The driver's peak memory with few prompts and with many: whole runs against a server that needs no model.

    python benchmarks/memory.py
    python benchmarks/memory.py --n 10000 200000

A run goes from prompts in a file of JSON lines to answers, critiques, revisions, labelled pairs, the report and the
manifest; each in a process of its own, with a store of its own. What is shown is the most memory that the process ever
held (VmHWM of Linux), and where it stood after each part. It needs about 2.5 kB of disk per prompt, in --folder, for
the time of the run. At most 150 MB more is wanted with many prompts than with few.
"""

import argparse
import asyncio
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from null_run import config_of, null_server, spec_of

from charter.pipeline.counts import total
from charter.report.publish import report_run
from charter.runs.dataset import make_tables
from charter.runs.folder import start_run
from charter.runs.manifest import write_manifest

WANTED_MB = 150
PARTS = ("imports", "prompts", "dataset", "report")


def peak_mb() -> float:
    """The most memory this process ever held, in MB of 10^6 bytes."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) * 1024 / 1e6


def whole_run(folder: Path, url: str, n: int) -> dict[str, Any]:
    """A run in this process; its peaks after each part, calls and seconds."""
    config, peaks = config_of(folder, url, n), {"imports": peak_mb()}
    spec, began = spec_of(config), time.monotonic()
    start_run(config)  # as the run does again: its part of the memory shows alone
    peaks["prompts"] = peak_mb()
    counts = asyncio.run(make_tables(config, {"base": spec}))
    peaks["dataset"] = peak_mb()
    identities = {"base": spec.identity}
    report_run(config, total(counts), identities, made="", again="dataset")
    write_manifest(config.run_folder, counts, identities)
    peaks["report"] = peak_mb()
    seconds = time.monotonic() - began
    return {"n": n, **peaks, "calls": sum(count.calls for count in counts), "seconds": seconds}


def measured(folder: Path, n: int) -> dict[str, Any]:
    """A run in a process of its own."""
    with null_server() as server, tempfile.TemporaryDirectory(dir=folder, prefix=".memory-benchmark-") as place:
        command = [sys.executable, __file__, "--child", server.url, place, "--n", str(n)]
        said = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
    return dict(json.loads(said))


def main() -> None:
    parser = argparse.ArgumentParser(description="Peak memory of the driver with few prompts and with many.")
    parser.add_argument("--n", type=int, nargs="+", default=[10_000, 1_000_000], help="prompts of each run")
    parser.add_argument("--folder", default=".", help="where the runs are made for the time of the measurement")
    parser.add_argument("--child", nargs=2, metavar=("URL", "FOLDER"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        print(json.dumps(whole_run(Path(given.child[1]), given.child[0], given.n[0])))
        return
    print("| prompts | " + " | ".join(f"peak after {part}, MB" for part in PARTS) + " | calls | minutes |")
    print("|---:" * (len(PARTS) + 3) + "|")
    rows = []
    for n in given.n:
        rows.append(row := measured(given.folder, n))
        peaks = " | ".join(f"{row[part]:.0f}" for part in PARTS)
        print(f"| {n:,} | {peaks} | {row['calls']:,} | {row['seconds'] / 60:.1f} |", flush=True)
    more = rows[-1]["report"] - rows[0]["report"]
    print(f"\n{more:+.0f} MB from {given.n[0]:,} to {given.n[-1]:,} prompts; at most +{WANTED_MB} is wanted.")


if __name__ == "__main__":
    main()

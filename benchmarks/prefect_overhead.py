"""What Prefect takes of a run's time: the flow `dataset` against the same library calls without Prefect.

    PYTHONPATH=. python benchmarks/prefect_overhead.py
    PYTHONPATH=. python benchmarks/prefect_overhead.py --n 200 --repeats 1

Both go from prompts to Parquet, report, cards and manifest, with the same models on the same server, whose cache of
prefixes is emptied before each; which goes first alternates. The flow talks to a Prefect server on this machine, which
takes its share of the same cores. At most 5 % is wanted at 2,000 prompts.
"""

import argparse
import asyncio
import logging
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from prefect.testing.utilities import prefect_test_harness
from vllm_run import forget_prefixes, vllm

from charter.config import Config, load_config
from charter.core.errors import CharterError
from charter.inference import EngineSpec, Served
from charter.pipeline.counts import total
from charter.report.publish import report_run
from charter.runs.dataset import make_tables
from charter.runs.manifest import write_manifest
from charter.runs.preflight import check_config
from flows.dataset import dataset

ROOT = Path(__file__).parents[1]
WANTED = 0.05


async def without_prefect(config: Config, served: Served) -> None:
    """All that the flow does of use to anybody."""
    check_config(config)
    spec = EngineSpec.of(served, config.store_url, config.generation.concurrency)
    counts = await make_tables(config, {"base": spec})
    identities = {"base": spec.identity}
    report_run(config, total(counts), identities, time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()), "dataset")
    write_manifest(config.run_folder, counts, identities)


async def with_prefect(config: Config, served: Served) -> None:
    """The flow itself, which finds the server by the address in its config."""
    await dataset(config)


WAYS = {"library": without_prefect, "flow": with_prefect}


def seconds(way: str, served: Served, settings: dict[str, Any]) -> float:
    """Of one run, in a folder of its own."""
    with tempfile.TemporaryDirectory() as folder:
        config = load_config(ROOT / "configs" / "demo.yaml", {**settings, "outputs": folder, "name": way})
        forget_prefixes(served.base_url)
        began = time.monotonic()
        asyncio.run(WAYS[way](config, served))
        return time.monotonic() - began


def main() -> None:
    parser = argparse.ArgumentParser(description="What Prefect takes of a run's time.")
    parser.add_argument("--n", type=int, default=2_000, help="prompts")
    parser.add_argument("--repeats", type=int, default=3, help="pairs of runs; the median of their ratios counts")
    parser.add_argument("--model", default="sandbox", help="a model folder or hub id")
    given = parser.parse_args()
    logging.getLogger("prefect").setLevel(logging.WARNING)
    law = str(ROOT / "constitutions" / "harmless.md")
    settings: dict[str, Any] = {"prompts.n": given.n, "model": given.model, "constitution": law}
    ratios = []
    with prefect_test_harness(server_startup_timeout=120), vllm(given.model) as served:
        settings |= {"serving.base_urls": [served.base_url], "serving.model_name": served.model_name}
        seconds("flow", served, {**settings, "prompts.n": 8})  # what Prefect and the server do only once
        print("| first | library, s | flow, s | overhead |\n|---|---:|---:|---:|", flush=True)
        for i in range(given.repeats):
            order = list(WAYS) if i % 2 == 0 else list(WAYS)[::-1]
            took = {way: seconds(way, served, settings) for way in order}
            ratios.append(took["flow"] / took["library"] - 1)
            print(f"| {order[0]} | {took['library']:.1f} | {took['flow']:.1f} | {ratios[-1]:+.1%} |", flush=True)
    print(
        f"\nOverhead {statistics.median(ratios):+.1%}, the median of {given.repeats}; at most {WANTED:.0%} is wanted."
    )


if __name__ == "__main__":
    try:
        main()
    except CharterError as error:
        raise SystemExit(str(error)) from None

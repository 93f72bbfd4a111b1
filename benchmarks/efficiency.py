"""Output tokens per second of a run against those of vLLM given exactly the same requests all at once.

    python benchmarks/efficiency.py
    python benchmarks/efficiency.py --n 500 --repeats 1
    py-spy record -o profile.svg -- python benchmarks/efficiency.py --n 500 --repeats 1

A run (prompts to Parquet: respond, critique, revise, judge; with store, routing and retries) waits for each answer
before it can ask what follows from it. Then every request of the run, as it was sent, goes to the same server again
with nothing to wait for: what the engine can do at most. That is in two orders: that of the run's own answers, which
tells what Charter costs; and row by row, which no run can have, since a row's calls follow from each other: there they
are in the engine at once and read the same part of its cache. They take turns at going first, after a small run that
warms the server, and its cache of prefixes is emptied before each. All send from this process, on the same cores as the
server; what the engine's thread did meanwhile tells how much that costs. At least 0.95 is wanted at 2,000 prompts.
"""

import argparse
import asyncio
import contextlib
import json
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Coroutine, Iterable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from itertools import islice
from typing import Any, NamedTuple

import aiohttp
from null_run import LAW, ROOT
from vllm_run import EngineTime, engine_time, forget_prefixes, vllm, warm_up

from charter.config import Config, load_config
from charter.constitution import load_kept_constitution
from charter.core.errors import CharterError
from charter.data.shards import read_rows
from charter.inference import EngineSpec, Served, fast_json
from charter.inference.client import chat_request
from charter.inference.completion import request_key
from charter.inference.session import Session
from charter.inference.special_tokens import SpecialTokenGuard
from charter.pipeline.context import RunContext
from charter.pipeline.sequence import run_in_memory
from charter.runs.dataset import make_tables
from charter.views.recorder import CallRecorder

WANTED = 0.95
ORDERS = ("all at once, in the run's order", "all at once, row by row")
TOGETHER = 64
"""Rows whose requests go stage by stage, and in a stage row by row, before those of the next rows."""


class Speed(NamedTuple):
    """What was generated, and in how many seconds."""

    calls: int
    tokens: int
    seconds: float
    engine: EngineTime = EngineTime(0.0, 0.0)

    @property
    def per_second(self) -> float:
        """Output tokens."""
        return self.tokens / self.seconds


async def whole_run(config: Config, spec: EngineSpec) -> Speed:
    """A run, from prompts to Parquet."""
    began = time.monotonic()
    counts = await make_tables(config, {"base": spec})
    seconds = time.monotonic() - began
    return Speed(sum(count.calls for count in counts), sum(count.completion_tokens for count in counts), seconds)


async def bodies_of(config: Config, spec: EngineSpec) -> dict[bytes, bytes]:
    """Every request of a run as it was sent, row by row and once, under its key in the store.

    The chain goes over its rows again, answered by the store.
    """
    guard, bodies = SpecialTokenGuard(spec.special_tokens), dict[bytes, bytes]()
    law, rows = load_kept_constitution(config.run_folder), read_rows(config.run_folder / "prompts")
    while some := list(islice(rows, TOGETHER)):
        recorder = CallRecorder()
        run = RunContext(config, law, config.run_folder, {"base": replace(spec, base_urls=())})
        await run_in_memory(some, run, Session(), recorder.recorded, recorder.begin_stage)
        for call in recorder.calls:
            if call.answer is not None:
                sent = guard.escape(call.messages)
                body = fast_json.dumps(chat_request(spec.model_name, sent, call.sampling))
                bodies[request_key(spec.identity, sent, call.sampling)] = body
    return bodies


def as_answered(store: str, bodies: Mapping[bytes, bytes]) -> list[bytes]:
    """The requests in the order in which their answers came into the run's store."""
    with contextlib.closing(sqlite3.connect(store)) as connection:
        keys = connection.execute("SELECT key FROM completions ORDER BY rowid").fetchall()
    return [bodies[key] for (key,) in keys]


async def all_at_once(url: str, bodies: Iterable[bytes], in_flight: int) -> Speed:
    """Send requests that wait for nothing; of each answer only the count of its tokens is looked at."""
    remaining, used, began = iter(bodies), list[int](), time.monotonic()
    headers = {"Content-Type": "application/json"}
    connector, timeout = aiohttp.TCPConnector(limit=0), aiohttp.ClientTimeout(total=None)
    async with aiohttp.ClientSession(connector=connector, headers=headers, timeout=timeout) as session:

        async def worker() -> None:
            for body in remaining:
                async with session.post(f"{url}/chat/completions", data=body, raise_for_status=True) as response:
                    used.append(json.loads(await response.read())["usage"]["completion_tokens"])

        await asyncio.gather(*(worker() for _ in range(in_flight)))
    return Speed(len(used), sum(used), time.monotonic() - began)


def compare(served: Served, settings: dict[str, Any], given: argparse.Namespace) -> Iterator[dict[str, Speed]]:
    """A run, and its requests all at once in both orders; again and again, another one first each time."""
    orders = dict[str, list[bytes]]()

    def timed(work: Coroutine[None, None, Speed]) -> Speed:
        forget_prefixes(served.base_url)
        before = engine_time(served)
        return asyncio.run(work)._replace(engine=engine_time(served).since(before))

    def run() -> Speed:
        with tempfile.TemporaryDirectory() as folder:
            config = load_config(ROOT / "configs" / "demo.yaml", {**settings, "outputs": folder})
            spec = EngineSpec.of(served, config.store_url, config.generation.concurrency)
            speed = timed(whole_run(config, spec))
            if not orders:  # every run of these settings asks the same
                bodies = asyncio.run(bodies_of(config, spec))
                orders.update(zip(ORDERS, (as_answered(config.store_url, bodies), list(bodies.values())), strict=True))
        return speed

    def at_once(order: str) -> Speed:
        return timed(all_at_once(served.base_url, orders[order], given.in_flight))

    passes = {"run": run} | {order: partial(at_once, order) for order in ORDERS}
    for turn in range(given.repeats):
        first = turn % len(passes)
        took = {name: passes[name]() for name in (*list(passes)[first:], *list(passes)[:first])}
        yield {name: took[name] for name in passes}


def main() -> None:
    parser = argparse.ArgumentParser(description="Output tokens per second of a run and of its requests all at once.")
    parser.add_argument("--n", type=int, default=2_000, help="prompts")
    parser.add_argument("--repeats", type=int, default=3, help="runs; the medians of their ratios count")
    parser.add_argument("--in-flight", type=int, default=512, help="requests that are sent at once")
    parser.add_argument("--model", default="sandbox", help="a model folder or hub id")
    given = parser.parse_args()
    settings = {"prompts.n": given.n, "model": given.model, "constitution": str(LAW)}
    columns = ("calls", "output tokens", "seconds", "engine at work, s", "waiting for a core, s", "output tokens/s")
    print(f"| | {' | '.join(columns)} | run's share |\n|---|" + "---:|" * (len(columns) + 1), flush=True)
    shares = dict[str, list[float]]()
    with vllm(given.model) as served:
        warm_up(served)
        for speeds in compare(served, settings, given):
            for name, speed in speeds.items():
                share = speeds["run"].per_second / speed.per_second
                shares.setdefault(name, []).append(share)
                times = " | ".join(f"{seconds:.1f}" for seconds in (speed.seconds, *speed.engine))
                figures = f"{speed.calls:,} | {speed.tokens:,} | {times} | {speed.per_second:,.0f}"
                print(f"| {name} | {figures} | {'' if name == 'run' else f'{share:.3f}'} |", flush=True)
    print(f"\nMedians of {given.repeats}; at least {WANTED} is wanted:")
    for order in ORDERS:
        print(f"efficiency {statistics.median(shares[order]):.3f} of {order}")


if __name__ == "__main__":
    try:
        main()
    except CharterError as error:
        raise SystemExit(str(error)) from None

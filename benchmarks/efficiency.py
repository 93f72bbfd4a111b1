"""Output tokens per second of a run against those of vLLM given exactly the same requests all at once.

    python benchmarks/efficiency.py
    python benchmarks/efficiency.py --n 500 --repeats 1
    py-spy record -o profile.svg -- python benchmarks/efficiency.py --n 500 --repeats 1

A run (prompts to Parquet: respond, critique, revise, judge; with store, routing and retries) waits for each answer
before it can ask what follows from it. Then every request of the run, as it was sent, goes to the same server again,
row by row in the same order and with nothing to wait for: what the engine can do at most. The two take turns at going
first, after a small run that warms the server, and its cache of prefixes is emptied before each. Both send from this
process, on the same cores as the server; what the engine's thread did meanwhile tells how much that costs. At least
0.95 is wanted at 2,000 prompts.
"""

import argparse
import asyncio
import json
import statistics
import tempfile
import time
from collections.abc import Coroutine, Iterable, Iterator
from dataclasses import replace
from itertools import islice
from typing import Any, NamedTuple

import aiohttp
from null_run import LAW, ROOT
from vllm_run import EngineTime, engine_time, forget_prefixes, vllm, warm_up

from charter.chain import open_chain, walk
from charter.config import Config, load_config
from charter.constitution import load_constitution
from charter.data.shards import read_rows
from charter.errors import CharterError
from charter.pipeline import make_dataset
from charter.serving import EngineSpec, Served
from charter.serving.client import chat_request
from charter.serving.special_tokens import Spellings
from charter.trace.calls import Recorder

WANTED = 0.95
TOGETHER = 64
"""Rows whose requests are sent stage by stage before those of the next rows, as far as a run's rows drift apart."""


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
    counts = await make_dataset(config, {"base": spec})
    seconds = time.monotonic() - began
    return Speed(sum(count.calls for count in counts), sum(count.completion_tokens for count in counts), seconds)


async def bodies_of(config: Config, spec: EngineSpec) -> list[bytes]:
    """Every request of a run as it was sent, once: the chain goes over its rows again, answered by the store."""
    spellings, bodies = Spellings(spec.special_tokens), dict[bytes, None]()
    law, rows = load_constitution(config.run_folder / "constitution.md"), read_rows(config.run_folder / "prompts")
    while some := list(islice(rows, TOGETHER)):
        recorder = Recorder()
        async with open_chain(config, law, {"base": replace(spec, base_urls=())}, recorder.watched) as chain:
            await walk(some, chain, recorder.at)
        answered = (call for call in recorder.calls if call.answer is not None)
        sent = (chat_request(spec.model_name, spellings.break_up(c.messages), c.sampling) for c in answered)
        bodies |= dict.fromkeys(json.dumps(body).encode() for body in sent)
    return list(bodies)


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


def compare(served: Served, settings: dict[str, Any], given: argparse.Namespace) -> Iterator[tuple[Speed, Speed]]:
    """A run, and its requests all at once; again and again, another one first each time."""
    bodies = list[bytes]()

    def timed(work: Coroutine[None, None, Speed]) -> Speed:
        forget_prefixes(served.base_url)
        before = engine_time(served)
        return asyncio.run(work)._replace(engine=engine_time(served).since(before))

    def at_once() -> Speed:
        return timed(all_at_once(served.base_url, bodies, given.in_flight))

    for turn in range(given.repeats):
        engine = at_once() if turn % 2 else None
        with tempfile.TemporaryDirectory() as folder:
            config = load_config(ROOT / "configs" / "demo.yaml", {**settings, "outputs": folder})
            spec = EngineSpec.of(served, config.store_url, config.generation.concurrency)
            ours = timed(whole_run(config, spec))
            bodies = bodies or asyncio.run(bodies_of(config, spec))  # every run of these settings asks the same
        yield ours, engine or at_once()


def main() -> None:
    parser = argparse.ArgumentParser(description="Output tokens per second of a run and of its requests all at once.")
    parser.add_argument("--n", type=int, default=2_000, help="prompts")
    parser.add_argument("--repeats", type=int, default=3, help="runs; the median of their ratios counts")
    parser.add_argument("--in-flight", type=int, default=512, help="requests that are sent at once")
    parser.add_argument("--model", default="sandbox", help="a model folder or hub id")
    given = parser.parse_args()
    settings = {"prompts.n": given.n, "model": given.model, "constitution": str(LAW)}
    columns = ("calls", "output tokens", "seconds", "engine at work, s", "waiting for a core, s", "output tokens/s")
    print(f"| | {' | '.join(columns)} | ratio |\n|---|" + "---:|" * (len(columns) + 1), flush=True)
    ratios = []
    with vllm(given.model) as served:
        warm_up(served)
        for ours, engine in compare(served, settings, given):
            ratios.append(ours.per_second / engine.per_second)
            for name, speed, ratio in (("run", ours, f"{ratios[-1]:.3f}"), ("all at once", engine, "")):
                times = " | ".join(f"{seconds:.1f}" for seconds in (speed.seconds, *speed.engine))
                figures = f"{speed.calls:,} | {speed.tokens:,} | {times} | {speed.per_second:,.0f}"
                print(f"| {name} | {figures} | {ratio} |", flush=True)
    print(f"\nEfficiency {statistics.median(ratios):.3f}, the median of {len(ratios)}; at least {WANTED} is wanted.")


if __name__ == "__main__":
    try:
        main()
    except CharterError as error:
        raise SystemExit(str(error)) from None

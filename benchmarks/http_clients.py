"""CPU time of one call for the HTTP libraries that the client could stand on, against a server that answers at once.

    python benchmarks/http_clients.py

Each library posts the same chat requests, so many in flight, reads the answers and parses them; the server is a process
of its own. The libraries take turns, and the median of their rounds counts. No library's retries, store or routing
are in it: `benchmarks/driver.py` measures the client that Charter has.
"""

import argparse
import asyncio
import json
import statistics
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import aiohttp
import httpx
import openai
from null_run import null_server

MESSAGES = [{"role": "user", "content": "What does a good answer to this question look like, and why is it good?"}]
BODY: dict[str, Any] = {"model": "null", "messages": MESSAGES, "max_tokens": 256, "temperature": 0.0}

Call = Callable[[], Awaitable[str]]
"""Asks once, for the text of the answer."""


async def with_aiohttp(url: str, calls: int, in_flight: int) -> float:
    headers = {"Content-Type": "application/json"}
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), headers=headers) as session:

        async def call() -> str:
            async with session.post(f"{url}/chat/completions", data=json.dumps(BODY).encode()) as response:
                return str(json.loads(await response.read())["choices"][0]["message"]["content"])

        return await cpu_s(call, calls, in_flight)


async def with_httpx(url: str, calls: int, in_flight: int) -> float:
    limits = httpx.Limits(max_connections=in_flight, max_keepalive_connections=in_flight)
    async with httpx.AsyncClient(limits=limits, headers={"Content-Type": "application/json"}, timeout=60) as client:

        async def call() -> str:
            response = await client.post(f"{url}/chat/completions", content=json.dumps(BODY).encode())
            return str(json.loads(response.content)["choices"][0]["message"]["content"])

        return await cpu_s(call, calls, in_flight)


async def with_openai(url: str, calls: int, in_flight: int) -> float:
    async with openai.AsyncOpenAI(base_url=url, api_key="none") as client:

        async def call() -> str:
            answer = await client.chat.completions.create(**BODY)
            return str(answer.choices[0].message.content)

        return await cpu_s(call, calls, in_flight)


async def cpu_s(call: Call, calls: int, in_flight: int) -> float:
    """Seconds of CPU for all calls; the connections are there before the clock starts."""
    await asyncio.gather(*(call() for _ in range(in_flight)))
    began = time.process_time()
    await _all(call, calls, in_flight)
    return time.process_time() - began


async def _all(call: Call, calls: int, in_flight: int) -> None:
    async def worker(numbers: Iterator[int]) -> None:
        for _ in numbers:
            assert await call()

    numbers = iter(range(calls))
    await asyncio.gather(*(worker(numbers) for _ in range(in_flight)))


LIBRARIES = {"aiohttp": with_aiohttp, "httpx": with_httpx, "openai (on httpx)": with_openai}


def main() -> None:
    parser = argparse.ArgumentParser(description="CPU time of one call, for several HTTP libraries.")
    parser.add_argument("--calls", type=int, default=5_000, help="of each library in each round")
    parser.add_argument("--rounds", type=int, default=5, help="the median of which counts")
    parser.add_argument("--in-flight", type=int, default=128, help="calls at once")
    given = parser.parse_args()
    took: dict[str, list[float]] = {name: [] for name in LIBRARIES}
    with null_server() as server:
        for _ in range(given.rounds):
            for name, ask in LIBRARIES.items():
                took[name].append(1000 * asyncio.run(ask(server.url, given.calls, given.in_flight)) / given.calls)
    least = min(map(statistics.median, took.values()))
    print("| library | CPU ms per call | range | against the least |\n|---|---:|---:|---:|")
    for name, ms in took.items():
        middle = statistics.median(ms)
        print(f"| {name} | {middle:.3f} | {min(ms):.3f} to {max(ms):.3f} | {middle / least:.2f} |")


if __name__ == "__main__":
    main()

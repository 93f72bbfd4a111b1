"""The store of completions: puts and gets per second, bytes per entry, and the time to resume a finished run.

    python benchmarks/store.py
    PGPASSWORD=... python benchmarks/store.py --store postgresql://USER@HOST/DATABASE

Values are completions whose texts are pieces of this repository's documents, some 900 bytes as JSON. Every put is
durable when it counts. Resuming goes the way of a run: each call's key is made of its request, looked up and decoded
by the engine, with nothing left to ask. The SQLite file is made in --folder, which must be on the disk to measure;
the server's database must have no store in it.
"""

import argparse
import asyncio
import random
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path

from charter.core.messages import Message, user
from charter.inference import Completion, EngineSpec, Sampling, open_engine
from charter.inference.completion import request_key
from charter.inference.store import open_store

ROOT = Path(__file__).parents[1]
IDENTITY = "sha256:" + 64 * "0"
SAMPLING = Sampling(256, temperature=1.0)
PIECE = 800  # characters of a text
AT_ONCE = 5_000  # puts in flight while the store is only filled


def main() -> None:
    options = _options()
    with tempfile.TemporaryDirectory(dir=options.folder, prefix=".store-benchmark-") as folder:
        url = options.store or str(Path(folder) / "completions.sqlite")
        rows = asyncio.run(measure(url, options.puts, options.entries, options.in_flight))
    width = max(len(name) for name, _ in rows)
    print(f"{'SQLite' if not options.store else 'PostgreSQL'}, {options.in_flight} calls in flight")
    for name, figure in rows:
        print(f"  {name:<{width}}  {figure}")


async def measure(url: str, puts: int, entries: int, in_flight: int) -> list[tuple[str, str]]:
    """The table's rows; `puts` of the `entries` are timed."""
    texts = _texts()
    with closing(open_store(url)) as store:
        if store.stats().entries:
            raise SystemExit(f"{url}: has entries already; name a database without a store.")

        async def put(i: int) -> None:
            await store.put(key(i), completion(i, texts).to_bytes(), IDENTITY)

        async def get(i: int) -> None:
            assert await store.get(key(i)) is not None

        alone = await _timed(put, range(min(puts, 200)), 1)
        put_s = await _timed(put, range(puts), in_flight)
        get_s = await _timed(get, range(puts), in_flight)
        fill_s = await _timed(put, range(puts, entries), AT_ONCE) if entries > puts else 0.0
        get_full_s = await _timed(get, random.Random(0).sample(range(entries), min(puts, entries)), in_flight)
    with closing(open_store(url)) as store:  # again: the write-ahead log is in the file now
        size = store.stats()
    raw = sum(len(completion(i, texts).to_bytes()) for i in range(1000)) / 1000
    resume_s, cpu_s = await resume(url, entries, in_flight)
    return [
        ("one put after the other", f"{1000 * alone / min(puts, 200):.2f} ms each"),
        ("puts", f"{puts / put_s:,.0f} per second ({puts:,} puts)"),
        (f"puts, {AT_ONCE:,} in flight", f"{(entries - puts) / fill_s:,.0f} per second" if fill_s else "-"),
        ("gets", f"{puts / get_s:,.0f} per second ({puts:,} entries in the store)"),
        ("gets, at random", f"{min(puts, entries) / get_full_s:,.0f} per second ({entries:,} entries in the store)"),
        ("size", f"{size.bytes / size.entries:,.0f} bytes per entry on disk; as JSON {raw:,.0f}, without the key"),
        ("resuming", f"{entries:,} finished calls in {resume_s:.1f} s ({1e6 * cpu_s / entries:.0f} µs of CPU each)"),
    ]


async def resume(url: str, entries: int, in_flight: int) -> tuple[float, float]:
    """Seconds, and seconds of CPU, that a run takes to find all its calls finished."""
    spec = EngineSpec((), "none", IDENTITY, url)
    began, cpu = time.monotonic(), time.process_time()
    async with open_engine(spec) as engine:

        async def ask(i: int) -> None:
            await engine.ask(request(i), SAMPLING)

        await _timed(ask, range(entries), in_flight)
        assert (engine.stats.from_store, engine.stats.asked, engine.stats.failed) == (entries, 0, 0)
    return time.monotonic() - began, time.process_time() - cpu


def request(i: int) -> list[Message]:
    """The conversation of call `i`."""
    return [user(f"Question {i}: what does a good answer to this look like, and why?")]


def key(i: int) -> bytes:
    """What call `i` is kept under."""
    return request_key(IDENTITY, request(i), SAMPLING)


def completion(i: int, texts: str) -> Completion:
    """The answer to call `i`."""
    start = random.Random(i).randrange(len(texts) - PIECE)
    return Completion(texts[start : start + PIECE], "stop", 100 + i % 400, PIECE // 4)


async def _timed(work: Callable[[int], Awaitable[None]], numbers: range | list[int], in_flight: int) -> float:
    """Seconds for all numbers, so many at a time."""
    remaining = iter(numbers)

    async def worker() -> None:
        for i in remaining:
            await work(i)

    began = time.monotonic()
    await asyncio.gather(*(worker() for _ in range(in_flight)))
    return time.monotonic() - began


def _texts() -> str:
    paths = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *(ROOT / "constitutions").glob("*.md")]
    return "\n".join(path.read_text(encoding="utf-8") for path in sorted(paths))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Puts, gets, size and time to resume of the store of completions.")
    parser.add_argument("--store", help="a PostgreSQL address; an SQLite file of its own when left out")
    parser.add_argument("--folder", default=".", help="where the SQLite file is made for the time of the measurement")
    parser.add_argument("--puts", type=int, default=20_000, help="how many puts and gets are timed")
    parser.add_argument("--entries", type=int, default=1_000_000, help="finished calls to resume")
    parser.add_argument("--in-flight", type=int, default=128, help="calls at once")
    return parser.parse_args()


if __name__ == "__main__":
    main()

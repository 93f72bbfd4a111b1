"""Several runs at once, each a process, with one store: no locks are told of, and all end with the same answers."""

import pickle
import subprocess
import sys

from charter.config import Serving
from charter.inference import EngineSpec, connect, open_store
from charter.testing.null_server import NullServer, run_null_server

ROWS, RUNS = 400, 3
RUN = f"""
import asyncio, hashlib, pickle, sys
from charter.core.messages import user
from charter.inference import Sampling, open_engine
async def main():
    async with open_engine(pickle.loads(bytes.fromhex(sys.argv[1]))) as engine:
        async def row(i):
            first = await engine.ask([user(f"row {{i}}")], Sampling(32, temperature=1.0, seed=i))
            return (await engine.ask([user(first.text)], Sampling(32, temperature=1.0, seed=i))).text
        texts = await asyncio.gather(*(row(i) for i in range({ROWS})))
        print(hashlib.sha256("".join(texts).encode()).hexdigest(), engine.stats.asked)
asyncio.run(main())
"""


def test_runs_share_a_store_at_the_same_time(url: str) -> None:
    with run_null_server(NullServer(latency_s=0.01)) as server:
        spec = EngineSpec.of(connect([server.url], Serving()), url, concurrency=16)
        command = [sys.executable, "-c", RUN, pickle.dumps(spec).hex()]
        pipe = subprocess.PIPE
        runs = [subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True) for _ in range(RUNS)]
        ended = [run.communicate(timeout=120) for run in runs]
        assert [(run.returncode, told) for run, (_, told) in zip(runs, ended, strict=True)] == [(0, "")] * RUNS
        digests, asked = zip(*(said.split() for said, _ in ended), strict=True)
        assert len(set(digests)) == 1
        assert sum(map(int, asked)) == server.counts["requests"] >= 2 * ROWS
    store = open_store(url)
    assert store.stats().entries == 2 * ROWS
    store.close()

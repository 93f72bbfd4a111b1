"""What a call costs the driver: CPU time, calls per second, and two processes against one.

    python benchmarks/driver.py
    python benchmarks/driver.py --pin
    python benchmarks/driver.py --profile

The server needs no model and answers at once, so that only the driver counts. `ask` sends calls through store and
client alone; every answer is durable before it counts. `run` is a whole run, from prompts to Parquet: respond,
critique, revise, judge. Each process has a server and a store of its own. At most 0.6 ms of CPU per call is wanted,
and from two processes 1.8 times the calls per second of one, where the cores are free for it; the last column says how
much of a core the driver of each process had. With `--pin` a driver and its server are held to one core, which no other
pair shares, so that two processes have twice what one has, on two cores as on sixty-four.
"""

import argparse
import asyncio
import cProfile
import json
import os
import pstats
import subprocess
import sys
import tempfile
import time
from collections.abc import Coroutine, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

from null_run import config_of, null_server, spec_of

from charter.config import Config
from charter.core.messages import user
from charter.inference import EngineSpec, Sampling, open_engine
from charter.runs.dataset import make_tables

WANTED_MS, WANTED_TIMES = 0.6, 1.8
IN_FLIGHT = 128


class Cost(NamedTuple):
    """What processes side by side took; seconds of the clock, and of CPU all together."""

    what: str
    processes: int
    calls: int
    seconds: float
    cpu_s: float
    server_cpu_s: float

    @property
    def per_second(self) -> float:
        """Calls of all processes."""
        return self.calls / self.seconds

    @property
    def cpu_ms(self) -> float:
        """Per call."""
        return 1000 * self.cpu_s / self.calls

    def row(self) -> str:
        """Of the table."""
        server_ms, cores = 1000 * self.server_cpu_s / self.calls, self.cpu_s / self.seconds / self.processes
        numbers = f"{self.calls:,} | {self.per_second:,.0f} | {self.cpu_ms:.2f} | {server_ms:.2f} | {cores:.0%}"
        return f"| {self.what} | {self.processes} | {numbers} |"


async def ask(spec: EngineSpec, calls: int) -> int:
    """Send calls through store and client."""
    numbers = iter(range(calls))

    async def worker() -> None:
        for i in numbers:
            await engine.ask([user(f"Question {i}: what does a good answer to this look like?")], Sampling(256, seed=i))

    async with open_engine(spec) as engine:
        await asyncio.gather(*(worker() for _ in range(IN_FLIGHT)))
        return engine.stats.asked


async def run(spec: EngineSpec, config: Config) -> int:
    """A whole run."""
    return sum(count.calls for count in await make_tables(config, {"base": spec}))


def child(what: str, url: str, folder: Path, n: int, profile: bool) -> None:
    """Wait for the word, do it, and print what it took."""
    config = config_of(folder, url, n if what == "run" else 1)
    spec = spec_of(config)
    work: Coroutine[Any, Any, int] = run(spec, config) if what == "run" else ask(spec, n)
    print("ready", flush=True)
    sys.stdin.readline()
    profiler = cProfile.Profile(time.process_time)
    if profile:
        profiler.enable()
    began, cpu = time.monotonic(), time.process_time()
    calls = asyncio.run(work)
    seconds, cpu_s = time.monotonic() - began, time.process_time() - cpu
    if profile:
        profiler.disable()
        pstats.Stats(profiler, stream=sys.stderr).sort_stats("tottime").print_stats(40)
    print(json.dumps({"calls": calls, "seconds": seconds, "cpu_s": cpu_s}), flush=True)


def measured(what: str, processes: int, n: int, folder: Path, profile: bool, pin: bool) -> Cost:
    """So many processes side by side, all of them begun before any starts; `pin` gives each pair one core."""
    with ExitStack() as stack:
        servers = [stack.enter_context(null_server()) for _ in range(processes)]
        places = [stack.enter_context(tempfile.TemporaryDirectory(dir=folder, prefix=".driver-")) for _ in servers]
        more = ["--profile"] if profile else []
        commands = [
            [sys.executable, __file__, "--child", what, server.url, place, str(n), *more]
            for server, place in zip(servers, places, strict=True)
        ]
        children = [
            subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for command in commands
        ]
        for each in children:
            assert each.stdout is not None and each.stdout.readline() == "ready\n"
        if pin:
            hold([(server.pid, each.pid) for server, each in zip(servers, children, strict=True)])
        before = sum(server.cpu_s() for server in servers)
        for each in children:
            assert each.stdin is not None
            each.stdin.write("go\n")
            each.stdin.flush()
        said: list[dict[str, Any]] = [json.loads(each.communicate()[0]) for each in children]
        server_cpu_s = sum(server.cpu_s() for server in servers) - before
    calls, cpu_s = sum(one["calls"] for one in said), sum(one["cpu_s"] for one in said)
    return Cost(what, processes, calls, max(one["seconds"] for one in said), cpu_s, server_cpu_s)


def hold(pairs: Sequence[tuple[int, int]]) -> None:
    """Hold the threads of each pair of processes to a core of their own."""
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < len(pairs):
        raise SystemExit(f"--pin: {len(pairs)} processes want a core each, and there are {len(cores)}.")
    for core, pair in zip(cores, pairs, strict=False):
        for thread in (int(task.name) for pid in pair for task in Path(f"/proc/{pid}/task").iterdir()):
            os.sched_setaffinity(thread, {core})


def main() -> None:
    parser = argparse.ArgumentParser(description="CPU time per call of the driver, and calls per second.")
    parser.add_argument("--calls", type=int, default=20_000, help="calls of each process of `ask`")
    parser.add_argument("--prompts", type=int, default=5_000, help="prompts of each process of `run`")
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2], help="how many side by side")
    parser.add_argument("--folder", default=".", help="where the stores are made for the time of the measurement")
    parser.add_argument("--pin", action="store_true", help="hold each driver and its server to one core of their own")
    parser.add_argument("--profile", action="store_true", help="show where the time goes, which costs some itself")
    parser.add_argument("--child", nargs=4, metavar=("WHAT", "URL", "FOLDER", "N"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        what, url, folder, n = given.child
        child(what, url, Path(folder), int(n), given.profile)
        return
    print(f"{os.cpu_count()} cores{', one for each driver and its server' if given.pin else ''}\n")
    print("| what | processes | calls | calls/s | driver's CPU ms per call | server's | a driver's core |")
    print("|---|" + "---:|" * 6)
    for what, n in (("ask", given.calls), ("run", given.prompts)):
        costs = []
        for processes in given.processes:
            costs.append(measured(what, processes, n, given.folder, given.profile, given.pin))
            print(costs[-1].row(), flush=True)
        few, many, times = given.processes[0], given.processes[-1], costs[-1].per_second / costs[0].per_second
        print(f"| {what}: {many} against {few} | | | {times:.2f} times | | | |", flush=True)
    print(f"\nAt most {WANTED_MS} ms per call is wanted, and {WANTED_TIMES} times where every process has its core.")


if __name__ == "__main__":
    main()

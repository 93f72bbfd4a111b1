"""Rows per second of respond, critique, revise: Charter, distilabel 1.5.3, and two asyncio scripts.

    python benchmarks/distilabel_chain.py                   # on vLLM with the sandbox's model
    python benchmarks/distilabel_chain.py --server null     # against a server that needs no model

All four send the same greedy requests for the same prompts: a first answer, a critique under the principle that
Charter draws for the row, and a revision whatever the critique says. They take turns, five times, another one first
each time and with the server's cache of prefixes emptied before each. The clock runs from the prompts to the finished
rows, within a process that has imported everything: in distilabel's case with the start of its steps, each a process;
in Charter's with its store, in which every answer is durable, and Parquet. The scripts have neither, nor retries, and
write one file of JSON lines. `llm-swarm` is written as that project's example is: Hugging Face's client, all rows at
once, so many calls in flight. `plain` is as fast as one can make it: aiohttp by itself, so many rows in flight.

distilabel is installed in an environment of its own, under --cache, when it is not there.
"""

import argparse
import asyncio
import json
import statistics
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import aiohttp
from huggingface_hub import AsyncInferenceClient
from null_run import LAW, null_server, spec_of
from vllm_run import EngineTime, engine_time, forget_prefixes, vllm, warm_up

from charter.config import Config, Generation, Prompts, Selection, Serving
from charter.constitution import draw_principles, load_constitution
from charter.core.errors import CharterError
from charter.core.messages import Message, assistant, user
from charter.core.templates import render
from charter.data.sources import load_prompts
from charter.inference import Served, connect, server_metrics
from charter.inference.session import Session
from charter.pipeline.sequence import RESPOND, REVISE
from charter.pipeline.shards import run_shards_here
from charter.runs.folder import shard_sizes, start_run

VERSION = "1.5.3"
RUNNERS = ("charter", "distilabel", "llm-swarm", "plain")
WANTED = {"vllm": {"distilabel": 1.45, "llm-swarm": 1.0, "plain": 1.0}, "null": {"distilabel": 5.0}}
"""How many times another runner's rows per second Charter's shall be."""


def environment(cache: Path) -> Path:
    """The Python of an environment with distilabel, made when it is not there."""
    folder = cache / f"distilabel-{VERSION}"
    python, ready = folder / "bin" / "python", folder / ".ready"
    if not ready.is_file():
        venv.create(folder, clear=True, with_pip=True)
        needs = [f"distilabel[openai]=={VERSION}", "requests"]
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", *needs], check=True)
        ready.touch()
    return python


def write_rows(path: Path, n: int) -> None:
    """Prompts of the sandbox, each with the requests that Charter makes for it."""
    law = load_constitution(LAW)
    with path.open("w", encoding="utf-8") as file:
        for number, prompt in enumerate(load_prompts(Prompts(source="sandbox", n=n), 0).prompts):
            (principle,) = draw_principles(law, f"r{number}", 1, 0, Selection())
            asks = {f"{name}_request": render(name, None, principle=principle) for name in ("critique", "revision")}
            file.write(json.dumps({"id": f"r{number}", "prompt": prompt.messages[0]["content"], **asks}) + "\n")


def by_charter(url: str, rows: Path, folder: Path, max_tokens: int) -> dict[str, Any]:
    """The first two stages of a run."""
    config = Config(
        outputs=folder,
        constitution=LAW,
        prompts=Prompts(source=str(rows)),
        serving=Serving(base_urls=(url,)),
        generation=Generation(rounds=1, revise="always", temperature=0.0, max_tokens=max_tokens),
    )
    spec, began = spec_of(config), time.monotonic()
    started = start_run(config)
    run, asked = started.context({"base": spec}), started.prompts.rows_out
    counts = asyncio.run(run_shards_here(run, shard_sizes(run.folder), Session(), stages=[RESPOND, REVISE]))
    seconds = time.monotonic() - began
    return {"rows": asked, "whole": sum(c.rows_out for c in counts if c.stage == "revise"), "seconds": seconds}


Ask = Callable[[list[Message]], Awaitable[Message]]
"""The model's turn after a conversation."""


async def by_plain_script(url: str, rows: Path, folder: Path, max_tokens: int, in_flight: int) -> dict[str, Any]:
    """As fast as one can write it: aiohttp by itself, and a semaphore that a row holds until it is whole."""
    gate, model, began = asyncio.Semaphore(in_flight), connect([url], Serving()).model_name, time.monotonic()
    timeout, connector = aiohttp.ClientTimeout(total=600), aiohttp.TCPConnector(limit=0)

    async def ask(messages: list[Message]) -> Message:
        body = {"model": model, "messages": messages, "max_tokens": max_tokens, "temperature": 0.0}
        async with session.post(f"{url}/chat/completions", json=body, raise_for_status=True) as response:
            return assistant((await response.json())["choices"][0]["message"]["content"] or "-")

    async def walk(row: dict[str, Any]) -> dict[str, Any]:
        async with gate:
            return await chain(row, ask)

    async with aiohttp.ClientSession(timeout=timeout, connector=connector) as session:
        made = await asyncio.gather(*map(walk, rows_of(rows)))
    return written(made, folder, began)


async def by_llm_swarm(url: str, rows: Path, folder: Path, max_tokens: int, in_flight: int) -> dict[str, Any]:
    """As llm-swarm's ``examples/constitutional-ai/generate_dataset.py``: a call, and not a row, holds the semaphore.

    So every row is answered before the first one is criticised. Here the server renders the chat template; there it is
    rendered by the script.
    """
    gate, model, began = asyncio.Semaphore(in_flight), connect([url], Serving()).model_name, time.monotonic()
    client = AsyncInferenceClient(base_url=url, api_key="-", timeout=600)

    async def ask(messages: list[Message]) -> Message:
        async with gate:
            turns = [dict(message) for message in messages]
            said = await client.chat_completion(turns, model=model, max_tokens=max_tokens, temperature=0.0)
        return assistant(said.choices[0].message.content or "-")

    made = await asyncio.gather(*(chain(row, ask) for row in rows_of(rows)))
    return written(made, folder, began)


async def chain(row: dict[str, Any], ask: Ask) -> dict[str, Any]:
    """Answer, critique and revision of a row."""
    messages = [user(row["prompt"])]
    for request in ("critique_request", "revision_request"):
        messages += [await ask(messages), user(row[request])]
    return {"id": row["id"], "messages": [*messages, await ask(messages)]}


def rows_of(file: Path) -> list[dict[str, Any]]:
    """What `write_rows` wrote."""
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def written(made: Sequence[dict[str, Any]], folder: Path, began: float) -> dict[str, Any]:
    """What a script says, once its rows are in a file."""
    with (folder / "made.jsonl").open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(row) + "\n" for row in made)
    return {"rows": len(made), "whole": len(made), "seconds": time.monotonic() - began}


def timed(runner: str, url: str, rows: Path, python: Path, given: argparse.Namespace) -> dict[str, Any]:
    """What a runner says, in a process and a folder of its own, with the calls that the server counted meanwhile."""
    with tempfile.TemporaryDirectory() as folder:
        if runner == "distilabel":
            script, model = Path(__file__).with_name("distilabel_runner.py"), connect([url], Serving()).model_name
            command = [python, script, url, model, rows, given.max_tokens, given.batch]
        else:
            sizes = ["--max-tokens", given.max_tokens, "--in-flight", given.in_flight]
            command = [sys.executable, __file__, "--child", runner, url, rows, folder, *sizes]
        before = asyncio.run(server_metrics(url)).requests
        done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False, cwd=folder)
        if done.returncode:
            raise SystemExit(f"{runner} ended with status {done.returncode}:\n{done.stderr[-4000:]}")
        calls = asyncio.run(server_metrics(url)).requests - before
    return {**json.loads(done.stdout.splitlines()[-1]), "calls": calls}


@contextmanager
def server(kind: str) -> Iterator[tuple[str, Served | None]]:
    """The address of a server that ends with the block; and of vLLM all that is known."""
    if kind == "null":
        with null_server() as null:
            yield null.url, None
    else:
        with vllm("sandbox") as served:
            warm_up(served)
            yield served.base_url, served


def engine_of(served: Served | None) -> EngineTime:
    """What vLLM's engine did so far; a null server has none."""
    return engine_time(served) if served else EngineTime(0.0, 0.0)


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Charter, distilabel and two scripts on the same chain.")
    parser.add_argument("--n", type=int, default=2_000, help="prompts")
    parser.add_argument("--repeats", type=int, default=5, help="runs of each; the medians of their ratios count")
    parser.add_argument("--server", choices=("vllm", "null"), default="vllm")
    parser.add_argument("--max-tokens", type=int, default=96, help="the longest answer")
    parser.add_argument("--in-flight", type=int, default=128, help="rows of the plain script, calls of llm-swarm's")
    parser.add_argument("--batch", type=int, default=50, help="rows in a batch of distilabel, whose default this is")
    parser.add_argument("--cache", type=Path, default=Path.home() / ".cache" / "charter", help="for its environment")
    parser.add_argument("--child", nargs=4, metavar=("RUNNER", "URL", "ROWS", "FOLDER"), help=argparse.SUPPRESS)
    return parser.parse_args()


def child(given: argparse.Namespace) -> None:
    """Run one of Charter and the scripts, and print what it took."""
    runner, url, rows, folder = given.child
    if runner == "charter":
        print(json.dumps(by_charter(url, Path(rows), Path(folder), given.max_tokens)))
    else:
        script = by_plain_script if runner == "plain" else by_llm_swarm
        print(json.dumps(asyncio.run(script(url, Path(rows), Path(folder), given.max_tokens, given.in_flight))))


def main() -> None:
    given = options()
    if given.child:
        child(given)
        return
    python, speeds = environment(given.cache), dict[str, list[float]]()
    columns = ("rows", "whole", "calls", "seconds", "engine at work, s", "waiting for a core, s", "rows/s")
    print(f"| runner | {' | '.join(columns)} |\n|---|" + "---:|" * len(columns), flush=True)
    with tempfile.TemporaryDirectory() as folder, server(given.server) as (url, served):
        rows = Path(folder) / "rows.jsonl"
        write_rows(rows, given.n)
        for turn in range(given.repeats):
            first = turn % len(RUNNERS)
            for runner in RUNNERS[first:] + RUNNERS[:first]:
                if served:
                    forget_prefixes(url)
                before = engine_of(served)
                took = timed(runner, url, rows, python, given)
                times = " | ".join(f"{seconds:.1f}" for seconds in (took["seconds"], *engine_of(served).since(before)))
                speeds.setdefault(runner, []).append(took["rows"] / took["seconds"])
                counts = f"{took['rows']:,} | {took['whole']:,} | {took['calls']:,}"
                print(f"| {runner} | {counts} | {times} | {speeds[runner][-1]:.1f} |", flush=True)
    print()
    for other in RUNNERS[1:]:
        ratio = statistics.median(a / b for a, b in zip(speeds["charter"], speeds[other], strict=True))
        wanted = WANTED[given.server].get(other)
        print(f"charter / {other}: {ratio:.2f} times" + (f"; at least {wanted:g} is wanted." if wanted else "."))


if __name__ == "__main__":
    try:
        main()
    except CharterError as error:
        raise SystemExit(str(error)) from None

"""How fast vLLM serves a small real model without a GPU, by cores, number format and compilation, in one run.

    python benchmarks/cpu_serving.py [MODEL] [--only 1:float32 2:float32 2:bfloat16 2:float32:compiled]

MODEL is a folder, or a name that `charter models get` knows. Each configuration starts its own server; 48 requests at
once write up to 128 tokens each, then 16 long prompts are read for one token.
"""

import argparse
import asyncio
import os
import tempfile
import time
from pathlib import Path

import aiohttp

from charter.config import Serving
from charter.inference import serve
from charter.pipeline.roles import model_folder

WRITTEN, READ = 48, 16
TOPICS = [
    "bread",
    "rivers",
    "clocks",
    "gardens",
    "music",
    "bridges",
    "letters",
    "winter",
    "coffee",
    "bicycles",
    "stars",
    "paper",
]
PROMPTS = [f"Tell me about {TOPICS[i % 12]} and {TOPICS[(i * 5 + i // 12 + 1) % 12]}." for i in range(WRITTEN)]
LONG = [f"{prompt} {' '.join(PROMPTS)}" for prompt in PROMPTS[:READ]]


async def rates(url: str, prompts: list[str], max_tokens: int) -> tuple[float, float]:
    """Tokens per second written and read."""
    async with aiohttp.ClientSession() as session:

        async def ask(prompt: str) -> dict[str, int]:
            messages = [{"role": "user", "content": prompt}]
            body = {"model": "m", "messages": messages, "temperature": 0.7, "max_tokens": max_tokens, "seed": 1}
            async with session.post(f"{url}/chat/completions", json=body) as answer:
                return dict((await answer.json())["usage"])

        started = time.monotonic()
        usage = await asyncio.gather(*map(ask, prompts))
        seconds = time.monotonic() - started
    return tuple(sum(one[name] for one in usage) / seconds for name in ("completion_tokens", "prompt_tokens"))


def measure(model: str, configuration: str) -> None:
    """Serve the model in one configuration and print its rates."""
    threads, dtype, *compiled = configuration.split(":")
    os.environ["OMP_NUM_THREADS"] = threads  # what is exported overrides Charter's choice
    settings = Serving(dtype=dtype, extra_args=("--no-enforce-eager",) if compiled else ())
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder, serve(model, settings, Path(folder) / "vllm.log", "m") as server:
        up = time.monotonic() - started
        asyncio.run(rates(server.base_url, PROMPTS[:2], 4))  # the first calls are slower
        written, _ = asyncio.run(rates(server.base_url, PROMPTS, 128))
        _, read = asyncio.run(rates(server.base_url, LONG, 1))
    print(
        f"{configuration:24} up {up:4.0f} s   written {written:5.0f} tokens/s   read {read:5.0f} tokens/s", flush=True
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", default="smollm2-135m")
    everything = ["1:float32", "2:float32", "2:bfloat16", "2:float32:compiled"]
    parser.add_argument("--only", nargs="+", default=everything)
    arguments = parser.parse_args()
    for each in arguments.only:
        measure(model_folder(arguments.model), each)

"""What benchmarks of the driver share: runs whose model is a server that needs none, in a process of its own.

    python benchmarks/null_run.py

starts such a server alone and prints its address.
"""

import argparse
import contextlib
import hashlib
import json
import os
import random
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import pandas  # noqa: F401  which pyarrow imports at its first table: half a second that is no call's

from charter.config import Config, Generation, Judge, Prompts, Serving
from charter.core.messages import Message
from charter.inference import EngineSpec, connect
from charter.testing.null_server import NullServer, run_null_server

ROOT = Path(__file__).parents[1]
LAW = ROOT / "constitutions" / "harmless.md"
WORDS = ("the", "answer", "is", "not", "that", "easy", "and", "people", "say", "it", "may", "help", "to", "look")


class Server(NamedTuple):
    """A null server in a process of its own."""

    url: str
    pid: int

    def cpu_s(self) -> float:
        """Seconds of CPU that it has taken."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def answer(messages: Sequence[Message]) -> str:
    """Some eighty words; half of all first answers are found at fault, and their revisions are other words."""
    asked = messages[-1]["content"]
    lot = random.Random(hashlib.sha256(messages[0]["content"].encode()).digest())
    if asked.endswith('"Verdict: violated" or "Verdict: respected".'):
        return f"{_words(lot, 40)} Verdict: {'violated' if lot.random() < 0.5 else 'respected'}"
    return _words(random.Random(asked) if asked.startswith("Rewrite") else lot, 80)


def _words(lot: random.Random, n: int) -> str:
    return " ".join(lot.choices(WORDS, k=n))


@contextlib.contextmanager
def null_server() -> Iterator[Server]:
    """A server that ends with the block."""
    process = subprocess.Popen([sys.executable, __file__], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield Server(process.stdout.readline().strip(), process.pid)
    finally:
        process.terminate()
        process.communicate()


def config_of(folder: Path, url: str, n: int) -> Config:
    """Of a run with `n` prompts, which are written into `folder`: one round, one principle, both orders."""
    folder.mkdir(parents=True, exist_ok=True)
    source = folder / "prompts.jsonl"
    with source.open("w", encoding="utf-8") as file:
        for i in range(n):
            prompt = f"Question {i} is about {_words(random.Random(i), 40)}, is it not?"
            file.write(json.dumps({"prompt": prompt, "kind": "question"}) + "\n")
    return Config(
        outputs=folder,
        constitution=LAW,
        prompts=Prompts(source=str(source)),
        serving=Serving(base_urls=(url,)),
        generation=Generation(rounds=1, max_tokens=256),
        judge=Judge(principles=1),
    )


def spec_of(config: Config) -> EngineSpec:
    """What the run's engines are opened with."""
    served = connect(config.serving.base_urls, config.serving)
    return EngineSpec.of(served, config.store_url, config.generation.concurrency)


def main() -> None:
    argparse.ArgumentParser(description="A null server that answers as a run of Charter needs it.").parse_args()
    with run_null_server(NullServer(answer=answer)) as server:
        print(server.url, flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            threading.Event().wait()


if __name__ == "__main__":
    main()

"""What benchmarks on vLLM share: a server of their own, whose cache of prefixes can be emptied between two runs."""

import asyncio
import contextlib
import json
import os
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from null_run import LAW, ROOT

from charter.config import Serving, load_config
from charter.inference import EngineSpec, Served, serve
from charter.inference.endpoints import DIRECT
from charter.pipeline.roles import model_folder
from charter.runs.dataset import make_tables


@contextlib.contextmanager
def vllm(model: str) -> Iterator[Served]:
    """A model, or the sandbox's, on a server that ends with the block."""
    os.environ["VLLM_SERVER_DEV_MODE"] = "1"  # has /reset_prefix_cache
    with (
        tempfile.TemporaryDirectory() as folder,
        serve(model_folder(model), Serving(), Path(folder) / "vllm.log", Path(model).name) as served,
    ):
        yield served


def warm_up(served: Served) -> None:
    """A small run: a server's first requests of each kind take seconds longer, which whoever goes first would pay."""
    with tempfile.TemporaryDirectory() as folder:
        changes = {"prompts.n": 100, "seed": 1, "constitution": str(LAW), "outputs": folder}
        config = load_config(ROOT / "configs" / "demo.yaml", changes)
        asyncio.run(make_tables(config, {"base": EngineSpec.of(served, config.store_url)}))


class EngineTime(NamedTuple):
    """What the main thread of a server's engine did so far, in seconds; the rest of the time it had nothing to do."""

    at_work: float
    waited: float
    """For a core, while others had all of them."""

    def since(self, before: "EngineTime") -> "EngineTime":
        """The part after `before`."""
        return EngineTime(self.at_work - before.at_work, self.waited - before.waited)


def engine_time(served: Served) -> EngineTime:
    """As Linux counts it; of a single engine, as `vllm` starts it."""
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it ended meanwhile
            name, _, fields = (process / "stat").read_text().partition("(")[2].rpartition(") ")
            if name.startswith("VLLM::Engine") and int(fields.split()[2]) == served.pid:
                at_work, waited, _ = (process / "schedstat").read_text().split()
                return EngineTime(int(at_work) / 1e9, int(waited) / 1e9)
    raise SystemExit("no engine of vLLM is among the processes of this machine.")


def forget_prefixes(base_url: str) -> None:
    """Empty the server's cache of prefixes, so that no run finds what another left."""
    url = f"{base_url.removesuffix('/v1')}/reset_prefix_cache"
    for _ in range(50):
        with DIRECT.open(urllib.request.Request(url, method="POST"), timeout=30) as response:
            if json.load(response)["success"]:
                return
        time.sleep(0.2)  # some requests were given up, and still hold their blocks
    raise SystemExit(f"{url}: the cache cannot be emptied; something else asks this server.")

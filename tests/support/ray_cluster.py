"""A private Ray cluster of two nodes on loopback, as `ray start` makes it; gone with its folder when the tests end."""

import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

NODES = 2
START_S = 300
# With ports of their own the agents of a node may take their time; else a raylet gives up on them after 15 seconds.
AGENTS = ("dashboard-agent-grpc", "dashboard-agent-listen", "metrics-export", "runtime-env-agent")


class RayCluster(NamedTuple):
    """Where it is, and what a process needs in its environment to be let in."""

    address: str
    environment: dict[str, str]


def missing() -> str | None:
    """Why no cluster can be started here, if so."""
    return None if find_spec("prefect_ray") else "no prefect-ray: pip install -e '.[ray]'"


@contextmanager
def run_ray(environment: Mapping[str, str], place: Path) -> Iterator[RayCluster]:
    """A cluster whose nodes have one CPU each; its processes have this environment, and work in this place."""
    folder = Path(tempfile.mkdtemp(prefix="ray-"))  # short, because a socket's path may have 107 characters
    ours = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32), "RAY_raylet_start_wait_time_s": "240"}
    address = f"127.0.0.1:{_free_port()}"
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        for node in range(NODES):
            log = folder / f"node-{node}.log"
            first = ["--head", f"--port={address.split(':')[1]}", f"--temp-dir={folder}", "--include-dashboard=false"]
            first.append(f"--ray-client-server-port={_free_port()}")
            which = first if node == 0 else [f"--address={address}"]
            stack.enter_context(_node(which, {**environment, **ours}, place, log))
        yield RayCluster(address, ours)


@contextmanager
def _node(which: list[str], environment: Mapping[str, str], place: Path, log: Path) -> Iterator[None]:
    options = ["--block", "--num-cpus=1", "--object-store-memory=80000000", "--node-ip-address=127.0.0.1"]
    options += ["--min-worker-port=0", "--max-worker-port=0", "--disable-usage-stats"]
    options += [f"--{agent}-port={_free_port()}" for agent in AGENTS]
    command = [sys.executable, "-m", "ray.scripts.scripts", "start", *which, *options]
    with log.open("w") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, cwd=place, env=dict(environment))
    try:
        deadline = time.monotonic() + START_S
        while "Ray runtime started" not in log.read_text():
            assert process.poll() is None and time.monotonic() < deadline, log.read_text()
            time.sleep(0.2)
        yield
    finally:
        process.terminate()  # with --block it ends what it started
        process.wait(60)


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])

"""Prefect's API server as a process that a test can kill and start again with the same database."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

START_S = 180.0
"""How long the server may take to answer on a machine whose cores are busy."""


@dataclass
class PrefectServer:
    """One server; its database is in `home`, so it knows after a restart what it knew before."""

    home: Path
    port: int
    _process: "subprocess.Popen[bytes] | None" = field(default=None, repr=False)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/api"

    @property
    def environment(self) -> dict[str, str]:
        """What a process needs to use this server."""
        return {**os.environ, "PREFECT_HOME": str(self.home), "PREFECT_API_URL": self.url}

    def start(self) -> None:
        """Start it and wait until it answers."""
        command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(self.port)]
        with (self.home / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                command, env=self.environment, stdout=log, stderr=log, start_new_session=True
            )
        deadline = time.monotonic() + START_S
        while not self._answers():
            assert self._process.poll() is None, (self.home / "server.log").read_text()
            assert time.monotonic() < deadline, f"no answer from {self.url} within {START_S:.0f} s"
            time.sleep(0.1)

    def kill(self) -> None:
        """Kill it and its children without a warning."""
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)  # it leads its own process group
            self._process.wait()
            self._process = None

    def read(self, path: str, **query: Any) -> list[dict[str, Any]]:
        """What a filter of the API gives, such as ``/flow_runs/filter``."""
        response = httpx.post(self.url + path, json=query, timeout=30)
        response.raise_for_status()
        found: list[dict[str, Any]] = response.json()
        return found

    def _answers(self) -> bool:
        try:
            return httpx.get(f"{self.url}/health", timeout=5).is_success
        except httpx.TransportError:
            return False


@contextmanager
def run_prefect_server(home: Path) -> Iterator[PrefectServer]:
    """A server on a free port, with its database in `home`."""
    home.mkdir(parents=True, exist_ok=True)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        server = PrefectServer(home, probe.getsockname()[1])
    try:
        server.start()
        yield server
    finally:
        server.kill()

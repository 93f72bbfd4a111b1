"""Start and stop Prefect on this machine: server, worker, watcher of constitutions. ``charter ui`` is the command."""

import asyncio
import fcntl
import socket
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from charter.core.errors import ConfigError
from charter.inference.network import DIRECT
from flows.cockpit.daemon import Daemon
from flows.cockpit.settings import POOL, ROOT, Cockpit, keep_cockpit, plan_cockpit

_UP_S = 180.0
REGISTER_S = 180.0
"""The longest time that registering may take before the server is started once more."""
_WORKER_S = 60.0  # it gives its flow runs half a minute to end


def start(home: Path, port: int | None, deployments: Path, constitutions: Path) -> None:
    """Start what does not run yet, register what is not registered yet, and say where to look.

    Raises:
        CharterError: the port is taken, a process ended by itself, or a deployment cannot be registered.
    """
    with _alone(home):
        server, worker, watcher = _daemons(home)
        cockpit = plan_cockpit(home, None if server.running() else port)
        if not server.running():
            _check_port(cockpit)
            keep_cockpit(cockpit)
            server.start(_python("prefect", "server", "start"), cockpit.server(), ROOT)
        _wait(cockpit, server)
        from flows.cockpit.orphans import end_orphans  # Prefect is slow to import, and stopping does without
        from flows.cockpit.register import register

        try:
            registered = asyncio.run(asyncio.wait_for(register(cockpit, deployments, REGISTER_S), REGISTER_S))
        except TimeoutError:
            # Prefect's server was seen to deadlock while automations are created; a new process answers.
            server.stop()
            server.start(_python("prefect", "server", "start"), cockpit.server(), ROOT)
            _wait(cockpit, server)
            try:
                registered = asyncio.run(asyncio.wait_for(register(cockpit, deployments, REGISTER_S), REGISTER_S))
            except TimeoutError as error:
                raise ConfigError(
                    f"server '{cockpit.address}': did not register the deployments within {REGISTER_S:.0f} s, twice. "
                    f"Look at {server.log}, then run `charter ui stop` and `charter ui start` again."
                ) from error
        crashed = [] if worker.running() else asyncio.run(end_orphans(cockpit))
        worker.start(_python("prefect", "worker", "start", "--pool", POOL, "--name", "local"), cockpit.client(), ROOT)
        watcher.start(_python("charter", "constitution", "watch", str(constitutions)), cockpit.client(), ROOT)
    sys.stdout.write("".join(f"Crashed         {name}: its process is gone; start it again\n" for name in crashed))
    sys.stdout.write(_welcome(cockpit, registered))


def stop(home: Path) -> None:
    """End the watcher, the worker with its runs, and the server; what they know stays for the next start."""
    with _alone(home):
        ended = [daemon.name for daemon in reversed(_daemons(home)) if daemon.stop()]
    sys.stdout.write(f"Ended: {', '.join(ended)}.\n" if ended else "Nothing was running.\n")


def _daemons(home: Path) -> tuple[Daemon, Daemon, Daemon]:
    return Daemon("server", home), Daemon("worker", home, _WORKER_S), Daemon("watcher", home)


def _python(module: str, *arguments: str) -> list[str]:
    return [sys.executable, "-m", module, *arguments]


@contextmanager
def _alone(home: Path) -> Iterator[None]:
    """Let one command at a time start or stop things."""
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    with (home / "ui.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _check_port(cockpit: Cockpit) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", cockpit.port))
        except OSError as error:
            raise ConfigError(
                f"port '{cockpit.port}': in use by another program. Name a free one, such as --port {cockpit.port + 1}."
            ) from error


def _wait(cockpit: Cockpit, server: Daemon) -> None:
    deadline = time.monotonic() + _UP_S
    while not _answers(cockpit):
        server.check()
        if time.monotonic() > deadline:
            raise ConfigError(f"server '{cockpit.address}': no answer after {_UP_S:.0f} s. Look at {server.log}.")
        time.sleep(0.5)


def _answers(cockpit: Cockpit) -> bool:
    try:
        with DIRECT.open(urllib.request.Request(f"{cockpit.api}/health"), timeout=5) as response:
            return bool(response.status == 200)
    except OSError:
        return False


def _welcome(cockpit: Cockpit, registered: bool) -> str:
    return (
        f"Prefect is at {cockpit.address}\n"
        f"Sign in with    {cockpit.login}\n"
        f"Deployments     {'registered' if registered else 'as before'}; start one under Deployments, Custom run\n"
        f"Logs and state  {cockpit.home}\n"
        "It runs until `charter ui stop` (or `make ui-stop`).\n"
    )

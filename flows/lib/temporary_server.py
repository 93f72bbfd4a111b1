"""Prefect's temporary server, which it starts where no other is named: kept out of reach of the terminal's Ctrl-C.

A terminal sends Ctrl-C to every process in the foreground. The server would end immediately, and a run that
finishes its calls in flight would wait for it in vain.
"""

import os
import signal
import subprocess
from typing import Any

from prefect.settings import PREFECT_API_URL, PREFECT_SERVER_ALLOW_EPHEMERAL_MODE

from charter.core.errors import ConfigError

STARTUP_S = 180
"""Prefect's own limit is 20 s, and the first start of all, which makes the database, was seen to take 22 s."""

_processes = list[subprocess.Popen[Any]]()


def start_server() -> None:
    """Start the server if the flow would; it ends with this process. Ctrl-C waits until it is up. Safe to repeat.

    Raises:
        ConfigError: the server did not answer in time.
    """
    if _processes or PREFECT_API_URL.value() or not PREFECT_SERVER_ALLOW_EPHEMERAL_MODE.value():
        return
    from prefect.server.api.server import SubprocessASGIServer  # the whole server, which takes seconds to import

    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # inherited by what is started
    try:
        server = SubprocessASGIServer()  # the one that the flow will find
        os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")  # pyproject.toml says so only in a checkout
        server.start(timeout=STARTUP_S)
    except RuntimeError as error:
        raise ConfigError(
            f"Prefect's temporary server: did not answer within {STARTUP_S} s: {error} Run the command again, or start "
            "a server that stays (`charter ui start`) and set PREFECT_API_URL to its address."
        ) from error
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    if server.server_process is not None:
        _processes.append(server.server_process)


def end_server() -> None:
    """Have the server end without waiting for it: for a process that is about to exit."""
    for process in _processes:
        process.terminate()

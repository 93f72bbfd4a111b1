"""Prefect's temporary server, which it starts where no other is named: kept out of reach of the terminal's Ctrl-C.

A terminal sends Ctrl-C to every process in the foreground. The server would end at once, and a run that finishes its
calls in flight would wait in vain to tell it so.
"""

import signal
import subprocess
from typing import Any

from prefect.settings import PREFECT_API_URL, PREFECT_SERVER_ALLOW_EPHEMERAL_MODE

_processes = list[subprocess.Popen[Any]]()


def start_server() -> None:
    """Start the server if the flow would; it ends with this process. Ctrl-C waits until it is up. Twice is harmless."""
    if _processes or PREFECT_API_URL.value() or not PREFECT_SERVER_ALLOW_EPHEMERAL_MODE.value():
        return
    from prefect.server.api.server import SubprocessASGIServer  # the whole server, which takes seconds to import

    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # inherited by what is started
    try:
        server = SubprocessASGIServer()  # the one that the flow will find
        server.start()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    if server.server_process is not None:
        _processes.append(server.server_process)


def end_server() -> None:
    """Have the server end without waiting for it: for a process that is about to exit at once."""
    for process in _processes:
        process.terminate()

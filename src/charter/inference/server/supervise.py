"""Runs one command as the leader of a process group, and ends the whole group when its parent is gone.

A death signal reaches only a direct child, and only while the thread that started it lives; vLLM
has further processes of its own. So this small process stands between: it holds one end of a pipe
whose other end is the parent's. However the parent dies, SIGKILL included, the pipe closes, and
the group is ended.

Run as a file, ``python -I supervise.py FD PIDFILE COMMAND...``, with the standard library alone: it starts
in some tens of milliseconds and needs neither charter nor its environment.
"""

import contextlib
import ctypes
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import FrameType

_POLL_S = 0.25
_GRACE_S = 5.0
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36


def main(arguments: list[str]) -> int:
    """Run the command until it ends, the parent goes, or a signal comes; then end what is left of the group."""
    pipe, pid_file, command = int(arguments[0]), Path(arguments[1]), arguments[2:]
    parent = os.getppid()
    asked_to_end: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        asked_to_end.append(number)

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, note)
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)  # orphans of the group come to this process, so that it can wait for them
    # The death signal covers the case that this process itself is killed; it has a single thread, so it is safe here.
    pid_file.write_text(f"{os.getpid()}\n", encoding="ascii")
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL, preexec_fn=_die_with_parent)
    while child.poll() is None and not asked_to_end and os.getppid() == parent and not _closed(pipe):
        pass
    status = child.poll()
    if status is not None:
        sys.stdout.write(f"[charter] the server's process ended with status {status}\n")
        sys.stdout.flush()
    pid_file.unlink(missing_ok=True)
    _end_group()
    return 1 if status is None else status & 0xFF


def _closed(pipe: int) -> bool:
    """Wait a moment, and say whether the other end has been closed."""
    with contextlib.suppress(InterruptedError):
        readable, _, _ = select.select([pipe], [], [], _POLL_S)
        return bool(readable) and os.read(pipe, 1) == b""
    return False


def _end_group() -> None:
    """SIGTERM to all, and SIGKILL to whatever remains after the grace period (which takes this process too)."""
    group = os.getpgrp()
    os.killpg(group, signal.SIGTERM)
    deadline = time.monotonic() + _GRACE_S
    while time.monotonic() < deadline:
        try:
            if os.waitpid(-1, os.WNOHANG)[0] == 0:
                time.sleep(0.02)
        except ChildProcessError:
            return
    os.killpg(group, signal.SIGKILL)


def _die_with_parent() -> None:
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

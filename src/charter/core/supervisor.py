"""Runs one command as the leader of a process group, and ends the whole group when its parent is gone.

A death signal reaches only a direct child, and only while the thread that started it lives; vLLM and launchers of
training have further processes. So this small process stands between: it holds one end of a pipe whose other end is
the parent's. However the parent dies, SIGKILL included, the pipe closes, and the group is ended.

Run as a file, ``python -I supervisor.py FD PIDFILE COMMAND...``, with the standard library alone: it starts
in some tens of milliseconds and needs neither charter nor its environment.
"""

import contextlib
import ctypes
import os
import resource
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import FrameType

MARK = "[charter] "
"""Begins the line that is added to the command's output."""

_POLL_S = 0.25
_GRACE_S = 5.0
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36


def main(arguments: list[str]) -> int:
    """Run the command until it ends, the parent goes, or a signal comes; then end what is left of the group.

    Exits as the command did: with its status, or by the same signal.
    """
    pipe, pid_file, command = int(arguments[0]), Path(arguments[1]), arguments[2:]
    parent = os.getppid()
    signals: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        signals.append(number)

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, note)
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)  # orphans of the group come to this process, so that it can wait for them
    if sys.platform == "linux":
        # The driver's thread runs as SCHED_BATCH, which children inherit. It makes a thread yield to others; a server
        # or trainer is what the driver should yield to.
        with contextlib.suppress(OSError):  # forbidden in some containers
            if os.sched_getscheduler(0) == os.SCHED_BATCH:
                os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
    pid_file.write_text(f"{os.getpid()}\n", encoding="ascii")
    # The death signal covers the case that this process itself is killed; it has a single thread, so it is safe here.
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL, preexec_fn=die_with_parent)
    is_closed = False
    while child.poll() is None and not signals and os.getppid() == parent and not is_closed:
        with contextlib.suppress(InterruptedError):
            readable, _, _ = select.select([pipe], [], [], _POLL_S)
            # Nothing is ever written to the pipe: it is readable only when its other end is closed.
            is_closed = bool(readable) and os.read(pipe, 1) == b""
    status = child.poll()
    if status is not None:
        sys.stdout.write(f"{MARK}the process ended with status {status}\n")
        sys.stdout.flush()
    pid_file.unlink(missing_ok=True)
    _end_group()
    if status is None:
        return 1
    if status < 0:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # the command's core dump is enough
        with contextlib.suppress(OSError):  # SIGKILL has no handler that could be reset
            signal.signal(-status, signal.SIG_DFL)
        os.kill(os.getpid(), -status)
    return status


def _end_group() -> None:
    """SIGTERM to all, and SIGKILL to whatever remains after the grace period (which ends this process too)."""
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


def die_with_parent() -> None:
    """Have the kernel kill this process when the thread that started it ends; does nothing outside Linux."""
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""Child processes: a command with everything it starts, as one group that ends together with this process.

vLLM servers, training steps and benchmark tools are all started here. Their output goes to a file, not to a pipe:
an orphan that held a pipe open would hide a crash. The group's number is in ``LOG.pid`` while it runs.
"""

import contextlib
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from charter.core import supervisor
from charter.core.errors import ConfigError, Interrupted

OnLine = Callable[[str], None]

_END_S = 15.0
_KILLED_S = 2.0
_POLL_S = 0.1

logger = logging.getLogger(__name__)


def pid_file(log: Path) -> Path:
    """The file with the group's number; it exists while the command runs."""
    return log.with_name(log.name + ".pid")


class ProcessGroup:
    """A running command and all its processes; made by `start_group`."""

    def __init__(self, popen: "subprocess.Popen[bytes]", lifeline: int, log: Path, offset: int) -> None:
        self._popen = popen
        self._lifeline: int | None = lifeline  # our end of the supervisor's pipe: closing it ends the group
        self.log = log
        self.offset = offset
        """Where this group's part of the log begins, in bytes."""

    @property
    def pid(self) -> int:
        """The number of the process group, and of the supervisor that leads it."""
        return self._popen.pid

    def running(self) -> bool:
        """Whether the command still runs."""
        return self._popen.poll() is None

    @property
    def status(self) -> int:
        """The exit status of a command that has ended; negative if a signal ended it."""
        return self._popen.wait()

    def end(self, kill: bool = False) -> None:
        """End all processes of the group and wait until they are gone. Safe to repeat.

        Args:
            kill: with SIGKILL, immediately; otherwise only those that ignore SIGTERM are killed.
        """
        if self._lifeline is None:
            return
        # The supervisor reads the end of its pipe and ends the group; see its module.
        os.close(self._lifeline)
        self._lifeline = None
        try:
            if not kill:
                self._popen.wait(_END_S)
        except subprocess.TimeoutExpired:
            logger.warning("the processes of %s did not end by themselves; killing them", self.log)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)
            self._popen.wait()
            # The kernel ends killed processes a moment later; they must not hold a port or GPU memory any more.
            deadline = time.monotonic() + _KILLED_S
            with contextlib.suppress(ProcessLookupError):
                while time.monotonic() < deadline:
                    os.killpg(self.pid, 0)
                    time.sleep(0.01)
            pid_file(self.log).unlink(missing_ok=True)


def start_group(command: Sequence[str], log: Path, environment: Mapping[str, str]) -> ProcessGroup:
    """Start a command in its own session, its output appended to a file.

    It ends with `ProcessGroup.end`, or when this process is gone for whatever reason; see `charter.core.supervisor`.

    Raises:
        ConfigError: the log cannot be written.
    """
    log = log.absolute()
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        output = log.open("ab")
    except OSError as error:
        raise ConfigError(f"log '{log}': cannot be written ({error.strerror}). Name another folder.") from error
    # Safe from any thread: a pipe closes when the whole process ends. A death signal (PR_SET_PDEATHSIG) would already
    # come when the thread that forked ends, so only the supervisor uses one, and it has a single thread.
    theirs, ours = os.pipe()
    with output:
        offset = output.tell()
        try:
            popen = subprocess.Popen(
                [sys.executable, "-I", supervisor.__file__, str(theirs), str(pid_file(log)), *command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                pass_fds=(theirs,),
                start_new_session=True,
                env=environment,
            )
        except BaseException:
            os.close(ours)
            raise
        finally:
            os.close(theirs)
    return ProcessGroup(popen, ours, log, offset)


def follow(
    command: Sequence[str],
    log: Path,
    environment: Mapping[str, str],
    files: Mapping[Path, OnLine],
    stop: threading.Event | None = None,
) -> int:
    """Run a command to its end, pass each new whole line of each of `files` to its function; the exit status.

    However this function ends, the whole group has ended: with SIGKILL, as training's checkpoints survive that.

    Raises:
        Interrupted: another thread set `stop`.
    """
    stop = stop or threading.Event()
    tails = [(_Tail(path), on_line) for path, on_line in files.items()]
    group = start_group(command, log, environment)
    try:
        running = True
        while running:
            running = group.running()  # asked before the last read, so that nothing is written after it
            for tail, on_line in tails:
                for line in tail.read():
                    on_line(line)
            if running and stop.wait(_POLL_S):
                raise Interrupted(f"process of {log}: ended early, as the run was stopped.")
    finally:
        group.end(kill=True)
    return group.status


class _Tail:
    """The lines added to a file since the last look."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = path.stat().st_size if path.is_file() else 0

    def read(self) -> list[str]:
        """New lines; an unfinished last line is left for the next call."""
        if not self._path.is_file():
            return []
        with self._path.open("rb") as file:
            file.seek(self._offset)
            new = file.read()
        # A line that is being written is left for the next call.
        whole = new[: new.rfind(b"\n") + 1]
        self._offset += len(whole)
        return whole.decode().splitlines()


def last_lines(log: Path, n: int) -> str:
    """The last `n` lines of a command's output, indented for an error message; empty if there are none."""
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines() if log.is_file() else []
    return "\n".join(f"  {line}" for line in [line for line in lines if not line.startswith(supervisor.MARK)][-n:])

"""A command with everything it starts, as one group that ends together with this process."""

import contextlib
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from charter.core.errors import ServingError
from charter.inference.server import supervise

_END_S = 15.0
_KILLED_S = 2.0

logger = logging.getLogger(__name__)


def pid_file(log: Path) -> Path:
    """Where the group's number stands while it lives."""
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

    def end(self) -> None:
        """Ask all to end, wait until they have, and kill what has not. Twice is harmless."""
        if self._lifeline is None:
            return
        os.close(self._lifeline)
        self._lifeline = None
        try:
            self._popen.wait(_END_S)
        except subprocess.TimeoutExpired:
            logger.warning("the processes of %s did not end by themselves; killing them", self.log)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)
            self._popen.wait()
            self._wait_for_the_killed()
            pid_file(self.log).unlink(missing_ok=True)

    def _wait_for_the_killed(self) -> None:
        deadline = time.monotonic() + _KILLED_S
        with contextlib.suppress(ProcessLookupError):
            while time.monotonic() < deadline:
                os.killpg(self.pid, 0)
                time.sleep(0.01)


def start_group(command: Sequence[str], log: Path, environment: dict[str, str]) -> ProcessGroup:
    """Start a command in a session of its own, its output appended to a file.

    It ends with `ProcessGroup.end`, or when this process is gone for whatever reason: see `supervise`.

    Raises:
        ServingError: the log cannot be written.
    """
    log = log.absolute()
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        output = log.open("ab")
    except OSError as error:
        raise ServingError(f"log '{log}': cannot be written ({error.strerror}). Name another folder.") from error
    theirs, ours = os.pipe()
    supervisor = [sys.executable, "-I", supervise.__file__, str(theirs), str(pid_file(log))]
    with output:
        offset = output.tell()
        try:
            popen = subprocess.Popen(
                [*supervisor, *command],
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

"""A process that continues when the command that started it has ended.

A lock that the process inherits shows whether it lives: it is held until the process ends, however it ends, and a
process number that the system has given to another process cannot be mistaken for it. This is why the server is not
started by ``prefect server start --background``, which trusts the number alone.
"""

import contextlib
import fcntl
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from charter.core.errors import ConfigError

_LOOK_S = 0.1
_LAST_LINES = 15

_left: "list[subprocess.Popen[bytes]]" = []
"""Processes that this one leaves behind on purpose; one that is forgotten warns that it still runs."""


@dataclass(frozen=True)
class Daemon:
    """One of the cockpit's processes: ``NAME.lock`` and ``NAME.log`` in its home."""

    name: str
    home: Path
    patience_s: float = 15.0
    """How long it may take to end once it has been asked."""

    @property
    def log(self) -> Path:
        """Its output."""
        return self.home / f"{self.name}.log"

    def running(self) -> bool:
        """Whether it lives."""
        with self._lock.open("a+") as file:
            return not _take(file.fileno())

    def start(self, command: Sequence[str], environment: Mapping[str, str], folder: Path) -> None:
        """Start it in a separate session, unless it runs already."""
        # Append mode: opening must not erase the process number of a daemon that runs.
        with self._lock.open("a+") as lock, self.log.open("ab") as log:
            if not _take(lock.fileno()):
                return
            lock.truncate(0)
            # The process writes its own number before it becomes the command. If its starter wrote it, a starter
            # that is killed in between would leave a process that no command can end.
            shell = ["/bin/sh", "-c", 'echo $$ > "$0" && exec "$@"', str(self._lock.absolute())]
            process = subprocess.Popen(
                [*shell, *command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                pass_fds=(lock.fileno(),),  # the lock is held for as long as the process lives
                env=dict(environment),
                cwd=folder,
            )
            _left.append(process)

    def stop(self) -> bool:
        """Ask it to end, wait, and kill what has not ended of its group; whether there was anything to do."""
        # Between its start and its first step it holds the lock and has not written its number yet.
        while (running := self.running()) and not (number := self._lock.read_text().strip()):
            time.sleep(_LOOK_S)
        if not running:
            return False
        leader = int(number)
        with contextlib.suppress(ProcessLookupError):
            os.kill(leader, signal.SIGTERM)
        deadline = time.monotonic() + self.patience_s
        while self.running() and time.monotonic() < deadline:
            time.sleep(_LOOK_S)
        # Also after an orderly end: its children have its group, and may have survived it.
        with contextlib.suppress(ProcessLookupError):
            # Without it, a child that ignores SIGTERM would keep the lock, and the next start would find it running.
            os.killpg(leader, signal.SIGKILL)
        while self.running():
            time.sleep(_LOOK_S)
        return True

    def check(self) -> None:
        """See that it still lives.

        Raises:
            ConfigError: it has ended; its last lines are shown.
        """
        if not self.running():
            lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-_LAST_LINES:]
            shown = "\n".join(f"  {line}" for line in lines)
            raise ConfigError(f"{self.name}: it ended by itself. The whole log is {self.log}.\n{shown}")

    @property
    def _lock(self) -> Path:
        return self.home / f"{self.name}.lock"


def _take(file: int) -> bool:
    """Take the lock for as long as the file is open. Returns whether the lock was acquired."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True

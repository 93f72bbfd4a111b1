"""A child process in a group of its own, whose files of JSON lines are followed while it runs."""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path

PARENT = "CHARTER_TRAINING_PARENT"
"""The environment variable that tells the child its parent's process id, see `charter.training.child`."""

OnLine = Callable[[str], None]

_POLL_S = 0.1


def is_first() -> bool:
    """Whether this is the process that writes; launchers number them in RANK."""
    return int(os.environ.get("RANK", "0")) == 0


def follow(command: list[str], environment: dict[str, str], log: Path, files: Mapping[Path, OnLine]) -> int:
    """Run `command`, hand each new whole line of each of `files` to its function, and return the exit status.

    Output goes to the file `log`, not to a pipe: an orphan that held a pipe would hide a crash. However this
    function ends, the child's whole group has ended.
    """
    with log.open("ab") as output:
        process = subprocess.Popen(
            command,
            env=environment | {PARENT: str(os.getpid())},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    tails = [(_Tail(path), on_line) for path, on_line in files.items()]
    try:
        running = True
        while running:
            running = process.poll() is None  # asked before the last look, so that nothing is written after it
            for tail, on_line in tails:
                for line in tail.read():
                    on_line(line)
            if running:
                time.sleep(_POLL_S)
    finally:
        _end_group(process)
    return process.returncode


def _end_group(process: subprocess.Popen[bytes]) -> None:
    """Kill what is left of the group: checkpoints are made to survive it, so nothing is asked to tidy up first."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


class _Tail:
    """The lines that were added to a file since the last look."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = path.stat().st_size if path.is_file() else 0

    def read(self) -> list[str]:
        """New lines; a last one that is not ended yet is left for the next time."""
        if not self._path.is_file():
            return []
        with self._path.open("rb") as file:
            file.seek(self._offset)
            new = file.read()
        whole = new[: new.rfind(b"\n") + 1]
        self._offset += len(whole)
        return whole.decode().splitlines()

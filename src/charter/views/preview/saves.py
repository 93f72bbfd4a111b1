"""Files that somebody is writing: what they were when they were read, and when they have been saved since."""

import asyncio
import hashlib
from pathlib import Path

from charter.constitution.source import LARGEST_FILE, read_file


class Files:
    """Keeps what the files that it read were like. A new one for each reading.

    It looks at their content, several times a second: that sees editors that write into the file as well as
    those that put another in its place, on any file system, and a save that changes nothing is none.
    """

    def __init__(self) -> None:
        self._read: dict[Path, str | None] = {}

    @property
    def paths(self) -> tuple[Path, ...]:
        """The files read so far, those that were missing included."""
        return tuple(self._read)

    def read(self, path: Path) -> bytes:
        """The content of a constitution's file; a reader for `load_constitution`.

        Raises:
            BrokenConstitution: missing, or larger than 1 MiB.
        """
        self._read[path] = _content(path)  # looked at before it is read, so that no save falls in between
        return read_file(path)

    async def saved(self, poll_s: float = 0.1) -> None:
        """Return once one of the files has changed and then stood still for `poll_s`: editors write in steps."""
        while (now := self._look()) == self._read:
            await asyncio.sleep(poll_s)
        before = self._read
        while now != before:
            await asyncio.sleep(poll_s)
            before, now = now, self._look()

    def _look(self) -> dict[Path, str | None]:
        return {path: _content(path) for path in self._read}


def _content(path: Path) -> str | None:
    try:
        with path.open("rb") as file:
            return hashlib.sha256(file.read(LARGEST_FILE + 1)).hexdigest()
    except OSError:
        return None

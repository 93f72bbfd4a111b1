"""Files: whole or not at all, on the disk before they count, and one clear error when it is full."""

import errno
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from charter.core.errors import DataError

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""What a write fails with when a disk, a quota or a limit on files is full."""


@contextmanager
def enough_room() -> Iterator[None]:
    """Tell of a full disk as of any mistake; what else goes wrong with files stays as it is.

    Raises:
        DataError: there was no room for what the block wrote.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in FULL:
            raise
        raise DataError(
            f"file '{error.filename or 'of a run'}': cannot be written: {error.strerror}. Free some space on its disk "
            "and run the same command again: all answers are kept."
        ) from error


def read_json(path: Path) -> Any:
    """What a JSON file holds; None where there is none."""
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def write_json(path: Path, value: Any) -> Path:
    """Write JSON, whole or not at all."""
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    os.replace(partial, path)
    return path


def sync_tree(folder: Path) -> None:
    """Write everything in `folder` through to the disk, files before the folders that name them."""
    for path in sorted(folder.rglob("*"), key=lambda path: -len(path.parts)):
        sync(path)
    sync(folder)


def sync(path: Path) -> None:
    """Write one file, or the entries of one folder, through to the disk."""
    opened = os.open(path, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)

"""Files and folders that appear complete and durable or not at all; locks; one clear error for a full disk."""

import errno
import fcntl
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from charter.core.errors import CharterError, DataError

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""Error numbers of a write to a full disk, over a quota, or over a limit on the size of files."""


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Give a temporary path to write to; when the block ends without an error, the file replaces `path`.

    A reader sees the old file or the complete new one, also after a power cut. Missing parent folders are made.
    """
    if not isinstance(path, Path):
        # A `UPath` on S3 has no rename and no fsync. An object appears only when its upload is complete.
        with TemporaryDirectory(prefix="charter-") as folder:
            yield (unfinished := Path(folder) / path.name)
            path.fs.put_file(str(unfinished), path.path)
        return
    # The process id keeps two processes that write the same file apart: the last rename wins, nothing is mixed.
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.unfinished")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        yield unfinished
        # Without this, a file system may rename before it has written the content: an empty file after a power cut.
        sync(unfinished)
        os.replace(unfinished, path)
        sync(path.parent)
    finally:
        unfinished.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Give a new, empty folder to fill; when the block ends without an error, it becomes `path`.

    Raises:
        OSError: `path` is a file, or a folder that is not empty.
    """
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.unfinished")
    try:
        unfinished.mkdir(parents=True)
        yield unfinished
        sync_tree(unfinished)
        os.replace(unfinished, path)
        sync(path.parent)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def write_bytes_atomic(path: Path, content: bytes) -> Path:
    """Write a file that is never seen incomplete, and is on the disk when this returns."""
    with atomic_path(path) as unfinished:
        unfinished.write_bytes(content)
    return path


def write_text_atomic(path: Path, text: str) -> Path:
    """Like `write_bytes_atomic`, for text in UTF-8."""
    return write_bytes_atomic(path, text.encode())


def write_json(path: Path, value: Any) -> Path:
    """Like `write_bytes_atomic`, for a value as indented JSON."""
    return write_text_atomic(path, json.dumps(value, indent=1, ensure_ascii=False) + "\n")


def read_json(path: Path) -> Any:
    """The value in a JSON file; None if the file does not exist."""
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def sync_tree(folder: Path) -> None:
    """Write everything in `folder` through to the disk, files before the folders that name them."""
    # The deepest first: a folder's entry is durable only when the folder itself is synced.
    for path in sorted(folder.rglob("*"), key=lambda path: -len(path.parts)):
        sync(path)
    sync(folder)


def sync(path: Path) -> None:
    """Write one file, or the list of entries of one folder, through to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def file_lock(path: Path, busy: CharterError | None = None) -> Iterator[None]:
    """Hold the lock file `path`, made if missing. The system frees the lock when the process ends, however it ends.

    Args:
        path: the lock file; it stays when the lock is released.
        busy: raised if another process holds the lock; without it, wait for that process.

    Raises:
        OSError: the file cannot be written, or its file system has no locks; the error names the file.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        try:
            # Not a file that says "locked": that would stay behind after a kill and lock everyone out.
            fcntl.flock(file, fcntl.LOCK_EX | (fcntl.LOCK_NB if busy else 0))
        except BlockingIOError as error:
            raise (busy or error) from error
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(path)) from error
        yield


@contextmanager
def disk_full_as_data_error() -> Iterator[None]:
    """Turn the error of a full disk into a `DataError` that says what to do; other errors pass unchanged.

    Raises:
        DataError: the disk had no room for what the block wrote.
    """
    try:
        yield
    except OSError as error:
        # Other errors, such as missing permission, need other advice.
        if error.errno not in FULL:
            raise
        raise DataError(
            f"file '{error.filename or 'of a run'}': cannot be written: {error.strerror}. Free some space on its disk "
            "and run the same command again: all answers are kept."
        ) from error

"""The SQLite file of a store: opened, brought to today's format, and its errors with what to do about them.

Format 1 had key and value only. Format 2 adds which model wrote an entry and when. A file of format 1 gets the two
columns when it is opened, at once and without being rewritten; what is in it is found as before.
"""

import contextlib
import shutil
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

from charter.core.errors import StoreError
from charter.core.files import FULL

FORMAT = 2
"""Kept in the file as ``PRAGMA user_version``."""
_BUSY_S = 300.0
"""How long another process's transaction is waited for; `charter store vacuum` on a large store is the longest."""
_CACHE_KIB = 16_384
# Entries in the order in which they come, an index of keys beside them: an answer of 2,000 characters takes 1,415 bytes
# on disk, one of 800 takes 630, one of 60 takes 174. Sorted by key (WITHOUT ROWID, as in format 1) these took 4,662,
# 699 and 143: what is longer than a quarter of a page had a page of its own.
_COMPLETIONS = (
    "CREATE TABLE completions (key BLOB NOT NULL UNIQUE, value BLOB NOT NULL, model INTEGER, created INTEGER)"
)
_MODELS = "CREATE TABLE IF NOT EXISTS models (id INTEGER PRIMARY KEY, identity TEXT NOT NULL UNIQUE)"


def open_file(path: Path) -> sqlite3.Connection:
    """A connection in WAL mode that commits to the disk itself, to a file in today's format; made if there is none.

    Raises:
        StoreError: the file cannot be used, is no store, or was made by a later version.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(path, timeout=_BUSY_S, isolation_level=None, check_same_thread=False)
    except (OSError, sqlite3.Error) as error:
        raise store_error(path, error) from error
    try:
        _refuse_others(connection, path)
        _enter_wal(connection)
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
        _bring_up_to_date(connection)
    except sqlite3.Error as error:
        connection.close()
        raise store_error(path, error) from error
    except StoreError:
        connection.close()
        raise
    return connection


def size_of(path: Path) -> int:
    """The bytes on disk, what waits in the write-ahead log included."""
    files = [Path(f"{path}{suffix}") for suffix in ("", "-wal")]
    return sum(file.stat().st_size for file in files if file.exists())


@contextlib.contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """Commit at the end of the block; if anything goes wrong, nothing of it was done."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        with contextlib.suppress(sqlite3.Error):  # a full disk may have rolled back already
            connection.execute("ROLLBACK")
        raise


def store_error(path: Path, error: Exception) -> StoreError:
    """What went wrong with the file, and what to do."""
    text = str(error).lower()
    if "not a database" in text or "malformed" in text:
        fix = "Move the file away (its completions will be asked again), or name another: 'store: PATH'."
    elif "locked" in text:
        fix = "Another process holds it; wait for it, or name another file: 'store: PATH'."
    elif _no_room(path, error):
        fix = (
            "Free some space on its disk and run the same command again (nothing that was kept is lost), "
            "or move the file: 'store: PATH'."
        )
    else:
        fix = "Name a file in a folder that you may write to: 'store: PATH'."
    return StoreError(f"store '{path}': {error}. {fix}")


def _no_room(path: Path, error: Exception) -> bool:
    """SQLite says "full", or "I/O error" where a limit on files or the log's index met the disk's end."""
    if getattr(error, "errno", None) in FULL or any(sign in str(error).lower() for sign in ("full", "disk i/o")):
        return True
    with contextlib.suppress(OSError):
        return shutil.disk_usage(path.parent).free < 2**16
    return False


def _refuse_others(connection: sqlite3.Connection, path: Path) -> None:
    tables = {row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if tables and "completions" not in tables:
        raise StoreError(f"store '{path}': a database of another program. Name another file: 'store: PATH'.")
    if (version := _version(connection)) > FORMAT:
        raise StoreError(
            f"store '{path}': written by a later version of Charter (format {version}, this one knows {FORMAT}). "
            "Upgrade Charter, or name another file: 'store: PATH'."
        )


def _bring_up_to_date(connection: sqlite3.Connection) -> None:
    if _version(connection) == FORMAT:
        return
    with transaction(connection):
        columns = {row[1] for row in connection.execute("PRAGMA table_info(completions)")}
        if not columns:
            connection.execute(_COMPLETIONS)
        elif "created" not in columns:
            connection.execute("ALTER TABLE completions ADD COLUMN model INTEGER")
            connection.execute("ALTER TABLE completions ADD COLUMN created INTEGER")
        connection.execute(_MODELS)
        connection.execute(f"PRAGMA user_version = {FORMAT}")


def _version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def _enter_wal(connection: sqlite3.Connection) -> None:
    """Switch to WAL; SQLite does not wait by itself here when another process is doing the same."""
    deadline = time.monotonic() + _BUSY_S
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
        time.sleep(0.02)

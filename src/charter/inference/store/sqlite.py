"""A store in one SQLite file, for the processes of one machine.

Durable per call: `put` returns after its transaction is committed with ``synchronous=FULL``, which survives a kill and
a loss of power. All waiting puts are committed together.

Format 1 had key and value only. Format 2 adds which model wrote an entry, and when. A file of format 1 gets the two
columns when it is opened, immediately and without a rewrite; its entries are found as before.

The statements go to the driver directly. Through SQLAlchemy Core a get takes 5 times the CPU time (55 instead of 10 µs)
and a put twice (35 instead of 18 µs).
"""

import contextlib
import shutil
import sqlite3
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from charter.config.addresses import display_address
from charter.core.errors import StoreError
from charter.core.files import FULL
from charter.inference.store.batches import Batches
from charter.inference.store.entries import EntryCounts, pack
from charter.inference.store.protocol import Put, Row, StoreStats

FORMAT = 2
"""Kept in the file as ``PRAGMA user_version``."""
_BUSY_S = 300.0
"""Seconds to wait for another process's transaction; `charter store vacuum` on a large store is the longest."""
_CACHE_KIB = 16_384
# Entries in the order of their arrival, with a separate index of keys: an answer of 2,000 characters takes 1,415 bytes
# on disk, one of 800 takes 630, one of 60 takes 174. Sorted by key (WITHOUT ROWID, as in format 1) these took 4,662,
# 699 and 143: an entry longer than a quarter of a page got a separate page.
_COMPLETIONS = (
    "CREATE TABLE completions (key BLOB NOT NULL UNIQUE, value BLOB NOT NULL, model INTEGER, created INTEGER)"
)
_MODELS = "CREATE TABLE IF NOT EXISTS models (id INTEGER PRIMARY KEY, identity TEXT NOT NULL UNIQUE)"
_GET = "SELECT value FROM completions WHERE key = ?"
_NEW_MODEL = "INSERT OR IGNORE INTO models (identity) VALUES (?)"
_PUT = """
INSERT OR REPLACE INTO completions (key, value, model, created)
VALUES (?, ?, (SELECT id FROM models WHERE identity = ?), ?)
"""


class SqliteStore:
    """One SQLite file in WAL mode; any number of processes may share it.

    Gets run in the caller's thread (some ten microseconds), puts in a separate thread.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._counts = EntryCounts(str(path))
        self._closed = False
        # Two connections, so that a get never waits for a commit.
        self._reader = open_file(path)
        self._writer = open_file(path)
        self._puts: Batches[Put, None] = Batches("charter-store", self._commit)

    async def get(self, key: bytes) -> bytes | None:
        """The value, or None; a damaged entry is reported, and counts as missing."""
        self._check_open()
        try:
            row = self._reader.execute(_GET, (key,)).fetchone()
        except sqlite3.OperationalError as error:
            raise sqlite_error(self._path, error) from error
        except sqlite3.DatabaseError as error:  # a page of the file is damaged
            self._counts.record_damage(key, error)
            row = None
        return self._counts.read(key, row and row[0])

    async def put(self, key: bytes, value: bytes, model: str = "") -> None:
        """Write a value; returns once it is on disk.

        Raises:
            StoreError: the disk is full or the file cannot be written; nothing of it is written then.
        """
        self._check_open()
        await self._puts.do(Put(key, value, model))
        self._counts.puts += 1

    @property
    def corrupted(self) -> int:
        """Damaged entries read so far; each is asked again and replaced."""
        return self._counts.corrupted

    def stats(self) -> StoreStats:
        """Sizes and counts; counting the entries of a large store takes some time."""
        entries = self._reader.execute("SELECT count(*) FROM completions").fetchone()[0]
        return self._counts.stats(entries, size_of(self._path))

    def close(self) -> None:
        """Commit what is waiting, then close the file. Safe to repeat."""
        if self._closed:
            return
        self._closed = True
        self._puts.close()
        self._writer.close()
        self._reader.close()

    def _check_open(self) -> None:
        if self._closed:
            raise StoreError(f"store '{self._path}': already closed. Open it again with open_store.")

    def _commit(self, puts: Sequence[Put]) -> list[None]:
        now = int(time.time())
        rows = [(put.key, pack(put.key, put.value), put.model, now) for put in puts]
        try:
            with transaction(self._writer):
                self._writer.executemany(_NEW_MODEL, [(model,) for model in {put.model for put in puts} if model])
                self._writer.executemany(_PUT, rows)
        except sqlite3.Error as error:
            raise sqlite_error(self._path, error) from error
        return [None] * len(puts)


class SqliteDatabase:
    """A store's SQLite file."""

    def __init__(self, path: Path) -> None:
        if not path.is_file():
            raise StoreError(
                f"store '{path}': no such file. Name the store of your runs, by default OUTPUTS/completions.sqlite."
            )
        self._path = path
        self._connection = open_file(path)

    @property
    def name(self) -> str:
        """Its path."""
        return display_address(str(self._path))

    def rows(self, statement: str, values: Sequence[Any] = ()) -> Iterator[Row]:
        """The rows of a query, streamed."""
        try:
            yield from self._connection.execute(statement, values)
        except sqlite3.Error as error:
            raise sqlite_error(self._path, error) from error

    def change(self, statement: str, values: Iterable[Sequence[Any]]) -> int:
        """Run a statement for each of some values in one transaction; returns the number of rows changed."""
        try:
            with transaction(self._connection):
                return self._connection.executemany(statement, values).rowcount
        except sqlite3.Error as error:
            raise sqlite_error(self._path, error) from error

    def size(self) -> int:
        """Bytes on disk."""
        return size_of(self._path)

    def reclaim(self) -> None:
        """Rewrite the file without gaps; this needs as much free space as the file takes."""
        try:
            self._connection.execute("VACUUM")
            # The rewritten pages are in the log first, which would stay as large as the store.
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        except sqlite3.Error as error:
            raise sqlite_error(self._path, error) from error

    def close(self) -> None:
        """Close the file."""
        self._connection.close()


def open_file(path: Path) -> sqlite3.Connection:
    """A connection in WAL mode with durable commits; the file is made if missing, and brought to today's format.

    Raises:
        StoreError: the file cannot be used, is not a store, or was made by a later version.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Without isolation_level the module opens no transactions by itself; `transaction` does.
        connection = sqlite3.connect(path, timeout=_BUSY_S, isolation_level=None, check_same_thread=False)
    except (OSError, sqlite3.Error) as error:
        raise sqlite_error(path, error) from error
    try:
        tables = {row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        if tables and "completions" not in tables:
            raise StoreError(f"store '{path}': it is a database of another program. Name another file: 'store: PATH'.")
        version = _version(connection)
        if version > FORMAT:
            raise StoreError(
                f"store '{path}': a later version of Charter wrote it (format {version}, this one knows {FORMAT}). "
                "Upgrade Charter, or name another file: 'store: PATH'."
            )
        # SQLite does not wait by itself here when another process is switching to WAL too.
        deadline = time.monotonic() + _BUSY_S
        while True:
            try:
                connection.execute("PRAGMA journal_mode = WAL")
                break
            except sqlite3.OperationalError as error:
                if "locked" not in str(error) or time.monotonic() > deadline:
                    raise
            time.sleep(0.02)
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
        if _version(connection) < FORMAT:  # read again: another process may have upgraded it meanwhile
            with transaction(connection):
                columns = {row[1] for row in connection.execute("PRAGMA table_info(completions)")}
                if not columns:
                    connection.execute(_COMPLETIONS)
                elif "created" not in columns:
                    connection.execute("ALTER TABLE completions ADD COLUMN model INTEGER")
                    connection.execute("ALTER TABLE completions ADD COLUMN created INTEGER")
                connection.execute(_MODELS)
                connection.execute(f"PRAGMA user_version = {FORMAT}")
    except sqlite3.Error as error:
        connection.close()
        raise sqlite_error(path, error) from error
    except StoreError:
        connection.close()
        raise
    return connection


def size_of(path: Path) -> int:
    """The bytes on disk, with the write-ahead log."""
    files = [Path(f"{path}{suffix}") for suffix in ("", "-wal")]
    return sum(file.stat().st_size for file in files if file.exists())


@contextlib.contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """Commit at the end of the block; after an error nothing of it was done."""
    # Takes the write lock now: a deferred one may find later that another process has it, and fail.
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        with contextlib.suppress(sqlite3.Error):  # a full disk may have rolled back already
            connection.execute("ROLLBACK")
        raise


def sqlite_error(path: Path, error: Exception) -> StoreError:
    """An error of the file, with what to do about it."""
    text = str(error).lower()
    # SQLite says "full", or "I/O error" where a limit on file sizes or the log's index met the end of the disk.
    is_full = getattr(error, "errno", None) in FULL or "full" in text or "disk i/o" in text
    if not is_full:
        with contextlib.suppress(OSError):
            # Some file systems report a full disk as a plain I/O error.
            is_full = shutil.disk_usage(path.parent).free < 2**16
    if "not a database" in text or "malformed" in text:
        fix = "Move the file away (its completions will be asked again), or name another: 'store: PATH'."
    elif "locked" in text:
        fix = "Another process uses it. Wait for it, or name another file: 'store: PATH'."
    elif is_full:
        fix = (
            "Free some space on its disk and run the same command again (all stored answers are kept), "
            "or move the file: 'store: PATH'."
        )
    else:
        fix = "Name a file in a folder with write permission: 'store: PATH'."
    return StoreError(f"store '{path}': {error}. {fix}")


def _version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])

"""The store of completions: what was once answered is never asked again.

Content-addressed: the key is the SHA-256 of everything that determines a completion, so resuming
after a kill, editing a constitution and trying another judge are all the same run again.

Durable per call: `put` returns after its transaction has been committed with ``synchronous=FULL``,
which outlives the process and a loss of power. A writer thread commits all waiting puts together,
so that the price of the disk's flush is shared by the calls in flight (group commit).
"""

import asyncio
import contextlib
import hashlib
import queue
import sqlite3
import threading
import time
import zlib
from pathlib import Path
from typing import NamedTuple, Protocol

from charter.errors import StoreError

_BUSY_S = 60.0
_DIGEST_BYTES = 8
# Completions are short: a dictionary of what they all contain lets even a few dozen bytes shrink.
_DICTIONARY = (
    b'"finish_reason":"length","choice_probs":[0.5,0.0001]}I cannot help with that. '
    b'{"text":"","finish_reason":"stop","prompt_tokens":100,"completion_tokens":1,"choice_probs":[]}'
)
_SCHEMA = "CREATE TABLE IF NOT EXISTS completions (key BLOB PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID"


class StoreStats(NamedTuple):
    """What the store holds, and what this process did with it."""

    entries: int
    bytes: int
    hits: int
    misses: int
    puts: int
    corrupted: int
    """Entries whose checksum did not match: treated as misses, and replaced by the next put."""


class Store(Protocol):
    """What the engine needs; small, so that another database can stand behind it."""

    @property
    def corrupted(self) -> int:
        """Damaged entries met so far."""

    async def get(self, key: bytes) -> bytes | None:
        """The value, or None when there is none that is whole."""

    async def put(self, key: bytes, value: bytes) -> None:
        """Keep a value; returns once it is durable."""

    def stats(self) -> StoreStats:
        """Sizes and counts."""

    def close(self) -> None:
        """Commit what is waiting and let go of the file."""


def open_store(url: str | Path) -> Store:
    """The store at a path; an SQLite file is made when there is none.

    Raises:
        StoreError: another database is asked for, or the file cannot be used.
    """
    scheme, separator, _ = str(url).partition("://")
    if not separator:
        return SqliteStore(Path(url))
    if scheme != "sqlite":
        raise StoreError(f"store '{scheme}://…': only SQLite files are supported. Name a file: 'store: PATH.sqlite'.")
    return SqliteStore(Path(str(url).removeprefix("sqlite://")))


class _Put(NamedTuple):
    key: bytes
    packed: bytes
    done: asyncio.Future[None]
    loop: asyncio.AbstractEventLoop


class SqliteStore:
    """One SQLite file in WAL mode; any number of processes may share it.

    Reads run where they are asked for (some ten microseconds), writes in one thread of their own.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._hits = self._misses = self._puts = self._corrupted = 0
        self._closed = False
        self._queue: queue.SimpleQueue[_Put | None] = queue.SimpleQueue()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._reader = self._connect()
            self._writer = self._connect()
        except (OSError, sqlite3.Error) as error:
            raise self._error(error) from error
        self._thread = threading.Thread(target=self._write, name="charter-store", daemon=True)
        self._thread.start()

    async def get(self, key: bytes) -> bytes | None:
        """The value, or None; an entry that was damaged is counted and counts as missing."""
        try:
            row = self._reader.execute("SELECT value FROM completions WHERE key = ?", (key,)).fetchone()
            value = None if row is None else _unpack(key, row[0])
        except sqlite3.OperationalError as error:
            raise self._error(error) from error
        except (ValueError, zlib.error, sqlite3.DatabaseError):
            self._corrupted += 1
            value = None
        if value is None:
            self._misses += 1
        else:
            self._hits += 1
        return value

    async def put(self, key: bytes, value: bytes) -> None:
        """Keep a value; returns once it is on disk.

        Raises:
            StoreError: the disk is full or the file cannot be written; nothing is half written.
        """
        if self._closed:
            raise StoreError(f"store '{self._path}': already closed. Open it again with open_store.")
        loop = asyncio.get_running_loop()
        done: asyncio.Future[None] = loop.create_future()
        self._queue.put(_Put(key, _pack(key, value), done, loop))
        await done
        self._puts += 1

    @property
    def corrupted(self) -> int:
        """Damaged entries met so far; each is asked again and replaced."""
        return self._corrupted

    def stats(self) -> StoreStats:
        """Sizes and counts; counting the entries of a large store takes a moment."""
        entries = self._reader.execute("SELECT count(*) FROM completions").fetchone()[0]
        files = [Path(f"{self._path}{suffix}") for suffix in ("", "-wal")]
        size = sum(file.stat().st_size for file in files if file.exists())
        return StoreStats(entries, size, self._hits, self._misses, self._puts, self._corrupted)

    def close(self) -> None:
        """Commit what is waiting, then let go of the file. Twice is harmless."""
        if self._closed:
            return
        self._closed = True
        self._queue.put(None)
        self._thread.join()
        self._writer.close()
        self._reader.close()

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._path, timeout=_BUSY_S, isolation_level=None, check_same_thread=False)
        _enter_wal(connection)
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute(_SCHEMA)
        return connection

    def _write(self) -> None:
        while (first := self._queue.get()) is not None:
            batch, last = _drain(first, self._queue)
            error = self._commit(batch)
            for put in batch:
                _settle(put, error)
            if last:
                return

    def _commit(self, batch: list[_Put]) -> StoreError | None:
        try:
            self._writer.execute("BEGIN IMMEDIATE")
            self._writer.executemany(
                "INSERT OR REPLACE INTO completions VALUES (?, ?)", [(p.key, p.packed) for p in batch]
            )
            self._writer.execute("COMMIT")
        except sqlite3.Error as error:
            with contextlib.suppress(sqlite3.Error):  # a full disk may have rolled back already
                self._writer.execute("ROLLBACK")
            return self._error(error)
        return None

    def _error(self, error: Exception) -> StoreError:
        text = str(error).lower()
        if "full" in text or getattr(error, "errno", None) == 28:
            fix = "Free some space and run the same command again (nothing is lost), or move it: 'store: PATH'."
        elif "not a database" in text or "malformed" in text:
            fix = "Move the file away (its completions will be asked again), or name another: 'store: PATH'."
        elif "locked" in text:
            fix = "Another process holds it; wait for it, or name another file: 'store: PATH'."
        else:
            fix = "Name a file in a folder that you may write to: 'store: PATH'."
        return StoreError(f"store '{self._path}': {error}. {fix}")


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


def _drain(first: _Put, waiting: "queue.SimpleQueue[_Put | None]") -> tuple[list[_Put], bool]:
    """All puts that wait now, and whether the end was among them."""
    batch = [first]
    while len(batch) < 10_000:
        try:
            put = waiting.get_nowait()
        except queue.Empty:
            return batch, False
        if put is None:
            return batch, True
        batch.append(put)
    return batch, False


def _settle(put: _Put, error: StoreError | None) -> None:
    def resolve() -> None:
        if put.done.done():
            return
        if error is None:
            put.done.set_result(None)
        else:
            put.done.set_exception(error)

    if not put.loop.is_closed():
        put.loop.call_soon_threadsafe(resolve)


def _pack(key: bytes, value: bytes) -> bytes:
    compressor = zlib.compressobj(level=6, wbits=-15, zdict=_DICTIONARY)
    packed = compressor.compress(value) + compressor.flush()
    return _digest(key, packed) + packed


def _unpack(key: bytes, stored: bytes) -> bytes:
    digest, packed = stored[:_DIGEST_BYTES], stored[_DIGEST_BYTES:]
    if digest != _digest(key, packed):
        raise ValueError("checksum does not match")
    return zlib.decompressobj(wbits=-15, zdict=_DICTIONARY).decompress(packed)


def _digest(key: bytes, packed: bytes) -> bytes:
    """Over the key too, so that a value under a wrong key is noticed."""
    return hashlib.blake2b(packed, digest_size=_DIGEST_BYTES, key=key).digest()

"""The store in one SQLite file: for the processes of one machine.

Durable per call: `put` returns after its transaction has been committed with ``synchronous=FULL``, which outlives the
process and a loss of power. All waiting puts are committed together.
"""

import sqlite3
import time
from collections.abc import Sequence
from pathlib import Path

from charter.core.errors import StoreError
from charter.inference.store.batches import Batches
from charter.inference.store.packing import pack
from charter.inference.store.protocol import Put, StoreStats
from charter.inference.store.sqlite_file import open_file, size_of, store_error, transaction
from charter.inference.store.tally import Tally

_GET = "SELECT value FROM completions WHERE key = ?"
_NEW_MODEL = "INSERT OR IGNORE INTO models (identity) VALUES (?)"
_PUT = """
INSERT OR REPLACE INTO completions (key, value, model, created)
VALUES (?, ?, (SELECT id FROM models WHERE identity = ?), ?)
"""


class SqliteStore:
    """One SQLite file in WAL mode; any number of processes may share it.

    Reads run where they are asked for (some ten microseconds), writes in one thread of their own.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._tally = Tally(str(path))
        self._closed = False
        self._reader = open_file(path)
        self._writer = open_file(path)
        self._puts: Batches[Put, None] = Batches("charter-store", self._commit)

    async def get(self, key: bytes) -> bytes | None:
        """The value, or None; an entry that was damaged is reported, counted, and counts as missing."""
        self._check_open()
        try:
            row = self._reader.execute(_GET, (key,)).fetchone()
        except sqlite3.OperationalError as error:
            raise store_error(self._path, error) from error
        except sqlite3.DatabaseError as error:  # a page of the file is damaged
            self._tally.damaged(key, error)
            row = None
        return self._tally.read(key, row and row[0])

    async def put(self, key: bytes, value: bytes, model: str = "") -> None:
        """Keep a value; returns once it is on disk.

        Raises:
            StoreError: the disk is full or the file cannot be written; nothing is half written.
        """
        self._check_open()
        await self._puts.do(Put(key, value, model))
        self._tally.puts += 1

    @property
    def corrupted(self) -> int:
        """Damaged entries met so far; each is asked again and replaced."""
        return self._tally.corrupted

    def stats(self) -> StoreStats:
        """Sizes and counts; counting the entries of a large store takes a moment."""
        entries = self._reader.execute("SELECT count(*) FROM completions").fetchone()[0]
        return self._tally.stats(entries, size_of(self._path))

    def close(self) -> None:
        """Commit what is waiting, then let go of the file. Twice is harmless."""
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
            raise store_error(self._path, error) from error
        return [None] * len(puts)

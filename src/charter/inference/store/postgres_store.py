"""The store on a PostgreSQL server: for several hosts that write at once.

Waiting gets become one query and waiting puts one transaction, so that a round trip and a flush of the server's disk
are shared by the calls in flight. A put returns once its transaction is committed.
"""

import time
from collections.abc import Sequence

from charter.config.addresses import display_address
from charter.core.errors import StoreError
from charter.inference.store.batches import Batches
from charter.inference.store.packing import pack
from charter.inference.store.postgres_server import LAST_S, Connection, Link, make_tables
from charter.inference.store.protocol import Put, StoreStats
from charter.inference.store.tally import Tally

_GET = "SELECT key, value FROM charter.completions WHERE key = ANY(%b)"
_NEW_MODELS = """
INSERT INTO charter.models (identity)
SELECT name FROM unnest(%s::text[]) AS name WHERE NOT EXISTS (SELECT 1 FROM charter.models WHERE identity = name)
ON CONFLICT DO NOTHING
"""
_PUT = """
INSERT INTO charter.completions (key, value, model, created)
SELECT key, value, (SELECT id FROM charter.models WHERE identity = name), %s
FROM unnest(%b::bytea[], %b::bytea[], %s::text[]) AS put (key, value, name)
ON CONFLICT (key) DO UPDATE SET value = excluded.value, model = excluded.model, created = excluded.created
"""
_SIZE = """
SELECT (SELECT count(*) FROM charter.completions), pg_total_relation_size('charter.completions')
"""


class PostgresStore:
    """The schema ``charter`` of a database; any number of hosts may share it."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._tally = Tally(display_address(url))
        self._closed = False
        self._reader = Link(url)
        try:
            self._reader.run(make_tables)
            self._writer = Link(url)
        except StoreError:
            self._reader.close()
            raise
        self._gets: Batches[bytes, bytes | None] = Batches("charter-store-gets", self._find)
        self._puts: Batches[Put, None] = Batches("charter-store-puts", self._commit)

    async def get(self, key: bytes) -> bytes | None:
        """The value, or None; an entry that was damaged is reported, counted, and counts as missing."""
        self._check_open()
        return self._tally.read(key, await self._gets.do(key))

    async def put(self, key: bytes, value: bytes, model: str = "") -> None:
        """Keep a value; returns once the server has it on disk.

        Raises:
            StoreError: the server's disk is full, or the server went away and did not come back in a minute.
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
        entries, size = self._reader.run(lambda connection: connection.execute(_SIZE).fetchone()) or (0, 0)
        return self._tally.stats(entries, size)

    def close(self) -> None:
        """Commit what is waiting, then let go of the server. Twice is harmless.

        A server that is away is not waited for: nobody was told that what still waits is kept.
        """
        if self._closed:
            return
        self._closed = True
        for batches, link in ((self._gets, self._reader), (self._puts, self._writer)):
            link.hurry()
            if batches.close(LAST_S):  # else it is in the midst of the connection; the thread ends with the process
                link.close()

    def _check_open(self) -> None:
        if self._closed:
            raise StoreError(f"store '{display_address(self._url)}': already closed. Open it again with open_store.")

    def _find(self, keys: Sequence[bytes]) -> list[bytes | None]:
        def ask(connection: Connection) -> dict[bytes, bytes]:
            return dict(connection.execute(_GET, (list(keys),), binary=True).fetchall())

        found = self._reader.run(ask)
        return [found.get(key) for key in keys]

    def _commit(self, puts: Sequence[Put]) -> list[None]:
        # A statement may touch a row once. One order for all hosts, so that none waits for another in a circle.
        rows = sorted({put.key: put for put in puts}.values())
        keys, names = [put.key for put in rows], [put.model for put in rows]
        values = [pack(put.key, put.value) for put in rows]
        models = sorted({name for name in names if name})

        def insert(connection: Connection) -> None:
            with connection.transaction():
                connection.execute(_NEW_MODELS, (models,))
                connection.execute(_PUT, (int(time.time()), keys, values, names))

        self._writer.run(insert)
        return [None] * len(puts)

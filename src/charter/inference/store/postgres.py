"""A store on a PostgreSQL server, for several hosts that write at the same time.

Waiting gets become one query and waiting puts one transaction, so that the calls in flight share a round trip and a
flush of the server's disk. A put returns once its transaction is committed.
"""

import logging
import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeVar

import psycopg
from psycopg.conninfo import conninfo_to_dict

from charter.config.addresses import display_address
from charter.core.errors import StoreError
from charter.inference.store.batches import Batches
from charter.inference.store.entries import EntryCounts, pack
from charter.inference.store.protocol import Put, Row, StoreStats

logger = logging.getLogger(__name__)

Connection = psycopg.Connection[tuple[Any, ...]]
Result = TypeVar("Result")

_CONNECT_S = 10
_PATIENCE_S = 60.0
"""Seconds to wait for a server that went away to restart or to fail over."""
_RETRY_S = 0.5
_CLOSE_S = 2.0
"""Seconds that a statement may still take when the store is closed."""
_TOO_MANY_CONNECTIONS = ("too many clients", "too many connections", "connection slots")
"""Signs of SQLSTATE 53300, which psycopg does not report for a connection that was never made."""
_PASSING = ("40", "57")
"""Classes of SQLSTATE that a retry resolves: a conflict between transactions, a server that stops or starts."""
_TABLES = """
SELECT pg_advisory_xact_lock(hashtext('charter.completions'));
CREATE SCHEMA IF NOT EXISTS charter;
CREATE TABLE IF NOT EXISTS charter.models (
    id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY, identity text NOT NULL UNIQUE
);
CREATE TABLE IF NOT EXISTS charter.completions (
    key bytea PRIMARY KEY, value bytea NOT NULL, model integer, created bigint
);
"""
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
_DISK_SIZE = "SELECT pg_total_relation_size('charter.completions') + pg_total_relation_size('charter.models')"
_FETCH_ROWS = 2000


class PostgresStore:
    """The schema ``charter`` of a database; any number of hosts may share it."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._counts = EntryCounts(display_address(url))
        self._closed = False
        self._reader = Link(url)
        try:
            self._reader.run(create_tables)
            self._writer = Link(url)
        except StoreError:
            self._reader.close()
            raise

        def find(keys: Sequence[bytes]) -> list[bytes | None]:
            def ask(connection: Connection) -> dict[bytes, bytes]:
                return dict(connection.execute(_GET, (list(keys),), binary=True).fetchall())

            values = self._reader.run(ask)
            return [values.get(key) for key in keys]

        self._gets: Batches[bytes, bytes | None] = Batches("charter-store-gets", find)
        self._puts: Batches[Put, None] = Batches("charter-store-puts", self._commit)

    async def get(self, key: bytes) -> bytes | None:
        """The value, or None; a damaged entry is reported, and counts as missing."""
        self._check_open()
        return self._counts.read(key, await self._gets.do(key))

    async def put(self, key: bytes, value: bytes, model: str = "") -> None:
        """Write a value; returns once the server has it on disk.

        Raises:
            StoreError: the server's disk is full, or the server went away for more than a minute.
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
        entries, size = self._reader.run(lambda connection: connection.execute(_SIZE).fetchone()) or (0, 0)
        return self._counts.stats(entries, size)

    def close(self) -> None:
        """Commit what is waiting, then close the connections. Safe to repeat.

        It does not wait for a server that is away: no put that is still waiting was acknowledged.
        """
        if self._closed:
            return
        self._closed = True
        for batches, link in ((self._gets, self._reader), (self._puts, self._writer)):
            link.stop_retrying()
            # Otherwise its thread still uses the connection; the thread ends with the process.
            if batches.close(_CLOSE_S):
                link.close()

    def _check_open(self) -> None:
        if self._closed:
            raise StoreError(f"store '{display_address(self._url)}': already closed. Open it again with open_store.")

    def _commit(self, puts: Sequence[Put]) -> list[None]:
        # A statement may change a row only once. All hosts use one order, so that they cannot deadlock.
        rows = sorted({put.key: put for put in puts}.values())
        keys, names = [put.key for put in rows], [put.model for put in rows]
        values = [pack(put.key, put.value) for put in rows]
        models = sorted({name for name in names if name})

        def insert(connection: Connection) -> None:
            with connection.transaction():
                # First, as the entries refer to their models.
                connection.execute(_NEW_MODELS, (models,))
                connection.execute(_PUT, (int(time.time()), keys, values, names))

        self._writer.run(insert)
        return [None] * len(puts)


class PostgresDatabase:
    """The schema ``charter`` of a database."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._connection = connect_postgres(url)
        if not has_tables(self._connection):
            self._connection.close()
            raise StoreError(
                f"store '{display_address(url)}': no store in this database yet. A run makes one, by its 'store:'."
            )
        # Statements of `upkeep` name the tables without a schema, as SQLite has none.
        self._connection.execute("SET search_path TO charter")

    @property
    def name(self) -> str:
        """Its address, without the user."""
        return display_address(self._url)

    def rows(self, statement: str, values: Sequence[Any] = ()) -> Iterator[Row]:
        """The rows of a query, streamed."""
        try:
            # A named cursor streams from the server; without it the whole table would come into memory.
            with self._connection.transaction(), self._connection.cursor("charter") as cursor:
                cursor.itersize = _FETCH_ROWS
                yield from cursor.execute(statement.replace("?", "%s"), values)
        except psycopg.Error as error:
            raise postgres_error(self._url, error) from error

    def change(self, statement: str, values: Iterable[Sequence[Any]]) -> int:
        """Run a statement for each of some values in one transaction; returns the number of rows changed."""
        try:
            with self._connection.transaction(), self._connection.cursor() as cursor:
                cursor.executemany(statement.replace("?", "%s"), values)
                return cursor.rowcount
        except psycopg.Error as error:
            raise postgres_error(self._url, error) from error

    def size(self) -> int:
        """Bytes on the server's disk, indexes included."""
        ((size,),) = self.rows(_DISK_SIZE)
        return int(size)

    def reclaim(self) -> None:
        """Rewrite the table without gaps; other writers wait meanwhile."""
        try:
            self._connection.execute("VACUUM (FULL, ANALYZE) charter.completions")
        except psycopg.Error as error:
            raise postgres_error(self._url, error) from error

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


def connect_postgres(url: str) -> Connection:
    """A connection whose commits are durable.

    Raises:
        StoreError: the address is malformed, or the server, database, user or password is wrong.
    """
    try:
        options: dict[str, Any] = conninfo_to_dict(url)
    except psycopg.Error:  # its text repeats the address, which may contain a password
        raise StoreError(
            "store 'postgresql://…': not a valid address. Write it as postgresql://USER@HOST:PORT/DATABASE."
        ) from None
    options = {"connect_timeout": _CONNECT_S, "application_name": "charter", **options}
    try:
        connection: Connection = psycopg.connect(**options, autocommit=True)
        # A server may be set to confirm a commit before it is on disk; a put must survive a loss of power.
        if connection.execute("SHOW synchronous_commit").fetchone() == ("off",):
            connection.execute("SET synchronous_commit TO on")
    except psycopg.Error as error:
        raise postgres_error(url, error) from error
    return connection


def has_tables(connection: Connection) -> bool:
    """Whether this database contains a store."""
    return connection.execute("SELECT to_regclass('charter.completions')").fetchone() != (None,)


def create_tables(connection: Connection) -> None:
    """Make the store's schema and tables if missing; several hosts may do so at the same time."""
    if not has_tables(connection):
        with connection.transaction():
            connection.execute(_TABLES)


class Link:
    """A connection that is made again, for a minute, when the server was away.

    Raises:
        StoreError: the server cannot be reached; the first connection is retried only while the server has too many.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._until = math.inf
        # When many tasks start together, connections of tasks that are ending make room for the first one here.
        deadline = time.monotonic() + _PATIENCE_S
        while True:
            try:
                self._connection = connect_postgres(url)
                break
            except StoreError as error:
                if not any(sign in str(error) for sign in _TOO_MANY_CONNECTIONS) or time.monotonic() > deadline:
                    raise
            time.sleep(_RETRY_S)

    def run(self, work: Callable[[Connection], Result]) -> Result:
        """Do some work, which may be done twice: after a lost connection it starts again.

        Raises:
            StoreError: the work failed, or the server stayed away.
        """
        deadline, warned = time.monotonic() + _PATIENCE_S, False
        while True:
            try:
                if self._connection.closed:
                    self._connection = connect_postgres(self._url)
                return work(self._connection)
            except (psycopg.Error, StoreError) as error:
                state = getattr(error, "sqlstate", None) or ""
                # A closed connection: the server restarted or failed over while it worked.
                is_passing = self._connection.closed or state.startswith(_PASSING)
                if not is_passing or time.monotonic() > min(deadline, self._until):
                    raise error if isinstance(error, StoreError) else postgres_error(self._url, error) from error
                if not warned:
                    logger.warning(
                        "store '%s': the server is away; waiting for it to come back.", display_address(self._url)
                    )
                    warned = True
            time.sleep(_RETRY_S)

    def stop_retrying(self) -> None:
        """Retry nothing from now on: the store is being closed, and a user who pressed Ctrl-C waits for that."""
        self._until = time.monotonic()

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


def postgres_error(url: str, error: psycopg.Error) -> StoreError:
    """An error of the server in one line, with what to do about it."""
    what = " ".join(str(error).split()).rstrip(".")
    if isinstance(error, psycopg.errors.DiskFull):
        fix = "Free some space on the server's disk and run the same command again; all stored answers are kept."
    elif isinstance(error, psycopg.errors.InsufficientPrivilege):
        fix = "Ask the database's owner for: GRANT CREATE, CONNECT ON DATABASE … TO …"
    elif "password" in what:
        fix = "Export PGPASSWORD, or put the password into ~/.pgpass; it must not be in the address."
    elif isinstance(error, psycopg.OperationalError):
        fix = "Start the server, or correct the address: 'store: postgresql://USER@HOST:PORT/DATABASE'."
    else:
        fix = "See the server's log."
    return StoreError(f"store '{display_address(url)}': {what}. {fix}")

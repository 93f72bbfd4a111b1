"""A store's tables for upkeep: the same few statements, whichever database holds them."""

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

from charter.config.addresses import display_address, is_postgres, refuse_password
from charter.core.errors import StoreError
from charter.inference.store.opening import needs_psycopg, store_file
from charter.inference.store.sqlite_file import open_file, size_of, store_error, transaction

Row = tuple[Any, ...]


class Database(Protocol):
    """Tables ``completions (key, value, model, created)`` and ``models (id, identity)``; a ``?`` stands for a value."""

    @property
    def name(self) -> str:
        """Its path or address, as it may be display_address."""

    def rows(self, statement: str, values: Sequence[Any] = ()) -> Iterator[Row]:
        """The rows of a query, streamed."""

    def change(self, statement: str, values: Iterable[Sequence[Any]]) -> int:
        """Run a statement for each of some values in one transaction; how many rows it touched."""

    def size(self) -> int:
        """Bytes on disk."""

    def reclaim(self) -> None:
        """Give the room of what was dropped back to the disk."""

    def close(self) -> None:
        """Let go of it."""


def open_database(url: str) -> Database:
    """The database of a store that exists.

    Raises:
        StoreError: no such file or server, or there is no store in it.
    """
    if not is_postgres(url):
        return SqliteDatabase(store_file(url))
    refuse_password(url)
    try:
        from charter.inference.store.postgres_database import PostgresDatabase  # psycopg is an extra
    except ImportError as error:
        raise needs_psycopg() from error
    return PostgresDatabase(url)


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
            raise store_error(self._path, error) from error

    def change(self, statement: str, values: Iterable[Sequence[Any]]) -> int:
        """Run a statement for each of some values in one transaction; how many rows it touched."""
        try:
            with transaction(self._connection):
                return self._connection.executemany(statement, values).rowcount
        except sqlite3.Error as error:
            raise store_error(self._path, error) from error

    def size(self) -> int:
        """Bytes on disk."""
        return size_of(self._path)

    def reclaim(self) -> None:
        """Rewrite the file without its gaps; needs as much room again while it does."""
        try:
            self._connection.execute("VACUUM")
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        except sqlite3.Error as error:
            raise store_error(self._path, error) from error

    def close(self) -> None:
        """Let go of the file."""
        self._connection.close()

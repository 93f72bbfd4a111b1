"""A store's PostgreSQL tables for upkeep."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import psycopg

from charter.config.addresses import display_address
from charter.core.errors import StoreError
from charter.inference.store.database import Row
from charter.inference.store.postgres_server import connect, has_tables, store_error

_SIZE = "SELECT pg_total_relation_size('charter.completions') + pg_total_relation_size('charter.models')"
_AT_ONCE = 2000


class PostgresDatabase:
    """The schema ``charter`` of a database."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._connection = connect(url)
        if not has_tables(self._connection):
            self._connection.close()
            raise StoreError(
                f"store '{display_address(url)}': no store in this database yet. A run makes one, by its 'store:'."
            )
        self._connection.execute("SET search_path TO charter")

    @property
    def name(self) -> str:
        """Its address, without the user."""
        return display_address(self._url)

    def rows(self, statement: str, values: Sequence[Any] = ()) -> Iterator[Row]:
        """The rows of a query, streamed."""
        try:
            with self._connection.transaction(), self._connection.cursor("charter") as cursor:
                cursor.itersize = _AT_ONCE
                yield from cursor.execute(_placed(statement), values)
        except psycopg.Error as error:
            raise store_error(self._url, error) from error

    def change(self, statement: str, values: Iterable[Sequence[Any]]) -> int:
        """Run a statement for each of some values in one transaction; how many rows it touched."""
        try:
            with self._connection.transaction(), self._connection.cursor() as cursor:
                cursor.executemany(_placed(statement), values)
                return cursor.rowcount
        except psycopg.Error as error:
            raise store_error(self._url, error) from error

    def size(self) -> int:
        """Bytes on the server's disk, indexes included."""
        ((size,),) = self.rows(_SIZE)
        return int(size)

    def reclaim(self) -> None:
        """Rewrite the table without its gaps; those who write meanwhile wait."""
        try:
            self._connection.execute("VACUUM (FULL, ANALYZE) charter.completions")
        except psycopg.Error as error:
            raise store_error(self._url, error) from error

    def close(self) -> None:
        """Let go of the server."""
        self._connection.close()


def _placed(statement: str) -> str:
    return statement.replace("?", "%s")

"""From an address to the store behind it."""

from pathlib import Path

from charter.config.addresses import is_postgres, refuse_password
from charter.core.errors import StoreError
from charter.inference.store.protocol import Store
from charter.inference.store.sqlite_store import SqliteStore


def open_store(url: str | Path) -> Store:
    """The store at a path, or at ``postgresql://USER@HOST:PORT/DATABASE``; it is made when there is none.

    Raises:
        StoreError: it cannot be used; the message names the fix.
    """
    text = str(url)
    if is_postgres(text):
        refuse_password(text)
        return _open_postgres(text)
    return SqliteStore(store_file(text))


def store_file(url: str) -> Path:
    """The file that an address without a server names: a path, or ``sqlite://PATH``.

    Raises:
        StoreError: it names a database of another kind.
    """
    scheme, separator, rest = url.partition("://")
    if separator and scheme != "sqlite":
        raise StoreError(
            f"store '{scheme}://…': no such kind of store. Name a file, 'store: PATH.sqlite', or a PostgreSQL "
            "server, 'store: postgresql://USER@HOST/DATABASE'."
        )
    return Path(rest if separator else url)


def _open_postgres(url: str) -> Store:
    try:
        from charter.inference.store.postgres_store import PostgresStore  # psycopg is an extra
    except ImportError as error:
        raise needs_psycopg() from error
    return PostgresStore(url)


def needs_psycopg() -> StoreError:
    """What to tell when the client library of PostgreSQL is not there."""
    return StoreError("store 'postgresql://…': needs psycopg. Install it: pip install 'charter[postgres]'.")

"""From an address to its store."""

from pathlib import Path

from charter.config.addresses import is_postgres, refuse_password
from charter.core.errors import StoreError
from charter.core.installation import install_hint
from charter.inference.store.protocol import Database, Store
from charter.inference.store.sqlite import SqliteDatabase, SqliteStore


def open_store(url: str | Path) -> Store:
    """The store at a path, or at ``postgresql://USER@HOST:PORT/DATABASE``; it is made if missing.

    Raises:
        StoreError: it cannot be used.
    """
    text = str(url)
    if is_postgres(text):
        refuse_password(text)
        try:
            from charter.inference.store.postgres import PostgresStore  # psycopg is an extra
        except ImportError as error:
            raise _needs_psycopg() from error
        return PostgresStore(text)
    return SqliteStore(store_file(text))


def store_file(url: str) -> Path:
    """The file that an address without a server names: a path, or ``sqlite://PATH``.

    Raises:
        StoreError: it names another kind of database.
    """
    # A path may hold a colon, but not "://".
    scheme, separator, rest = url.partition("://")
    if separator and scheme != "sqlite":
        raise StoreError(
            f"store '{scheme}://…': unknown kind of store. Name a file, 'store: PATH.sqlite', or a PostgreSQL "
            "server, 'store: postgresql://USER@HOST/DATABASE'."
        )
    return Path(rest if separator else url)


def open_database(url: str) -> Database:
    """The database of a store that exists.

    Raises:
        StoreError: the file or server does not exist, or contains no store.
    """
    if not is_postgres(url):
        return SqliteDatabase(store_file(url))
    refuse_password(url)
    try:
        from charter.inference.store.postgres import PostgresDatabase  # psycopg is an extra
    except ImportError as error:
        raise _needs_psycopg() from error
    return PostgresDatabase(url)


def _needs_psycopg() -> StoreError:
    return StoreError(f"store 'postgresql://…': needs psycopg. Run: {install_hint('postgres')}.")

"""A store's PostgreSQL server: reached, given its tables, reached again when it was away, and its errors."""

import logging
import math
import time
from collections.abc import Callable
from typing import Any, TypeVar

import psycopg
from psycopg.conninfo import conninfo_to_dict

from charter.config.addresses import display_address
from charter.core.errors import StoreError

logger = logging.getLogger(__name__)

Connection = psycopg.Connection[tuple[Any, ...]]
Result = TypeVar("Result")

_CONNECT_S = 10
_PATIENCE_S = 60.0
"""How long a server that went away, to restart or to fail over, is waited for."""
_AGAIN_S = 0.5
LAST_S = 2.0
"""What a statement may still take when the store is closed."""
_NO_PLACE = ("too many clients", "too many connections", "connection slots")
"""SQLSTATE 53300, which psycopg does not give for a connection that was never made."""
_PASSING = ("40", "57")
"""Classes of SQLSTATE that asking again mends: a lost race between transactions, a server on its way down or up."""
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


def connect(url: str) -> Connection:
    """A connection in whose transactions a commit means that the data is on disk.

    Raises:
        StoreError: the address is none, or no such server, database, user or password.
    """
    try:
        options: dict[str, Any] = conninfo_to_dict(url)
    except psycopg.Error:  # its text repeats the address
        raise StoreError(
            "store 'postgresql://…': not an address. Write it as postgresql://USER@HOST:PORT/DATABASE."
        ) from None
    options = {"connect_timeout": _CONNECT_S, "application_name": "charter", **options}
    try:
        connection: Connection = psycopg.connect(**options, autocommit=True)
        if connection.execute("SHOW synchronous_commit").fetchone() == ("off",):
            connection.execute("SET synchronous_commit TO on")
    except psycopg.Error as error:
        raise store_error(url, error) from error
    return connection


def _connect_in_time(url: str) -> Connection:
    """A first connection: when many tasks begin at once, those of others that are ending make room for it."""
    deadline = time.monotonic() + _PATIENCE_S
    while True:
        try:
            return connect(url)
        except StoreError as error:
            if not any(sign in str(error) for sign in _NO_PLACE) or time.monotonic() > deadline:
                raise
        time.sleep(_AGAIN_S)


def has_tables(connection: Connection) -> bool:
    """Whether a store was made in this database."""
    return connection.execute("SELECT to_regclass('charter.completions')").fetchone() != (None,)


def make_tables(connection: Connection) -> None:
    """Make the store's schema and tables where there are none; several hosts may do so at once."""
    if not has_tables(connection):
        with connection.transaction():
            connection.execute(_TABLES)


class Link:
    """A connection that is made again, for a minute, when the server was away.

    Raises:
        StoreError: the server cannot be reached now; the first connection is waited for only while the server has no
            place for one more.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._until = math.inf
        self._connection = _connect_in_time(url)

    def run(self, work: Callable[[Connection], Result]) -> Result:
        """Do some work that may be done twice: what was cut off by a lost connection is begun again.

        Raises:
            StoreError: the work failed, or the server did not come back.
        """
        deadline, told = time.monotonic() + _PATIENCE_S, False
        while True:
            try:
                if self._connection.closed:
                    self._connection = connect(self._url)
                return work(self._connection)
            except (psycopg.Error, StoreError) as error:
                if not self._will_pass(error) or time.monotonic() > min(deadline, self._until):
                    raise error if isinstance(error, StoreError) else store_error(self._url, error) from error
                if not told:
                    logger.warning(
                        "store '%s': the server is away; waiting for it to come back.", display_address(self._url)
                    )
                    told = True
            time.sleep(_AGAIN_S)

    def hurry(self) -> None:
        """Begin nothing again from now on: the store is closed, and whoever pressed Ctrl-C waits for that."""
        self._until = time.monotonic()

    def close(self) -> None:
        """Let go of the server."""
        self._connection.close()

    def _will_pass(self, error: Exception) -> bool:
        state = getattr(error, "sqlstate", None) or ""
        return self._connection.closed or state.startswith(_PASSING)


def store_error(url: str, error: psycopg.Error) -> StoreError:
    """What went wrong at the server, in one line, and what to do."""
    what = " ".join(str(error).split()).rstrip(".")
    if isinstance(error, psycopg.errors.DiskFull):
        fix = "Free some space on the server's disk and run the same command again; nothing that was kept is lost."
    elif isinstance(error, psycopg.errors.InsufficientPrivilege):
        fix = "Ask the database's owner for: GRANT CREATE, CONNECT ON DATABASE … TO …"
    elif "password" in what:
        fix = "Export PGPASSWORD, or put the password into ~/.pgpass; it has no place in the address."
    elif isinstance(error, psycopg.OperationalError):
        fix = "Start the server, or correct the address: 'store: postgresql://USER@HOST:PORT/DATABASE'."
    else:
        fix = "The server's log may say more."
    return StoreError(f"store '{display_address(url)}': {what}. {fix}")

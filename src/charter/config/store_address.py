"""Where a store is: a file or a server. What must stay secret has no place in an address."""

import re

from charter.core.errors import StoreError

_POSTGRES = ("postgresql", "postgres")
_PASSWORD_OPTION = re.compile(r"[?&](?:ssl)?password=", re.IGNORECASE)


def is_postgres(url: str) -> bool:
    """Whether the address names a PostgreSQL server."""
    scheme, separator, _ = url.partition("://")
    return bool(separator) and scheme in _POSTGRES


def shown(url: str) -> str:
    """The address without user and options, as it may stand on a screen or in a log."""
    scheme, separator, rest = url.partition("://")
    return f"{scheme}://{rest.rpartition('@')[2].partition('?')[0]}" if separator else url


def refuse_password(url: str) -> None:
    """Turn down an address with a password in it: a run's folder, its pages and Prefect all show the configuration.

    Raises:
        StoreError: it has one; the message does not repeat it.
    """
    scheme, separator, rest = url.partition("://")
    if not separator or scheme == "sqlite":
        return
    if ":" in rest.rpartition("@")[0] or _PASSWORD_OPTION.search(rest):
        raise StoreError(
            f"store '{shown(url)}': a password stands in its address, which every run writes into its folder. "
            "Leave it out, and export PGPASSWORD or put it into ~/.pgpass."
        )

"""Addresses in the configuration: of folders, of stores, of servers. A password or key must not be part of one.

A run writes its configuration into its folder and its pages, and Prefect stores it as parameters. Errors about an
address with a secret therefore never repeat the secret.
"""

import os
import re
from pathlib import Path
from typing import Annotated, Any, cast

from pydantic import PlainSerializer, PlainValidator, WithJsonSchema

from charter.core.errors import ConfigError, StoreError
from charter.core.installation import install_hint

_PASSWORD_OPTION = re.compile(r"[?&](?:ssl)?password=", re.IGNORECASE)


def refuse_login(url: str) -> str:
    """Return the address of a server unchanged, if it contains no login.

    Raises:
        ConfigError: it contains one.
    """
    scheme, separator, rest = url.partition("://")
    _, at, host = rest.partition("/")[0].rpartition("@")
    if separator and at:
        raise ConfigError(  # a ConfigError, because pydantic's own error would repeat the value
            f"base_url '{scheme}://{host}/…': the address contains a login, which every run would write into its"
            " folder. Leave it out; put the key in the environment variable that `api_key_env` names."
        )
    return url


def is_postgres(url: str) -> bool:
    """Whether the address names a PostgreSQL server."""
    scheme, separator, _ = url.partition("://")
    return bool(separator) and scheme in ("postgresql", "postgres")


def display_address(url: str) -> str:
    """The address without user and options, for screens and logs."""
    scheme, separator, rest = url.partition("://")
    return f"{scheme}://{rest.rpartition('@')[2].partition('?')[0]}" if separator else url


def refuse_password(url: str) -> None:
    """Check that the address of a store contains no password.

    Raises:
        StoreError: it contains one.
    """
    scheme, separator, rest = url.partition("://")
    if not separator or scheme == "sqlite":
        return
    if ":" in rest.rpartition("@")[0] or _PASSWORD_OPTION.search(rest):
        raise StoreError(
            f"store '{display_address(url)}': the address contains a password, which every run would write into its"
            " folder. Leave it out, and export PGPASSWORD or put it into ~/.pgpass."
        )


def folder_path(value: Any) -> Path:
    """The path of a folder: a `Path`, or for an address such as ``s3://…`` a `UPath`, which has the same methods.

    Raises:
        ConfigError: the address contains a login.
        ValueError: the scheme is unknown, or its package is not installed.
    """
    text = str(value)
    scheme, separator, rest = text.partition("://")
    if not separator:
        return Path(os.path.expanduser(text))
    if "@" in rest.partition("/")[0]:
        raise ConfigError(  # a ConfigError, because pydantic's own error would repeat the value
            f"outputs '{scheme}://…': the address contains a login, which every run would write into its folder. Leave"
            " it out: keys come from the environment."
        )
    try:
        from upath import UPath  # an extra

        # without a cache of listings, because other machines write into the same folders
        return cast(Path, UPath(text.rstrip("/"), use_listings_cache=False))
    except (ImportError, ValueError) as error:
        raise ValueError(f"{error}; for s3:// run: {install_hint('s3')}") from error


FolderPath = Annotated[
    Path, PlainValidator(folder_path), PlainSerializer(str), WithJsonSchema({"type": "string", "format": "path"})
]
"""A folder on disk or on remote storage. Typed as `Path`; on remote storage it is a `UPath`."""

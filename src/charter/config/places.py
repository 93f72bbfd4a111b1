"""Folders on a disk, or wherever fsspec reaches: S3, GCS, a web server."""

from pathlib import Path
from typing import Annotated, Any, cast

from pydantic import PlainSerializer, PlainValidator, WithJsonSchema

from charter.core.errors import ConfigError


def place(value: Any) -> Path:
    """The path of a folder; of one with a scheme such as ``s3://`` a `UPath`, which has the same methods.

    Listings are not kept: processes on other machines write into the same folders.
    """
    text = str(value)
    scheme, separator, rest = text.partition("://")
    if not separator:
        return Path(text)
    if "@" in rest.partition("/")[0]:  # its own error: pydantic's would repeat the value
        raise ConfigError(
            f"outputs '{scheme}://…': a login stands in its address, which every run writes into its folder. Leave it "
            "out: keys come from the environment."
        )
    try:
        from upath import UPath  # an extra

        return cast(Path, UPath(text.rstrip("/"), use_listings_cache=False))
    except (ImportError, ValueError) as error:
        raise ValueError(f"{error}; for s3:// run `pip install 'charter[s3]'`") from error


Place = Annotated[
    Path, PlainValidator(place), PlainSerializer(str), WithJsonSchema({"type": "string", "format": "path"})
]
"""A folder's path. One that is on no disk is no `pathlib.Path`, though it does what a `Path` does."""

"""A run on S3, or wherever fsspec reaches: its copy on this machine's disk, for all that reads the whole of it."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

from charter.config import Config
from charter.runs.folder import RESULTS, reset_run_folder


@contextmanager
def local_mirror(config: Config) -> Iterator[Config]:
    """The config of a copy of the run on disk. What is made of it in the block is sent back, the manifest last.

    A run that is on this machine's disk is its own copy.
    """
    if not config.is_remote:
        yield config
        return
    copy = config.model_copy(update={"outputs": config.disk, "store": config.store_url})
    here, there = reset_run_folder(copy), cast(Any, config.run_folder)
    found = there.fs.find(there.path)
    there.fs.get(found, [str(here / name.removeprefix(there.path).lstrip("/")) for name in found])
    yield copy
    for name in reversed(RESULTS):  # the manifest stands first
        if (here / name).is_file():
            (there / name).write_bytes((here / name).read_bytes())

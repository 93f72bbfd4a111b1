"""A disk that is full, wherever it is met: one clear error."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from charter.errors import DataError

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""What a write fails with when a disk, a quota or a limit on files is full."""


@contextmanager
def enough_room() -> Iterator[None]:
    """Tell of a full disk as of any mistake; what else goes wrong with files stays as it is.

    Raises:
        DataError: there was no room for what the block wrote.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in FULL:
            raise
        raise DataError(
            f"file '{error.filename or 'of a run'}': cannot be written: {error.strerror}. Free some space on its disk "
            "and run the same command again: all answers are kept."
        ) from error

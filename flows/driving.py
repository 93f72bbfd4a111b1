"""How a flow run is held: its key, its budget, Ctrl-C, and mistakes that Prefect logs without a traceback."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from charter.config import Config
from charter.core.errors import CharterError, Stopped
from charter.core.files import disk_full_as_data_error
from charter.inference.session import drive, interruptible
from flows.keys import api_key
from flows.temporary_server import end_server


@contextmanager
def driving(config: Config) -> Iterator[None]:
    """Hold every engine of the flow run in this context to its budget, and let Ctrl-C end it gently.

    Raises:
        ConfigError: the block that is to hold the servers' key cannot be used.
        DataError: a disk is full.
    """
    loggers = [logging.getLogger(f"prefect.{name}") for name in ("task_runs", "flow_runs")]
    for logger in loggers:
        logger.addFilter(_is_news)
    with (
        disk_full_as_data_error(),
        api_key(config.serving),
        drive(config.budget) as driven,
        interruptible(driven, end_server),
    ):
        yield


def _is_news(record: logging.LogRecord) -> bool:
    """Leave out a stop, which every task of the run meets and the flow tells once; and tracebacks of known errors."""
    error = record.exc_info[1] if record.exc_info else None
    if isinstance(error, CharterError):
        record.exc_info = None
    return not isinstance(error, Stopped)

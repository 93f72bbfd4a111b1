"""The run that a flow works in: its settings, its session with the models' servers, and its progress."""

import contextlib
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from charter.config import Config
from charter.core.errors import CharterError, Stopped
from charter.core.files import disk_full_as_data_error
from charter.inference.session import Session, interruptible
from charter.runs.folder import lock_run_folder
from flows.lib.api_keys import api_key
from flows.lib.progress import RunProgress
from flows.lib.temporary_server import end_server


@dataclass(frozen=True)
class FlowRun:
    """What the tasks of one flow run share; made by `open_flow_run` and passed to each.

    Attributes:
        config: the run's settings.
        session: of all engines: budget, connections, stores, calls in flight.
        progress: what people see while it runs.
    """

    config: Config
    session: Session
    progress: RunProgress


@contextmanager
def open_flow_run(config: Config, folder: Path | None = None) -> Iterator[FlowRun]:
    """Lock the run's folder, keep the run to its budget, and let Ctrl-C end it gently.

    Args:
        config: the run's settings.
        folder: to lock; the run's own by default.

    Raises:
        ConfigError: the folder is in use, or the block that holds the servers' key cannot be used.
        DataError: a disk is full.
    """
    loggers = [logging.getLogger(f"prefect.{name}") for name in ("task_runs", "flow_runs")]
    for logger in loggers:
        logger.addFilter(_without_known_tracebacks)
    session, progress = Session(config.budget), RunProgress()
    with (
        lock_run_folder(folder or config.run_folder),
        disk_full_as_data_error(),
        api_key(config.serving),
        interruptible(session, end_server),
        contextlib.closing(progress),
    ):
        yield FlowRun(config, session, progress)


def _without_known_tracebacks(record: logging.LogRecord) -> bool:
    """Drop the traceback of a user's mistake; drop a stop, which every task meets and the flow reports once."""
    error = record.exc_info[1] if record.exc_info else None
    if isinstance(error, CharterError):
        record.exc_info = None
    return not isinstance(error, Stopped)

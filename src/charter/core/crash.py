"""An unexpected error as one line for people, and a file with its traceback for those who look into it."""

import contextlib
import os
import tempfile
import time
import traceback
from pathlib import Path

from charter.core.errors import CRASHED
from charter.core.version import __version__


def describe_crash(error: BaseException, logs: Path | None = None) -> tuple[str, int]:
    """The message for an error that is no `CharterError`, and the exit status of the command.

    A file that cannot be read or written is the user's to correct (status 2). Anything else is a crash (`CRASHED`),
    and its traceback is written to a file.

    Args:
        error: what was raised.
        logs: the folder for the report; the folder for temporary files if it is None or cannot be written.
    """
    first = error
    while isinstance(first, BaseExceptionGroup):
        first = first.exceptions[0]
    if isinstance(first, OSError) and first.filename is not None:
        return f"file '{first.filename}': {first.strerror}. Correct the path or its permissions.", 2
    words = " ".join(f"{type(first).__name__}: {first}".split())
    advice = "Run the same command again: finished calls are kept. If it happens again, report it with this file"
    if isinstance(first, MemoryError):
        advice = "The machine has too little memory for this: use fewer rows or a smaller model. The report"
    return f"Unexpected error: {words[:500]}. {advice}: {_write_report(error, logs)}", CRASHED


def _write_report(error: BaseException, logs: Path | None) -> Path:
    name = f"crash-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}.txt"
    text = f"charter {__version__}\n\n" + "".join(traceback.format_exception(error))
    if isinstance(logs, Path):
        with contextlib.suppress(OSError):
            logs.mkdir(parents=True, exist_ok=True)
            (logs / name).write_text(text, encoding="utf-8")
            return logs / name
    path = Path(tempfile.gettempdir()) / f"charter-{name}"
    path.write_text(text, encoding="utf-8")
    return path

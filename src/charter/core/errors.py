"""What can go wrong, as one tree.

CharterError
├── ConfigError          a value in a config file or on the command line
├── ConstitutionError    a constitution that cannot be read (names file and line)
├── DataError            a prompts file or dataset that cannot be used
├── ModelError           a model folder or hub id that cannot be used
├── ServingError         a vLLM server that does not start, or endpoints that are down
├── StoreError           the store of completions cannot be read or written
├── TrainingError        a training process that failed
├── SuiteError           an inspect-ai or lm-evaluation-harness task that failed
├── RegistryError        a run that cannot be accepted, or a registry that cannot be read
├── Stopped              a run that was told to end early; finished work is kept
│   ├── BudgetSpent      it reached its budget; commands end with status 3
│   ├── Interrupted      Ctrl-C; commands end with status 130
│   └── ReviewPending    people must fill in a form first; commands end with status 4
├── NotApproved          people rejected the data; commands end with status 1
├── NoDataError          a run made no data, too little, or lost too much; commands end with status 5
├── CountMismatch        a stage lost or duplicated rows: always a bug, never ignored; status 70
└── CompletionFailed     one call that cannot succeed; becomes a row in ``failures``

A message reads: *subject 'value': what is wrong. What to do, with the literal flag or path.*
Commands print it without a traceback and exit with status 2. An error outside this tree is a crash: commands write its
traceback to a file (`charter.core.crash`) and exit with status 70, which no verdict has.
"""

import contextlib
from collections.abc import Iterator

CRASHED = 70
"""The exit status after an unexpected error: EX_SOFTWARE of sysexits.h."""


class CharterError(Exception):
    """Base of every error a user may see."""

    exit_status = 2
    """What a command exits with after printing the error."""


class ConfigError(CharterError):
    """A value in the configuration is missing, misspelt or out of range."""


class ConstitutionError(CharterError):
    """A constitution cannot be read; the message names the file and the line."""


class DataError(CharterError):
    """A prompts file or dataset cannot be used."""


class ModelError(CharterError):
    """A model folder or hub id cannot be used."""


class ServingError(CharterError):
    """A server did not start, died, or cannot be reached."""


class StoreError(CharterError):
    """The store of completions cannot be read or written."""


class TrainingError(CharterError):
    """A training process failed or left no finished model."""


class SuiteError(CharterError):
    """A task of inspect-ai or lm-evaluation-harness failed or left no results."""


class Stopped(CharterError):
    """A run was told to end early; the same command continues it."""


class BudgetSpent(Stopped):
    """A run reached its budget."""

    exit_status = 3


class Interrupted(Stopped):
    """Ctrl-C was pressed."""

    exit_status = 130


class ReviewPending(Stopped):
    """A run waits for people; the same command continues when they have answered."""

    exit_status = 4


class NotApproved(CharterError):
    """People reviewed what a run made, and rejected it."""

    exit_status = 1


class RegistryError(CharterError):
    """A run cannot be accepted or taken back, or the registry of accepted runs cannot be read."""


class NoDataError(CharterError):
    """A run made no data or too little, or lost more rows than `generation.max_lost_share`."""

    exit_status = 5


class CountMismatch(CharterError):
    """Rows were lost: rows_in != rows_out + failed."""

    exit_status = CRASHED


class CompletionFailed(CharterError):
    """A call that will never succeed, such as a prompt longer than the context.

    Attributes:
        reason: short and countable, the same for every row that fails alike
            (``context-too-long``, ``bad-request``, ``endpoint-error``).
    """

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason
        self.detail = detail


@contextlib.contextmanager
def unwrap_single_error() -> Iterator[None]:
    """Raise the first error instead of a group of them: concurrent rows met the same mistake.

    A signal goes before all errors: Prefect turns one that ends this process into an exception in some row, and does
    not look for it inside a group.

    Raises:
        CharterError: if the block raised only such errors.
    """
    try:
        yield
    except BaseExceptionGroup as group:
        # Exceptions that are not errors, such as KeyboardInterrupt and Prefect's signal to end this process.
        signals, _ = group.split(lambda one: not isinstance(one, (Exception, BaseExceptionGroup)))
        if signals is not None:
            raise _first(signals) from None
        mistakes, others = group.split(CharterError)
        # An unexpected error goes first: its traceback shows a bug, and the mistakes may follow from it.
        if mistakes is None or others is not None:
            raise
        raise _first(mistakes) from None


def _first(group: BaseException) -> BaseException:
    # Groups may be nested, one per task group.
    while isinstance(group, BaseExceptionGroup):
        group = group.exceptions[0]
    return group

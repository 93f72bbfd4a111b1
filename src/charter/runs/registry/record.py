"""``accepted.json``: what was accepted, when, by whom and why; the last run accepted and not rolled back is current.

The file is replaced atomically, under a lock: readers need no lock, and two concurrent promotions both count.
"""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from charter.core.errors import RegistryError
from charter.core.files import file_lock, write_text_atomic

FILE = "accepted.json"
ACCEPTED, FORCED = "accepted", "forced"
"""Folders of the copies, in the folder of the runs: `ACCEPTED` never contains a model whose verdict was no-go."""


class AcceptedRun(BaseModel):
    """A run that was accepted.

    Attributes:
        id: the run's name and the beginning of a hash over its model, config, constitution and evaluation.
        run: the run's name.
        model: which of its models, such as ``dpo``.
        identity: hash of the model's files.
        folder: of the copy, relative to the folder of the runs.
        constitution: name and version.
        verdict: of the gate, when it was accepted.
        verdict_reason: the same in a sentence.
    """

    model_config = ConfigDict(frozen=True)

    id: str
    run: str
    model: str
    identity: str
    folder: str
    constitution: str
    verdict: Literal["go", "no-go"]
    verdict_reason: str


class Event(BaseModel):
    """A run was accepted, or the accepted one rolled back; `at` is in UTC."""

    model_config = ConfigDict(frozen=True)

    action: Literal["promote", "rollback"]
    at: str
    by: str
    reason: str
    run: AcceptedRun


class _File(BaseModel):
    accepted: AcceptedRun | None = None
    history: tuple[Event, ...]


@dataclass(frozen=True)
class RunRegistry:
    """The history of accepted runs in `outputs`, the folder of the runs."""

    outputs: Path
    history: tuple[Event, ...] = ()

    @property
    def accepted_runs(self) -> tuple[AcceptedRun, ...]:
        """Runs that were accepted and not rolled back, the oldest first."""
        stack: tuple[AcceptedRun, ...] = ()
        for event in self.history:
            # A rollback takes back the last promotion that still counts.
            stack = (*stack, event.run) if event.action == "promote" else stack[:-1]
        return stack

    @property
    def accepted(self) -> AcceptedRun | None:
        """The current accepted run."""
        return self.accepted_runs[-1] if self.accepted_runs else None

    def folder(self, run: AcceptedRun) -> Path:
        """The copy of an accepted run."""
        return self.outputs / run.folder


def read_registry(outputs: Path) -> RunRegistry:
    """The registry of a folder of runs; empty if nothing was ever accepted.

    Raises:
        RegistryError: the file cannot be read.
    """
    path = outputs / FILE
    try:
        text = path.read_text(encoding="utf-8")
        # Only the history counts when the file is read.
        return RunRegistry(outputs, _File.model_validate_json(text).history)
    except FileNotFoundError:
        return RunRegistry(outputs)
    except (OSError, UnicodeDecodeError, ValidationError) as error:
        raise RegistryError(f"registry '{path}': cannot be read: {error}. Restore it from a backup.") from error


def accepted_model(registry: RunRegistry, run: AcceptedRun) -> Path:
    """The folder of an accepted run's model.

    Raises:
        RegistryError: its copy is gone.
    """
    folder = registry.folder(run) / run.model
    if not folder.is_dir():
        raise RegistryError(
            f"accepted '{run.id}': its copy, '{folder}', is gone. Restore it, promote its run again after "
            "charter rollback, or roll back to the previous one."
        )
    return folder


@contextlib.contextmanager
def changing(outputs: Path) -> Iterator[RunRegistry]:
    """The registry under its lock, to add events: other writers wait until the block ends."""
    # A lock beside the file, since the file itself is replaced at each change.
    with file_lock(outputs / f".{FILE}.lock"):
        yield read_registry(outputs)


def add_event(registry: RunRegistry, event: Event) -> RunRegistry:
    """Write the registry with one more event, durable when this returns; only within `changing`."""
    after = replace(registry, history=(*registry.history, event))
    # `accepted` repeats what the history says, for people and scripts that read the file.
    content = _File(accepted=after.accepted, history=after.history).model_dump_json(indent=1)
    # Durable before a command reports success.
    write_text_atomic(after.outputs / FILE, content + "\n")
    return after

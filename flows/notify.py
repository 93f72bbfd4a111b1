"""Tell Prefect that a constitution changed, by an event; an automation starts the run.

``charter constitution notify`` and ``charter constitution watch`` are the commands.
"""

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from prefect.events import Event, Resource
from prefect.events.clients import get_events_client
from prefect.settings import PREFECT_API_URL

from charter.constitution import load_constitution
from charter.constitution.lint import lint
from charter.core.errors import ConfigError
from flows.cockpit.settings import HOME, ROOT, read_cockpit

CHANGED, BROKEN = "charter.constitution.changed", "charter.constitution.broken"


@dataclass(frozen=True)
class News:
    """What there is to tell about a constitution as it stands: its content's hash, or its mistakes."""

    path: Path
    name: str = ""
    version: str = ""
    hash: str = ""
    mistakes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    def event(self) -> Event:
        """For Prefect; a path within the project is given as seen from there, where a worker may be elsewhere."""
        path = self.path.resolve()
        named = str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else str(path)
        stem = re.sub(r"[^A-Za-z0-9]+", "-", path.stem).strip("-")[:80] or "constitution"
        constitution = {"hash": self.hash, "name": self.name, "version": self.version, "run": f"{stem}-{self.hash[:8]}"}
        return Event(
            event=BROKEN if self.mistakes else CHANGED,
            resource=Resource(
                {"prefect.resource.id": f"charter.constitution.{stem}", "prefect.resource.name": path.name}
            ),
            payload={"path": named, "warnings": self.warnings}
            | ({"mistakes": self.mistakes} if self.mistakes else constitution),
        )

    def __str__(self) -> str:
        """In a line, or one for each mistake."""
        return "\n".join(self.mistakes) or f"{self.path}: {self.name} {self.version} ({self.hash})"


def look(path: Path) -> News:
    """What there is to tell about a constitution's file now."""
    problems = lint(path)
    mistakes = tuple(str(problem) for problem in problems if problem.severity == "error")
    warnings = tuple(str(problem) for problem in problems if problem.severity == "warning")
    if mistakes:
        return News(path, mistakes=mistakes, warnings=warnings)
    constitution = load_constitution(path)
    return News(path, constitution.name, constitution.version, constitution.hash, warnings=warnings)


async def tell(news: Iterable[News]) -> None:
    """Send events to the server of this environment, or to that of `make ui`.

    Raises:
        ConfigError: there is no server, or it does not take the events.
    """
    with _server() as api:
        try:
            async with get_events_client(reconnection_attempts=1, checkpoint_every=1) as client:
                for one in news:
                    await client.emit(one.event())
        except Exception as error:  # Prefect raises no narrower one where a login is refused
            raise ConfigError(
                f"Prefect server '{api}': did not take the event ({error}). Start it, or correct PREFECT_API_URL and "
                "PREFECT_API_AUTH_STRING."
            ) from error


@contextmanager
def _server() -> Iterator[str]:
    cockpit = None if PREFECT_API_URL.value() else read_cockpit(HOME)
    with cockpit.connected() if cockpit else nullcontext():
        api = PREFECT_API_URL.value()
        if not api:
            raise ConfigError("PREFECT_API_URL '': no server to tell. Set it, or start one with `make ui`.")
        yield str(api)

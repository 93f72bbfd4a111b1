"""Registries of what other packages may add by name: judges, strategies, filters, sources, graders, models.

A registry lives beside the type of its entries (such as `charter.pipeline.judges.protocol.JUDGES`) and is filled by
decorators. Entry points of the group ``charter.plugins`` name modules whose import registers things; they are imported
when a name is looked up that is not registered yet, so that commands which need no plugin do not pay for any.
"""

import threading
from collections.abc import Callable
from difflib import get_close_matches
from importlib.metadata import entry_points
from pathlib import Path
from typing import Generic, TypeVar

from charter.core.errors import ConfigError

GROUP = "charter.plugins"

Entry = TypeVar("Entry")

_lock = threading.RLock()
_entry_points_loaded = False


class Registry(Generic[Entry]):
    """Entries of one kind, by name.

    Args:
        kind: what an entry is called in messages, such as ``judge``.
        setting: the setting that names one, such as ``judge.kind``.
    """

    def __init__(self, kind: str, setting: str) -> None:
        self._kind, self._setting = kind, setting
        self._entries: dict[str, Entry] = {}

    def add(self, name: str, entry: Entry) -> None:
        """Register an entry. The same name again replaces it, because a module may be imported twice."""
        self._entries[name] = entry

    def register(self, name: str) -> Callable[[Entry], Entry]:
        """A decorator that registers what it decorates, for registries whose entries are functions."""

        def add(entry: Entry) -> Entry:
            self.add(name, entry)
            return entry

        return add

    def __contains__(self, name: object) -> bool:
        if name not in self._entries:
            load_entry_points()
        return name in self._entries

    def __getitem__(self, name: str) -> Entry:
        """The entry of that name.

        Raises:
            ConfigError: no such entry; the message lists the known names.
        """
        if name in self:
            return self._entries[name]
        nearest = get_close_matches(name, self._entries, n=1)
        suggestion = f" Did you mean '{nearest[0]}'?" if nearest else ""
        raise ConfigError(
            f"{self._setting} '{name}': no such {self._kind}.{suggestion} Registered: {', '.join(self.names())}."
        )

    def get(self, name: str) -> Entry | None:
        """The entry of that name; None where there is none."""
        return self._entries[name] if name in self else None

    def names(self) -> tuple[str, ...]:
        """Every registered name, in the order of registration."""
        load_entry_points()
        return tuple(self._entries)


SHIPPED_MODELS: Registry[Path] = Registry("shipped model", "model")
"""Model folders that a package ships, by the name that a config may use for them."""


def load_entry_points() -> None:
    """Import the modules that installed packages name in the group ``charter.plugins``, once per process.

    Raises:
        ConfigError: one of them cannot be imported.
    """
    global _entry_points_loaded
    with _lock:  # reentrant: a plugin may look something up while it is imported
        if _entry_points_loaded:
            return
        _entry_points_loaded = True
        for point in entry_points(group=GROUP):
            try:
                point.load()
            except Exception as error:  # foreign code may raise anything
                _entry_points_loaded = False
                package = point.dist.name if point.dist else "an installed package"
                raise ConfigError(
                    f"plugin '{point.value}' of {package}: cannot be imported ({error}). Fix or uninstall {package}."
                ) from error

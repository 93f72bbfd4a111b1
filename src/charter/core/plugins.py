"""Registries of what other packages may add by name: judges, strategies, filters, sources, graders, models.

A registry lives beside the type of its entries (such as `charter.pipeline.judges.protocol.JUDGES`) and is filled by
decorators. Modules whose import registers things are named by entry points of the group ``charter.plugins``, and by the
setting `plugins` of a config. They are imported when a name is looked up that is not registered yet, so that commands
which need no plugin do not pay for any, and the report of an old run does not need the plugins that made it.
"""

import importlib
import importlib.util
import sys
import threading
from collections.abc import Callable, Iterable
from difflib import get_close_matches
from importlib.metadata import entry_points
from pathlib import Path
from typing import Generic, TypeVar

from charter.core.errors import ConfigError

GROUP = "charter.plugins"

Entry = TypeVar("Entry")

_lock = threading.RLock()
_entry_points_loaded = False
_named_modules = dict[str, bool]()  # by name, whether it is imported


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
            load_plugins()
        return name in self._entries

    def __getitem__(self, name: str) -> Entry:
        """The entry of that name.

        Raises:
            ConfigError: no such entry; the message lists the known names.
        """
        if name in self:
            return self._entries[name]
        # Most unknown names are typing errors.
        nearest = get_close_matches(name, self._entries, n=1)
        suggestion = f" Did you mean '{nearest[0]}'?" if nearest else ""
        raise ConfigError(
            f"{self._setting} '{name}': no such {self._kind}.{suggestion} Registered: {', '.join(self.names())}."
        )

    def get(self, name: str) -> Entry | None:
        """The entry of that name, or None."""
        return self._entries[name] if name in self else None

    def registered(self) -> tuple[tuple[str, Entry], ...]:
        """What is registered so far, without importing plugins."""
        return tuple(self._entries.items())

    def names(self) -> tuple[str, ...]:
        """Every registered name, in the order of registration."""
        load_plugins()
        return tuple(self._entries)


SHIPPED_MODELS: Registry[Path] = Registry("shipped model", "model")
"""Model folders that a package ships, by the name that a config may use for them."""


def name_plugins(modules: Iterable[str]) -> None:
    """Have modules imported at the next lookup that needs it: names of importable modules, or paths of .py files."""
    for module in modules:
        _named_modules.setdefault(module, False)


def load_plugins() -> None:
    """Import what entry points and `name_plugins` name, each once per process.

    Raises:
        ConfigError: one of them cannot be imported.
    """
    global _entry_points_loaded
    with _lock:  # reentrant: a plugin may look something up while it is imported
        if not _entry_points_loaded:
            _entry_points_loaded = True
            for point in entry_points(group=GROUP):
                try:
                    point.load()
                except Exception as error:  # foreign code may raise anything
                    _entry_points_loaded = False
                    origin = point.dist.name if point.dist else "a package"
                    raise ConfigError(
                        f"plugin '{point.value}' of {origin}: cannot be imported ({error}). Fix or uninstall {origin}."
                    ) from error
        for module in [name for name, imported in _named_modules.items() if not imported]:
            # Set before the import: a plugin that looks something up while it is imported must not import itself again.
            _named_modules[module] = True
            try:
                if not module.endswith(".py"):
                    importlib.import_module(module)
                    continue
                # With a prefix, because a file may be called like a module: judge.py
                name = f"charter_plugin_{Path(module).stem}"
                spec = importlib.util.spec_from_file_location(name, module)
                if spec is None or spec.loader is None:
                    raise ImportError(f"no module in {module}")
                sys.modules[name] = plugin = importlib.util.module_from_spec(spec)
                spec.loader.exec_module(plugin)
            except Exception as error:  # as above
                _named_modules[module] = False
                raise ConfigError(
                    f"plugins '{module}': cannot be imported ({error}). Name a module that Python can import, or the "
                    "path of a .py file, and correct the error in it."
                ) from error

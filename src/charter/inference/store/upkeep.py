"""What a store contains, and the deletion of damaged and unwanted entries."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple

from charter.core.errors import StoreError
from charter.inference.store.entries import unpack
from charter.inference.store.protocol import Database

UNKNOWN = "unknown"
"""Shown as the model of entries that an earlier version wrote without one."""
_DAY_S = 86_400
_BY_MODEL = """
SELECT identity, count(*), sum(length(value)), min(created), max(created)
FROM completions LEFT JOIN models ON models.id = completions.model
GROUP BY identity ORDER BY count(*) DESC, identity
"""
_NONE = "1 = 0"
"""A condition that chooses no entry: without options a vacuum deletes damaged entries alone."""


class Entry(NamedTuple):
    """One value, its model and its time."""

    key: bytes
    value: bytes
    model: str
    created: datetime | None


class ModelEntries(NamedTuple):
    """The entries that one model wrote."""

    model: str
    """The model's identity."""
    entries: int
    bytes: int
    """Of the compressed values alone."""
    oldest: datetime | None
    """None if an earlier version wrote the entries: it stored no time."""
    newest: datetime | None


class Holdings(NamedTuple):
    """What a store contains."""

    store: str
    entries: int
    bytes: int
    """On disk, with keys, indexes and gaps."""
    models: tuple[ModelEntries, ...]
    """Those with the most entries first."""

    @property
    def bytes_per_entry(self) -> float:
        """Disk space, keys included."""
        return self.bytes / self.entries if self.entries else 0.0

    @property
    def oldest(self) -> datetime | None:
        """When the first of the entries that have a time was written."""
        return min((one.oldest for one in self.models if one.oldest), default=None)

    @property
    def newest(self) -> datetime | None:
        """When the last of them was written."""
        return max((one.newest for one in self.models if one.newest), default=None)


class Vacuumed(NamedTuple):
    """What a vacuum deleted, or would delete."""

    store: str
    entries: int
    """Before."""
    corrupted: int
    """Of the entries that were not chosen."""
    chosen: int
    """Selected by model and age."""
    bytes_before: int
    bytes_after: int | None
    """None: nothing was changed."""


@dataclass(frozen=True)
class Choice:
    """Some of a store's entries, as a condition in SQL and its values."""

    condition: str
    values: tuple[Any, ...] = ()


def holdings(database: Database) -> Holdings:
    """Count the entries; reads the whole table."""
    models = tuple(
        ModelEntries(identity or UNKNOWN, entries, int(size), _when(oldest), _when(newest))
        for identity, entries, size, oldest, newest in database.rows(_BY_MODEL)
    )
    return Holdings(database.name, sum(one.entries for one in models), database.size(), models)


def choose_entries(database: Database, model: str | None = None, older_than_days: float | None = None) -> Choice:
    """The entries of a model (its identity or a prefix of it) that are older than some days.

    Raises:
        StoreError: no model has that identity or prefix, or several have.
    """
    conditions: list[str] = []
    values: list[Any] = []
    if model == UNKNOWN:
        conditions.append("model IS NULL")
    elif model is not None:
        known = list(database.rows("SELECT identity, id FROM models ORDER BY identity"))
        # A whole identity goes first: it may be the beginning of another one.
        matches = [row for row in known if row[0] == model] or [row for row in known if row[0].startswith(model)]
        if len(matches) != 1:
            names = ", ".join(row[0] for row in (matches or known)) or "none"
            problem = "several models have that prefix" if matches else "not in this store"
            raise StoreError(
                f"--model '{model}': {problem}: {names}. Name one of them, or '{UNKNOWN}'; 'charter store stats' "
                "prints all."
            )
        conditions.append("model = ?")
        values.append(int(matches[0][1]))
    if older_than_days is not None:
        # Entries of format 1 have no time, so no age selects them.
        conditions.append("created < ?")
        values.append(int(time.time() - older_than_days * _DAY_S))
    return Choice(" AND ".join(conditions) or _NONE, tuple(values))


def vacuum(database: Database, choice: Choice, for_real: bool) -> Vacuumed:
    """Delete damaged entries and the chosen ones, and return their space to the disk; only count unless `for_real`."""
    entries = chosen = 0
    corrupted: list[tuple[bytes, bytes]] = []
    # The condition is a column: one pass counts chosen and damaged entries.
    statement = f"SELECT key, value, {choice.condition} FROM completions"
    for key, stored, is_chosen in database.rows(statement, choice.values):
        entries += 1
        if is_chosen:
            chosen += 1
            continue
        try:
            unpack(key, stored)
        except ValueError:
            corrupted.append((key, stored))
    before = database.size()
    after: int | None = None
    if for_real:
        if chosen:
            chosen = database.change(f"DELETE FROM completions WHERE {choice.condition}", [choice.values])
        if corrupted:  # with the value, because a run may have replaced it meanwhile
            database.change("DELETE FROM completions WHERE key = ? AND value = ?", corrupted)
        # Deleted entries leave gaps in the file, which only a rewrite gives back.
        database.reclaim()
        after = database.size()
    return Vacuumed(database.name, entries, len(corrupted), chosen, before, after)


def sound_entries(database: Database, choice: Choice | None, damaged: list[str]) -> Iterator[Entry]:
    """The intact entries in order of key; the keys of damaged ones are appended to `damaged`."""
    where = f"WHERE {choice.condition}" if choice else ""
    statement = f"""
SELECT key, value, identity, created FROM completions LEFT JOIN models ON models.id = completions.model
{where} ORDER BY key
"""
    for key, stored, identity, created in database.rows(statement, choice.values if choice else ()):
        try:
            value = unpack(key, stored)
        except ValueError:
            damaged.append(key.hex())
            continue
        yield Entry(key, value, identity or UNKNOWN, _when(created))


def _when(seconds: int | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)

"""What a store does for runs, and its tables for upkeep, whichever database holds them."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple, Protocol

Row = tuple[Any, ...]


class StoreStats(NamedTuple):
    """What a store contains, and what this process did with it."""

    entries: int
    bytes: int
    hits: int
    misses: int
    puts: int
    corrupted: int
    """Entries whose hash did not match: treated as misses, replaced by the next put."""


class Put(NamedTuple):
    """One value to write."""

    key: bytes
    value: bytes
    model: str


class Store(Protocol):
    """What the engine needs of a database."""

    @property
    def corrupted(self) -> int:
        """Damaged entries read so far; each is asked again and replaced."""

    async def get(self, key: bytes) -> bytes | None:
        """The value; None if it is missing or damaged."""

    async def put(self, key: bytes, value: bytes, model: str = "") -> None:
        """Write a value; returns once it is durable.

        Args:
            key: the 32 bytes of `charter.inference.completion.request_key`.
            value: a completion's bytes.
            model: the identity of the model that wrote it, by which `charter store` counts and deletes entries. The key
                already depends on it.
        """

    def stats(self) -> StoreStats:
        """Sizes and counts; counting the entries of a large store takes some time."""

    def close(self) -> None:
        """Commit what is waiting and close the database. Safe to repeat."""


class Database(Protocol):
    """A store's tables, for upkeep; statements mark values with ``?``.

    They are ``completions (key, value, model, created)`` and ``models (id, identity)``.
    """

    @property
    def name(self) -> str:
        """Its path, or its address without credentials."""

    def rows(self, statement: str, values: Sequence[Any] = ()) -> Iterator[Row]:
        """The rows of a query, streamed."""

    def change(self, statement: str, values: Iterable[Sequence[Any]]) -> int:
        """Run a statement for each of some values in one transaction; returns the number of rows changed."""

    def size(self) -> int:
        """Bytes on disk."""

    def reclaim(self) -> None:
        """Return the space of deleted entries to the disk."""

    def close(self) -> None:
        """Close it."""

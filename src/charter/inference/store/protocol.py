"""What a store can do, whichever database stands behind it."""

from typing import NamedTuple, Protocol


class StoreStats(NamedTuple):
    """What the store holds, and what this process did with it."""

    entries: int
    bytes: int
    hits: int
    misses: int
    puts: int
    corrupted: int
    """Entries whose hash did not match: treated as misses, and replaced by the next put."""


class Put(NamedTuple):
    """One value on its way into the database."""

    key: bytes
    value: bytes
    model: str


class Store(Protocol):
    """What the engine needs; small, so that any database can stand behind it."""

    @property
    def corrupted(self) -> int:
        """Damaged entries met so far; each is asked again and replaced."""

    async def get(self, key: bytes) -> bytes | None:
        """The value, or None when there is none that is whole."""

    async def put(self, key: bytes, value: bytes, model: str = "") -> None:
        """Keep a value; returns once it is durable.

        Args:
            key: the 32 bytes of `charter.inference.completion.request_key`.
            value: what to keep.
            model: the identity of the model that wrote it, by which `charter store` counts and drops entries.
                It is part of the key already.
        """

    def stats(self) -> StoreStats:
        """Sizes and counts; counting the entries of a large store takes a moment."""

    def close(self) -> None:
        """Commit what is waiting and let go of the database. Twice is harmless."""

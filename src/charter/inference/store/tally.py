"""What a process found in its store, counted; damage is reported here."""

import logging
from dataclasses import dataclass

from charter.inference.store.packing import unpack
from charter.inference.store.protocol import StoreStats

logger = logging.getLogger(__name__)


@dataclass
class Tally:
    """The counts of one open store."""

    name: str
    """The store's path or address, as it may be shown."""
    hits: int = 0
    misses: int = 0
    puts: int = 0
    corrupted: int = 0

    def read(self, key: bytes, stored: bytes | None) -> bytes | None:
        """The value of an entry as it lay in the database; None, a miss, if it is damaged or was not there."""
        if stored is not None:
            try:
                value = unpack(key, stored)
            except ValueError as error:
                self.damaged(key, error)
            else:
                self.hits += 1
                return value
        self.misses += 1
        return None

    def damaged(self, key: bytes, error: Exception) -> None:
        """Report an entry that cannot be used, and count it."""
        self.corrupted += 1
        logger.warning("store '%s': entry %s is damaged (%s). It is asked again.", self.name, key.hex(), error)

    def stats(self, entries: int, size: int) -> StoreStats:
        """Together with what the database holds; `size` in bytes."""
        return StoreStats(entries, size, self.hits, self.misses, self.puts, self.corrupted)

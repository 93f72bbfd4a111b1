"""The store of completions: what was once answered is never asked again.

Content-addressed: the key is the SHA-256 of everything that determines a completion, so resuming
after a kill, editing a constitution and trying another judge are all the same run again.
"""

from charter.inference.store.opening import open_store
from charter.inference.store.protocol import Store, StoreStats

__all__ = ["Store", "StoreStats", "open_store"]

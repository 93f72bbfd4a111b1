"""The store of completions: no request is sent to a model twice.

It is content-addressed: the key is the SHA-256 of everything that determines a completion. Resuming after a kill,
editing a constitution and trying another judge therefore need nothing but another run.
"""

from charter.inference.store.opening import open_store
from charter.inference.store.protocol import Store, StoreStats

__all__ = ["Store", "StoreStats", "open_store"]

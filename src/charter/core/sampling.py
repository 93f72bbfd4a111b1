"""Random draws from stable ids: the same on any machine, with any number of workers."""

import hashlib
import heapq
from collections.abc import Iterable


def draw(ids: Iterable[str], n: int, seed: int) -> list[str]:
    """`n` ids chosen pseudo-randomly: the same for the same ids and seed, in any order."""
    # Each id has its own rank, so that another id added to the set displaces at most one of those drawn.
    return heapq.nsmallest(n, ids, key=lambda id_: hashlib.sha256(f"{seed}:{id_}".encode()).digest())


def seed_of(*parts: object) -> int:
    """A request's seed, from stable ids: the same on any worker and in any order. 31 bits."""
    # A separator that no id contains: without it ("a", "b1") and ("ab", "1") would share a seed.
    return int.from_bytes(hashlib.sha256("\x1f".join(map(str, parts)).encode()).digest()[:4], "big") >> 1

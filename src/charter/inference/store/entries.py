"""A store's entries: compressed, with a hash that reveals damage; and the counts of what was read and written.

zlib and not Zstandard, both with the same dictionary: of 900 answers of real models (XSTest's, 958 bytes each as JSON)
zlib made 449 bytes in 22 µs, Zstandard 470 in 10 µs (level 3) or 464 in 18 µs (level 9); of the sandbox's 99 against
100. The smaller store is worth 12 µs of a call that may cost 600.
"""

import hashlib
import logging
import zlib
from dataclasses import dataclass

from charter.inference.store.protocol import StoreStats

logger = logging.getLogger(__name__)

_DIGEST_BYTES = 8
# Completions are short: with a dictionary of what they all contain, even a few dozen bytes shrink.
_DICTIONARY = (
    b'"finish_reason":"length","choice_probs":[0.5,0.0001]}I cannot help with that. '
    b'{"text":"","finish_reason":"stop","prompt_tokens":100,"completion_tokens":1,"choice_probs":[]}'
)


def pack(key: bytes, value: bytes) -> bytes:
    """The compressed value, preceded by its hash."""
    # wbits -15: raw, without zlib's header and checksum, whose six bytes the digest makes superfluous.
    compressor = zlib.compressobj(level=6, wbits=-15, zdict=_DICTIONARY)
    packed = compressor.compress(value) + compressor.flush()
    return _digest(key, packed) + packed


def unpack(key: bytes, stored: bytes) -> bytes:
    """The value that `pack` was given.

    Raises:
        ValueError: the bytes are not what was written under this key.
    """
    digest, packed = stored[:_DIGEST_BYTES], stored[_DIGEST_BYTES:]
    if digest != _digest(key, packed):
        raise ValueError("the hash does not match")
    try:
        return zlib.decompressobj(wbits=-15, zdict=_DICTIONARY).decompress(packed)
    except zlib.error as error:
        raise ValueError(f"cannot be decompressed: {error}") from error


def _digest(key: bytes, packed: bytes) -> bytes:
    # Keyed, so that a value under a wrong key is detected.
    return hashlib.blake2b(packed, digest_size=_DIGEST_BYTES, key=key).digest()


@dataclass
class EntryCounts:
    """What this process read from and wrote to one open store; reports damage."""

    name: str
    """The store's path, or its address without credentials."""
    hits: int = 0
    misses: int = 0
    puts: int = 0
    corrupted: int = 0

    def read(self, key: bytes, stored: bytes | None) -> bytes | None:
        """Unpack an entry as stored; None, counted as a miss, if it is missing or damaged."""
        if stored is not None:
            try:
                value = unpack(key, stored)
            except ValueError as error:
                self.record_damage(key, error)
            else:
                self.hits += 1
                return value
        self.misses += 1
        return None

    def record_damage(self, key: bytes, error: Exception) -> None:
        """Count and report a damaged entry."""
        self.corrupted += 1
        logger.warning("store '%s': entry %s is damaged (%s). It is asked again.", self.name, key.hex(), error)

    def stats(self, entries: int, size: int) -> StoreStats:
        """These counts, with the database's number of entries and size in bytes."""
        return StoreStats(entries, size, self.hits, self.misses, self.puts, self.corrupted)

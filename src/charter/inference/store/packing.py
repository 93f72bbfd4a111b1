"""A value as the store keeps it: compressed, under a hash that tells damage.

zlib and not Zstandard, both with the same dictionary: of 900 answers of real models (XSTest's, 958 bytes each as JSON)
zlib made 449 bytes in 22 µs, Zstandard 470 in 10 µs (level 3) or 464 in 18 µs (level 9); of the sandbox's 99 against
100. The smaller store is worth 12 µs of a call that may cost 600.
"""

import hashlib
import zlib

_DIGEST_BYTES = 8
# Completions are short: a dictionary of what they all contain lets even a few dozen bytes shrink.
_DICTIONARY = (
    b'"finish_reason":"length","choice_probs":[0.5,0.0001]}I cannot help with that. '
    b'{"text":"","finish_reason":"stop","prompt_tokens":100,"completion_tokens":1,"choice_probs":[]}'
)


def pack(key: bytes, value: bytes) -> bytes:
    """The value compressed, its hash before it."""
    compressor = zlib.compressobj(level=6, wbits=-15, zdict=_DICTIONARY)
    packed = compressor.compress(value) + compressor.flush()
    return _digest(key, packed) + packed


def unpack(key: bytes, stored: bytes) -> bytes:
    """What `pack` was given.

    Raises:
        ValueError: the bytes are not those that were written under this key.
    """
    digest, packed = stored[:_DIGEST_BYTES], stored[_DIGEST_BYTES:]
    if digest != _digest(key, packed):
        raise ValueError("the hash does not match")
    try:
        return zlib.decompressobj(wbits=-15, zdict=_DICTIONARY).decompress(packed)
    except zlib.error as error:
        raise ValueError(f"cannot be decompressed: {error}") from error


def _digest(key: bytes, packed: bytes) -> bytes:
    """Over the key too, so that a value under a wrong key is noticed."""
    return hashlib.blake2b(packed, digest_size=_DIGEST_BYTES, key=key).digest()

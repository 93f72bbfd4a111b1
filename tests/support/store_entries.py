"""Entries for tests of the store, and ways to meddle with them."""

import asyncio
import hashlib
import subprocess
import sys
from collections.abc import Iterable
from contextlib import closing
from typing import Any

from charter.inference import Completion
from charter.inference.store import open_store
from charter.inference.store.opening import open_database

WRITER = """
import asyncio, sys
from charter.inference.store import open_store
from tests.support.store_entries import key
async def main(url, first, n, say):
    store = open_store(url)
    async def one(i):
        await store.put(key(i), f"value {i}".encode(), f"sha256:{i % 3}")
        if say:
            print(i, flush=True)
    for start in range(first, first + n, 20):
        await asyncio.gather(*(one(i) for i in range(start, start + 20)))
    store.close()
asyncio.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4] == "say"))
"""


def key(i: int) -> bytes:
    return hashlib.sha256(str(i).encode()).digest()


def completion(i: int) -> Completion:
    return Completion(f"answer {i}", "stop", 10 + i, i, (0.25, 0.75) if i == 1 else ())


def fill(url: str, numbers: Iterable[int], model: str = "sha256:m") -> None:
    """Keep a completion for each of some numbers."""

    async def put_all() -> None:
        with closing(open_store(url)) as store:
            await asyncio.gather(*(store.put(key(i), completion(i).to_bytes(), model) for i in numbers))

    asyncio.run(put_all())


def meddle(url: str, statement: str, *values: Any) -> int:
    """Change the tables behind the store's back."""
    with closing(open_database(url)) as database:
        return database.change(statement, [values])


def damage(url: str, i: int) -> None:
    """Turn one bit over."""
    with closing(open_database(url)) as database:
        ((value,),) = database.rows("SELECT value FROM completions WHERE key = ?", (key(i),))
        flipped = bytes([*value[:-1], value[-1] ^ 1])
        assert database.change("UPDATE completions SET value = ? WHERE key = ?", [(flipped, key(i))]) == 1


def writer(url: str, first: int, n: int, say: str = "silent") -> "subprocess.Popen[str]":
    """A process that puts `n` values; to `say` is to print the number of each that was acknowledged."""
    command = [sys.executable, "-c", WRITER, url, str(first), str(n), say]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

"""The store on real files and real processes: nothing acknowledged is ever lost."""

import asyncio
import hashlib
import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from charter.errors import StoreError
from charter.serving import open_store
from charter.serving.store import SqliteStore


def key(i: int) -> bytes:
    return hashlib.sha256(str(i).encode()).digest()


async def test_what_is_put_is_found(tmp_path: Path) -> None:
    store = open_store(tmp_path / "new/folder/store.sqlite")
    await asyncio.gather(*(store.put(key(i), f"value {i}".encode()) for i in range(300)))
    assert await store.get(key(7)) == b"value 7"
    assert await store.get(key(300)) is None
    stats = store.stats()
    assert (stats.entries, stats.hits, stats.misses, stats.puts, stats.corrupted) == (300, 1, 1, 300, 0)
    store.close()
    again = open_store(tmp_path / "new/folder/store.sqlite")
    assert await again.get(key(299)) == b"value 299"
    again.close()
    again.close()


async def test_a_long_value_takes_less_room(tmp_path: Path) -> None:
    store = open_store(tmp_path / "s.sqlite")
    value = b"I cannot help with that. " * 4000
    await store.put(key(0), value)
    assert await store.get(key(0)) == value
    store.close()
    assert (tmp_path / "s.sqlite").stat().st_size < len(value) / 5


@pytest.mark.parametrize("damage", [b"", b"short", None], ids=["empty", "short", "one bit"])
async def test_a_damaged_entry_is_a_miss_and_can_be_replaced(tmp_path: Path, damage: bytes | None) -> None:
    store = open_store(tmp_path / "s.sqlite")
    await store.put(key(0), b"the value")
    await store.put(key(1), b"another")
    with sqlite3.connect(tmp_path / "s.sqlite") as outside:
        (value,) = outside.execute("SELECT value FROM completions WHERE key = ?", (key(0),)).fetchone()
        flipped = bytes([*value[:-1], value[-1] ^ 1])
        outside.execute(
            "UPDATE completions SET value = ? WHERE key = ?", (flipped if damage is None else damage, key(0))
        )
    outside.close()
    assert await store.get(key(0)) is None
    assert await store.get(key(1)) == b"another"
    assert store.stats().corrupted == store.corrupted == 1
    await store.put(key(0), b"the value")
    assert await store.get(key(0)) == b"the value"
    store.close()


async def test_a_value_under_a_wrong_key_is_noticed(tmp_path: Path) -> None:
    store = open_store(tmp_path / "s.sqlite")
    await store.put(key(0), b"zero")
    with sqlite3.connect(tmp_path / "s.sqlite") as outside:
        outside.execute("UPDATE completions SET key = ?", (key(1),))
    outside.close()
    assert await store.get(key(1)) is None
    assert store.corrupted == 1
    store.close()


WRITER = """
import asyncio, hashlib, sys
from charter.serving import open_store
async def main(path, first, n, say):
    store = open_store(path)
    async def one(i):
        await store.put(hashlib.sha256(str(i).encode()).digest(), f"value {i}".encode())
        if say:
            print(i, flush=True)
    for start in range(first, first + n, 20):
        await asyncio.gather(*(one(i) for i in range(start, start + 20)))
    store.close()
asyncio.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4] == "say"))
"""


def writer(path: Path, first: int, n: int, say: str = "silent") -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", WRITER, str(path), str(first), str(n), say]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


@pytest.mark.parametrize("lines", [1, 37, 200])
async def test_killed_writer_loses_nothing_that_was_acknowledged(tmp_path: Path, lines: int) -> None:
    process = writer(tmp_path / "s.sqlite", 0, 1_000_000, "say")
    assert process.stdout is not None
    acknowledged = [int(process.stdout.readline()) for _ in range(lines)]
    os.kill(process.pid, signal.SIGKILL)
    # What was still in the pipe was acknowledged too; the last line may be cut.
    acknowledged += [int(line) for line in process.stdout.read().split("\n")[:-1]]
    process.stdout.close()
    process.wait(10)
    store = open_store(tmp_path / "s.sqlite")
    assert len(acknowledged) >= lines
    for i in acknowledged:
        assert await store.get(key(i)) == f"value {i}".encode()
    assert store.corrupted == 0
    store.close()


async def test_several_processes_share_one_file(tmp_path: Path) -> None:
    path = tmp_path / "s.sqlite"
    writers = [writer(path, first, 600) for first in (0, 300, 600)]
    store = open_store(path)
    for i in range(2000, 2100):
        await store.put(key(i), b"ours")
    for process in writers:
        assert process.stdout is not None
        process.stdout.close()
        assert process.wait(60) == 0
    assert store.stats().entries == 1300
    assert [await store.get(key(i)) for i in (0, 450, 1199)] == [b"value 0", b"value 450", b"value 1199"]
    store.close()


def test_a_folder_in_place_of_the_file(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"store '.*'.*Name a file in a folder that you may write to"):
        open_store(tmp_path)


def test_a_file_in_place_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="store: PATH"):
        open_store(tmp_path / "file/store.sqlite")


def test_a_file_that_is_no_store(tmp_path: Path) -> None:
    (tmp_path / "s.sqlite").write_bytes(b"not a database at all, " * 100)
    with pytest.raises(StoreError, match="Move the file away"):
        open_store(tmp_path / "s.sqlite")


def test_another_database_is_refused_without_its_password() -> None:
    with pytest.raises(StoreError, match=r"only SQLite") as caught:
        open_store("postgresql://me:secret@host/db")
    assert "secret" not in str(caught.value)


async def test_a_full_disk_is_told_and_survived(tmp_path: Path) -> None:
    """The limit on pages stands for the disk: SQLite reports both in the same way."""
    store = SqliteStore(tmp_path / "s.sqlite")
    await store.put(key(0), b"zero")
    store._writer.execute("PRAGMA max_page_count = 20")
    with pytest.raises(StoreError, match=r"full.*Free some space"):
        await asyncio.gather(*(store.put(key(i), os.urandom(3000)) for i in range(1, 100)))
    store._writer.execute("PRAGMA max_page_count = 1000000")
    await store.put(key(1000), b"after")
    assert [await store.get(key(0)), await store.get(key(1000))] == [b"zero", b"after"]
    store.close()


async def test_closed_means_closed(tmp_path: Path) -> None:
    store = open_store(tmp_path / "s.sqlite")
    store.close()
    with pytest.raises(StoreError, match="already closed"):
        await store.put(key(0), b"")

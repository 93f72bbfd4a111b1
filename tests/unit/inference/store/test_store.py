"""Both kinds of store on real files, real servers and real processes: nothing acknowledged is ever lost."""

import asyncio
import os
import signal
from pathlib import Path

import pytest

from charter.core.errors import StoreError
from charter.inference.store import open_store
from tests.support.store_entries import damage, key, meddle, writer


async def test_what_is_put_is_found(url: str) -> None:
    store = open_store(url)
    await asyncio.gather(*(store.put(key(i), f"value {i}".encode(), "sha256:m") for i in range(300)))
    assert await store.get(key(7)) == b"value 7"
    assert await store.get(key(300)) is None
    stats = store.stats()
    assert (stats.entries, stats.hits, stats.misses, stats.puts, stats.corrupted) == (300, 1, 1, 300, 0)
    assert stats.bytes > 300 * 32
    store.close()
    again = open_store(url)
    assert await asyncio.gather(*(again.get(key(i)) for i in (299, 0, 299, 300))) == [
        b"value 299", b"value 0", b"value 299", None
    ]  # fmt: skip
    again.close()
    again.close()


async def test_the_last_value_put_under_a_key_stays(url: str) -> None:
    store = open_store(url)
    await asyncio.gather(*(store.put(key(0), f"value {i}".encode()) for i in range(10)))
    assert await store.get(key(0)) == b"value 9"
    await store.put(key(0), b"other", "sha256:m")
    assert await store.get(key(0)) == b"other"
    assert store.stats().entries == 1
    store.close()


@pytest.mark.parametrize("what", [b"", b"short", None], ids=["empty", "short", "one bit"])
async def test_a_damaged_entry_is_told_and_can_be_replaced(
    url: str, caplog: pytest.LogCaptureFixture, what: bytes | None
) -> None:
    store = open_store(url)
    await store.put(key(0), b"the value")
    await store.put(key(1), b"another")
    if what is None:
        damage(url, 0)
    else:
        meddle(url, "UPDATE completions SET value = ? WHERE key = ?", what, key(0))
    assert await store.get(key(0)) is None
    assert f"entry {key(0).hex()} is damaged" in caplog.text
    assert await store.get(key(1)) == b"another"
    assert store.stats().corrupted == store.corrupted == 1
    await store.put(key(0), b"the value")
    assert await store.get(key(0)) == b"the value"
    store.close()


async def test_a_value_under_a_wrong_key_is_noticed(url: str) -> None:
    store = open_store(url)
    await store.put(key(0), b"zero")
    meddle(url, "UPDATE completions SET key = ?", key(1))
    assert await store.get(key(1)) is None
    assert store.corrupted == 1
    store.close()


async def test_a_long_value_takes_less_room(url: str) -> None:
    store = open_store(url)
    empty = store.stats().bytes
    value = b"I cannot help with that. " * 40_000
    await store.put(key(0), value)
    assert await store.get(key(0)) == value
    assert store.stats().bytes - empty < len(value) / 5
    store.close()


@pytest.mark.parametrize("lines", [1, 37, 200])
async def test_killed_writer_loses_nothing_that_was_acknowledged(url: str, lines: int) -> None:
    with writer(url, 0, 1_000_000, "say") as process:
        assert process.stdout is not None
        acknowledged = [int(process.stdout.readline()) for _ in range(lines)]
        os.kill(process.pid, signal.SIGKILL)
        # What was still in the pipe was acknowledged too; the last line may be cut.
        acknowledged += [int(line) for line in process.stdout.read().split("\n")[:-1]]
    store = open_store(url)
    assert len(acknowledged) >= lines
    for i in acknowledged:
        assert await store.get(key(i)) == f"value {i}".encode()
    assert store.corrupted == 0
    store.close()


async def test_several_processes_write_to_one_store_at_once(url: str) -> None:
    """From the moment that there is no store yet; half of what each puts another puts too."""
    writers = [writer(url, first, 600) for first in (0, 300, 600)]
    store = open_store(url)
    for i in range(2000, 2100):
        await store.put(key(i), b"ours")
    for process in writers:
        told = await asyncio.to_thread(process.communicate, timeout=60)
        assert (process.returncode, told) == (0, ("", ""))
    assert store.stats().entries == 1300
    assert [await store.get(key(i)) for i in (0, 450, 1199)] == [b"value 0", b"value 450", b"value 1199"]
    store.close()


async def test_closed_means_closed(url: str) -> None:
    store = open_store(url)
    store.close()
    with pytest.raises(StoreError, match="already closed"):
        await store.put(key(0), b"")
    with pytest.raises(StoreError, match="already closed"):
        await store.get(key(0))


def test_a_folder_in_place_of_the_file(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"store '.*'.*Name a file in a folder with write permission"):
        open_store(tmp_path)


def test_a_file_in_place_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="store: PATH"):
        open_store(tmp_path / "file/store.sqlite")


def test_a_file_that_is_no_store(tmp_path: Path) -> None:
    (tmp_path / "s.sqlite").write_bytes(b"not a database at all, " * 100)
    with pytest.raises(StoreError, match="Move the file away"):
        open_store(tmp_path / "s.sqlite")


async def test_an_address_may_say_sqlite(tmp_path: Path) -> None:
    store = open_store(f"sqlite://{tmp_path}/s.sqlite")
    await store.put(key(0), b"zero")
    store.close()
    assert (tmp_path / "s.sqlite").is_file()


def test_another_kind_of_database_is_refused() -> None:
    with pytest.raises(StoreError, match=r"store 'mysql://…': unknown kind.*postgresql://USER@HOST/DATABASE") as caught:
        open_store("mysql://me:secret@host/db")
    assert "secret" not in str(caught.value)

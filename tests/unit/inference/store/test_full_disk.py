"""A disk that fills up in the middle of a run: a clear error, nothing corrupt, and the same run goes on."""

import asyncio
import resource
import shutil
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import pytest

from charter.config import Serving
from charter.core.errors import StoreError
from charter.core.messages import user
from charter.inference import EngineSpec, Sampling, connect, open_engine, open_store
from charter.testing.null_server import NullServer, run_null_server
from tests.support.store_entries import key

ROOM = 512 * 1024
CALLS = 600


class Disk(NamedTuple):
    folder: Path
    make_room: Callable[[], object]


@pytest.fixture(params=["tmpfs", "limit on files"])
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Disk]:
    """Half a megabyte: a small file system, and, where none may be mounted, a limit on the size of files."""
    folder = tmp_path / "small"
    folder.mkdir()
    if request.param == "tmpfs":
        if not _mount(folder, f"size={ROOM}"):
            pytest.skip("no file system may be mounted here")
        yield Disk(folder, lambda: _mount(folder, "remount,size=64m"))
        subprocess.run(["umount", str(folder)], check=True)
        return
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (ROOM, before[1]))
    yield Disk(folder, lambda: resource.setrlimit(resource.RLIMIT_FSIZE, before))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def _mount(folder: Path, options: str) -> bool:
    if shutil.which("mount") is None:
        return False
    command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    return subprocess.run(command, capture_output=True).returncode == 0


async def ask_all(spec: EngineSpec) -> tuple[list[str | BaseException], int]:
    """The answers, or what went wrong with them, and how many a server was asked for."""
    async with open_engine(spec) as engine:

        async def row(i: int) -> str:
            return (await engine.ask([user(f"row {i}")], Sampling(64, temperature=1.0, seed=i))).text

        answers = await asyncio.gather(*(row(i) for i in range(CALLS)), return_exceptions=True)
        return answers, engine.stats.asked


async def test_a_run_on_a_full_disk_goes_on_when_there_is_room(disk: Disk) -> None:
    with run_null_server() as server:
        spec = _spec(server, disk.folder)
        answers, asked = await ask_all(spec)
        errors = [one for one in answers if isinstance(one, BaseException)]
        assert 0 < len(errors) < CALLS and asked == CALLS - len(errors)
        assert {type(error) for error in errors} == {StoreError}
        assert "Free some space on its disk and run the same command again" in str(errors[0])
        disk.make_room()
        with closing(sqlite3.connect(spec.store)) as outside:
            assert outside.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        complete, asked_again = await ask_all(spec)
        assert asked_again == CALLS - asked  # all that was acknowledged is still there
        assert all(isinstance(one, str) for one in complete)
        assert [one for one in answers if isinstance(one, str)] == [
            after for one, after in zip(answers, complete, strict=True) if isinstance(one, str)
        ]


async def test_a_store_on_a_full_disk_goes_on_without_being_opened_again(disk: Disk) -> None:
    with closing(open_store(disk.folder / "s.sqlite")) as store:
        kept: list[int] = []
        with pytest.raises(StoreError, match="Free some space"):
            for i in range(100_000):
                await store.put(key(i), f"value {i}".encode() * 100)
                kept.append(i)
        assert await store.get(key(0)) == b"value 0" * 100
        disk.make_room()
        await store.put(key(len(kept)), b"after")
        assert await store.get(key(len(kept))) == b"after"
        assert all([await store.get(key(i)) == f"value {i}".encode() * 100 for i in kept])
        assert store.corrupted == 0


def _spec(server: NullServer, folder: Path) -> EngineSpec:
    return EngineSpec.of(connect([server.url], Serving()), str(folder / "store.sqlite"), concurrency=16)

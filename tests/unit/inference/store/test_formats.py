"""Files of the format before this one are read and go on; those of a later one are refused."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from charter.core.errors import StoreError
from charter.inference.store import open_store
from charter.inference.store.entries import pack, unpack
from charter.inference.store.opening import open_database
from charter.inference.store.upkeep import UNKNOWN, holdings
from tests.support.store_entries import key

FORMAT_1 = "CREATE TABLE completions (key BLOB PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID"
VALUE = b'{"text":"No: arson harms others.","finish_reason":"stop"}'
PACKED_BY_VERSION_0_1 = "5abcc9456e8fc1b0839bee976fa590580434562123b128b75821bf2423b5a8580f97a5b500"


def database(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for statement in statements:
            connection.execute(statement)


async def test_a_store_of_the_first_format_is_read_and_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "s.sqlite"
    database(path, "PRAGMA journal_mode = WAL", FORMAT_1)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("INSERT INTO completions VALUES (?, ?)", (key(0), pack(key(0), b"zero")))
    first, second = open_store(path), open_store(path)
    assert await first.get(key(0)) == b"zero"
    await second.put(key(1), b"one", "sha256:m")
    assert await first.get(key(1)) == b"one"
    first.close()
    second.close()
    with closing(open_database(str(path))) as opened:
        held = holdings(opened)
    assert {one.model: (one.entries, one.oldest is None) for one in held.models} == {
        UNKNOWN: (1, True), "sha256:m": (1, False)
    }  # fmt: skip


def test_what_was_packed_before_is_unpacked() -> None:
    """As bytes: a change of the form or of its dictionary would make every stored completion a damaged one."""
    assert unpack(key(0), bytes.fromhex(PACKED_BY_VERSION_0_1)) == VALUE


def test_a_store_of_a_later_format_is_refused(tmp_path: Path) -> None:
    open_store(tmp_path / "s.sqlite").close()
    database(tmp_path / "s.sqlite", "PRAGMA user_version = 9")
    with pytest.raises(StoreError, match=r"later version of Charter wrote it \(format 9, this one knows 2\)\. Upgrade"):
        open_store(tmp_path / "s.sqlite")


@pytest.mark.parametrize("version", [0, 2, 9])
def test_another_programs_database_is_left_alone(tmp_path: Path, version: int) -> None:
    path = tmp_path / "s.sqlite"
    database(path, "CREATE TABLE flow_run (id)", f"PRAGMA user_version = {version}")
    with pytest.raises(StoreError, match=r"another program\. Name another file"):
        open_store(path)
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT name FROM sqlite_master").fetchall() == [("flow_run",)]

"""What only a server can do: be away, turn one down, be asked by several hosts."""

import asyncio
import socket
import subprocess
import sys
import threading
import time
from contextlib import closing
from pathlib import Path

import psycopg
import pytest

from charter.config import Config, Serving
from charter.core.errors import StoreError
from charter.core.installation import install_hint
from charter.inference.store import open_store
from charter.inference.store.opening import open_database
from charter.runs.preflight import check_config
from charter.testing.null_server import run_null_server
from tests.support.postgres_server import PASSWORD, PostgresServer
from tests.support.store_entries import key


async def test_a_server_that_crashes_and_comes_back_loses_nothing(
    postgres: str, postgres_server: PostgresServer, caplog: pytest.LogCaptureFixture
) -> None:
    acknowledged = []
    with closing(open_store(postgres)) as store:

        async def one(i: int) -> None:
            await store.put(key(i), f"value {i}".encode())
            acknowledged.append(i)

        async def crash() -> None:
            await asyncio.to_thread(postgres_server.stop, "immediate")
            assert len(acknowledged) < 400
            await asyncio.to_thread(postgres_server.start)

        crashing = asyncio.create_task(crash())
        for i in range(0, 400, 20):
            await asyncio.gather(*(one(j) for j in range(i, i + 20)))
            await asyncio.sleep(0.05)
        await crashing
        assert sorted(acknowledged) == list(range(400))
        assert await asyncio.gather(*(store.get(key(i)) for i in range(400))) == [
            f"value {i}".encode() for i in range(400)
        ]
    assert caplog.text.count("the server is away; waiting for it to come back") >= 1
    assert PASSWORD not in caplog.text


async def test_a_commit_is_on_disk_even_where_the_server_is_set_otherwise(postgres: str) -> None:
    with psycopg.connect(postgres, autocommit=True) as admin:
        admin.execute("ALTER ROLE charter SET synchronous_commit TO off")
        try:
            with closing(open_store(postgres)) as store:
                await store.put(key(0), b"zero")
                assert store._writer.run(lambda c: c.execute("SHOW synchronous_commit").fetchone()) == ("on",)
        finally:
            admin.execute("ALTER ROLE charter RESET synchronous_commit")


def test_a_server_without_a_place_for_one_more_is_waited_for(postgres: str) -> None:
    """As when the tasks of a large cluster begin at once, while others end."""
    crowded = postgres.replace("//charter@", "//crowded@")
    with psycopg.connect(postgres, autocommit=True) as admin:
        admin.execute(f"CREATE ROLE crowded LOGIN PASSWORD '{PASSWORD}' CONNECTION LIMIT 2")
        admin.execute("GRANT CREATE, CONNECT ON DATABASE postgres TO crowded")
        try:
            before = [psycopg.connect(crowded) for _ in range(2)]
            leaving = [threading.Timer(1.5, one.close) for one in before]
            for timer in leaving:
                timer.start()
            began = time.monotonic()
            with closing(open_store(crowded)) as store:
                assert store.stats().entries == 0
            assert 1.0 < time.monotonic() - began < 30
        finally:
            admin.execute("DROP OWNED BY crowded; DROP SCHEMA IF EXISTS charter CASCADE; DROP ROLE crowded")


async def test_a_store_whose_server_is_away_is_closed_at_once(postgres: str, postgres_server: PostgresServer) -> None:
    """What was acknowledged is kept; what waits is not, and after Ctrl-C nobody waits a minute for that."""
    store = open_store(postgres)
    await store.put(key(0), b"zero")
    await asyncio.to_thread(postgres_server.stop, "immediate")
    try:
        waiting = [asyncio.create_task(store.put(key(i), b"late")) for i in range(1, 4)]
        await asyncio.sleep(0.7)
        began = time.monotonic()
        await asyncio.to_thread(store.close)
        assert time.monotonic() - began < 5
        ended = await asyncio.wait_for(asyncio.gather(*waiting, return_exceptions=True), 5)
        assert {type(error) for error in ended} == {StoreError}
    finally:
        await asyncio.to_thread(postgres_server.start)
    with closing(open_store(postgres)) as again:
        assert await again.get(key(0)) == b"zero"


def test_no_server(postgres_server: PostgresServer) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"postgresql://charter@127.0.0.1:{free.getsockname()[1]}/db"
        with pytest.raises(StoreError, match=r"store 'postgresql://127.*refused.*Start the server") as caught:
            open_store(url)
    assert "\n" not in str(caught.value)


def test_a_run_without_its_server_is_refused_before_it_begins(tmp_path: Path) -> None:
    with run_null_server() as server, pytest.raises(StoreError, match="Connection refused"):
        check_config(
            Config(outputs=tmp_path, serving=Serving(base_urls=(server.url,)), store="postgresql://me@127.0.0.1:9/db")
        )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("password", "problem"),
    [(None, "no password supplied.*Export PGPASSWORD"), ("wrong-secret", "authentication failed.*Export PGPASSWORD")],
    ids=["none", "wrong"],
)
def test_a_password_that_is_missing_or_wrong(
    postgres: str, monkeypatch: pytest.MonkeyPatch, password: str | None, problem: str
) -> None:
    monkeypatch.delenv("PGPASSWORD")
    if password:
        monkeypatch.setenv("PGPASSWORD", password)
    with pytest.raises(StoreError, match=problem) as caught:
        open_store(postgres)
    assert "wrong-secret" not in str(caught.value)


def test_no_such_database(postgres: str) -> None:
    with pytest.raises(StoreError, match='database "none" does not exist'):
        open_store(postgres.replace("/postgres", "/none"))


@pytest.mark.parametrize("url", ["postgresql://me@host:5432:x/db", "postgresql://[::1/db"])
def test_what_is_no_address(url: str) -> None:
    with pytest.raises(StoreError, match="postgresql://"):
        open_store(url)


def test_a_user_who_may_make_nothing(postgres: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with psycopg.connect(postgres, autocommit=True) as admin:
        admin.execute("CREATE ROLE guest LOGIN PASSWORD 'guest'")
        try:
            monkeypatch.setenv("PGPASSWORD", "guest")
            with pytest.raises(StoreError, match=r"permission denied.*GRANT CREATE"):
                open_store(postgres.replace("charter@", "guest@"))
        finally:
            admin.execute("DROP ROLE guest")


def test_upkeep_of_a_database_without_a_store(postgres: str) -> None:
    with pytest.raises(StoreError, match="no store in this database"):
        open_database(postgres)


def test_without_psycopg_its_installation_is_named() -> None:
    code = (
        "import sys; sys.modules['psycopg'] = None\n"
        "from charter.core.errors import StoreError\n"
        "from charter.inference.store import open_store\n"
        "from charter.inference.store.opening import open_database\n"
        "for opens in (open_store, open_database):\n"
        "    try: opens('postgresql://me@host/db')\n"
        "    except StoreError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == 2 * f"store 'postgresql://…': needs psycopg. Run: {install_hint('postgres')}.\n"

"""What every test of the suite shares: nothing leaves this machine, and Prefect keeps its files to itself."""

import gc
import os
import signal
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis
import pytest

from charter.core import plugins
from tests.support.postgres_server import PASSWORD, PostgresServer, missing, run_postgres

if TYPE_CHECKING:
    from tests.support.cockpit import Stage

os.environ.update(
    HF_HUB_OFFLINE="1",
    HF_HUB_DISABLE_TELEMETRY="1",
    VLLM_NO_USAGE_STATS="1",
    DO_NOT_TRACK="1",
    PREFECT_SERVER_ANALYTICS_ENABLED="false",
)

# Hypothesis would fail an example that takes 200 ms, which any does on a machine whose cores are busy.
hypothesis.settings.register_profile("charter", deadline=None)
hypothesis.settings.load_profile("charter")

# A job in a shell's background ignores Ctrl-C, and so would all processes that the tests start.
signal.signal(signal.SIGINT, signal.default_int_handler)

IN_TURN = ("tests/unit/", "tests/system/test_align", "tests/browser/", "tests/flows/test_ui", "tests/system/")
"""Which tests come first; those of other flows come last."""

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real public data kept beside the project; its tests are skipped where it is absent."""
    if not SHARED_DATA.is_dir():
        pytest.skip(f"no public data at {SHARED_DATA}")
    return SHARED_DATA


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """A real PostgreSQL of this session's own."""
    if reason := missing():
        pytest.skip(reason)
    with run_postgres() as server:
        yield server


@pytest.fixture
def postgres(postgres_server: PostgresServer, monkeypatch: pytest.MonkeyPatch) -> str:
    """The address of an empty database on it; the password is in the environment, where it belongs."""
    import psycopg

    monkeypatch.setenv("PGPASSWORD", PASSWORD)
    with psycopg.connect(postgres_server.url, autocommit=True) as connection:
        connection.execute("DROP SCHEMA IF EXISTS charter CASCADE")
    return postgres_server.url


@pytest.fixture(autouse=True)
def named_plugins(monkeypatch: pytest.MonkeyPatch) -> None:
    """A test's configs name plugins for the whole process: forget them when it ends."""
    monkeypatch.setattr(plugins, "_named_modules", dict(plugins._named_modules))


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> "Iterator[Stage]":
    """What `make ui` starts, for the tests of one file: the last of them may have stopped it."""
    from tests.support.cockpit import make_stage  # and with it Prefect, which unit tests do without

    made = make_stage(tmp_path_factory.mktemp("cockpit"))
    started = made.ui("start")
    try:
        assert started.returncode == 0, started.stdout + started.stderr
        assert f"Prefect is at http://127.0.0.1:{made.port}" in started.stdout
        assert made.cockpit.login in started.stdout
        yield made
    finally:
        made.ui("stop")


@pytest.fixture(scope="session")
def prefect_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A Prefect home of this session's own."""
    yield tmp_path_factory.mktemp("prefect")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Unit tests first: they are quick, and flows leave threads behind that draw random numbers under Hypothesis.

    Then what takes longest, so that no worker begins with it when the others are done. Prefect 3.7 leaves the sockets
    of its event and API clients to the garbage collector at a flow's end, and the collector comes when it likes, in
    whatever test that runs in the same process by then.
    """
    items.sort(key=lambda item: next((i for i, part in enumerate(IN_TURN) if part in item.nodeid), len(IN_TURN)))
    left_open = "ignore:Exception ignored in. <socket:pytest.PytestUnraisableExceptionWarning"
    for item in items:
        if "tests/unit/" not in item.nodeid:
            item.add_marker(pytest.mark.filterwarnings(left_open))


def pytest_sessionfinish() -> None:
    """Collect what Prefect left open in the last test, before pytest does so where no test's filter holds."""
    if "prefect" in sys.modules:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)
            gc.collect()

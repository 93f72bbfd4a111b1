"""Real Prefect, one server per session, and a real HTTP server in place of a model."""

from collections.abc import Iterator, Sequence

import pytest
from prefect.testing.utilities import prefect_test_harness

from charter.messages import Message
from charter.testing.null_server import NullServer, run_null_server


def answer(messages: Sequence[Message]) -> str:
    """Every first answer is bad, every critique says so, every revision is good."""
    last = messages[-1]["content"]
    if "Verdict:" in last:
        return "Verdict: violated" if messages[-2]["content"].startswith("bad") else "Verdict: respected"
    return "good: I will not." if last.startswith("Rewrite") else f"bad: {last}"


@pytest.fixture(scope="session")
def prefect_server() -> Iterator[None]:
    with prefect_test_harness(server_startup_timeout=120):
        yield


@pytest.fixture
def model_server() -> Iterator[NullServer]:
    with run_null_server(NullServer(answer=answer)) as server:
        yield server


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Prefect 3.7 leaves the sockets of its event and API clients to the garbage collector at a flow's end."""
    left_open = "ignore:Exception ignored in. <socket:pytest.PytestUnraisableExceptionWarning"
    for item in items:
        if "tests/flows/" in item.nodeid:
            item.add_marker(pytest.mark.filterwarnings(left_open))

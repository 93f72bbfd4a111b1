"""Real Prefect, one server per session, and a real HTTP server in place of a model."""

import gc
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
    gc.collect()  # sockets that Prefect left open, while a test is there that expects them: see tests/conftest.py


@pytest.fixture
def model_server() -> Iterator[NullServer]:
    with run_null_server(NullServer(answer=answer)) as server:
        yield server

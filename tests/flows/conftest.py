"""Real Prefect, one server per session, and a real HTTP server in place of a model."""

import gc
from collections.abc import Iterator, Sequence

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter
from prefect.testing.utilities import prefect_test_harness

from charter.core.messages import Message
from charter.testing.null_server import NullServer, run_null_server
from tests.support.cockpit import wait_for


def answer(messages: Sequence[Message]) -> str:
    """Every first answer is bad, every critique says so, every revision is good."""
    last = messages[-1]["content"]
    if "Verdict:" in last:
        return "Verdict: violated" if messages[-2]["content"].startswith("bad") else "Verdict: respected"
    return "good: I will not." if last.startswith("Rewrite") else f"bad: {last}"


async def completed_tasks(of: FlowRunFilter, n: int) -> list[str]:
    """The names of the completed task runs, once there are `n` and none is open: Prefect's server is told of tasks by
    events and has some of them only after the flow has ended.
    """

    async def look() -> list[str]:
        async with get_client() as client:
            tasks = await client.read_task_runs(flow_run_filter=of)
        names = sorted(task.name for task in tasks if task.state is not None and task.state.is_completed())
        return names if len(names) == len(tasks) >= n else []

    found: list[str] = await wait_for(look, within_s=30)
    return found


@pytest.fixture(scope="session")
def prefect_server() -> Iterator[None]:
    with prefect_test_harness(server_startup_timeout=120):
        yield
    gc.collect()  # sockets that Prefect left open, while a test is there that expects them: see tests/conftest.py


@pytest.fixture
def model_server() -> Iterator[NullServer]:
    with run_null_server(NullServer(answer=answer)) as server:
        yield server

"""Blocking work beside the event loop: it does not hold it up, and it ends with the task that awaits it."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from charter.core.errors import Interrupted
from charter.core.threads import enter_in_thread, run_in_thread


def wait(stop: threading.Event) -> None:
    stop.wait(60)
    raise Interrupted("stopped")


async def test_the_event_loop_goes_on_and_the_result_comes_back() -> None:
    go_on = threading.Event()

    def work(stop: threading.Event) -> int:
        return 7 if go_on.wait(60) else 0

    running = asyncio.create_task(run_in_thread(work))
    await asyncio.sleep(0)
    go_on.set()  # only an event loop that is not blocked comes here
    assert await running == 7


async def test_an_error_comes_back() -> None:
    with pytest.raises(ZeroDivisionError):
        await run_in_thread(lambda stop: 1 // 0)


async def test_a_cancelled_task_ends_with_its_thread() -> None:
    started, ended = threading.Event(), threading.Event()

    def work(stop: threading.Event) -> None:
        started.set()
        try:
            wait(stop)
        finally:
            ended.set()

    running = asyncio.create_task(run_in_thread(work))
    assert await asyncio.to_thread(started.wait, 60)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert ended.is_set()


def test_an_interrupted_event_loop_ends_its_thread() -> None:
    """As Ctrl-C does: the exception leaves `asyncio.run`, which cancels all tasks and waits for the threads."""
    ended = threading.Event()

    def work(stop: threading.Event) -> None:
        try:
            wait(stop)
        finally:
            ended.set()

    async def main() -> None:
        def interrupt() -> None:
            raise KeyboardInterrupt

        asyncio.get_running_loop().call_soon(interrupt)
        await run_in_thread(work)

    with pytest.raises(KeyboardInterrupt):
        asyncio.run(main())
    assert ended.is_set()


async def test_a_context_manager_is_left_however_its_block_ends() -> None:
    events: list[str] = []

    @contextmanager
    def manager(stop: threading.Event) -> Iterator[str]:
        events.append("entered")
        try:
            yield "value"
        except ValueError:
            events.append("saw the error")
            raise
        finally:
            events.append("left")

    async with enter_in_thread(manager) as value:
        assert (value, events) == ("value", ["entered"])
    assert events == ["entered", "left"]
    events.clear()
    with pytest.raises(ValueError, match="mine"):
        async with enter_in_thread(manager):
            raise ValueError("mine")
    assert events == ["entered", "saw the error", "left"]


async def test_a_context_manager_that_is_cancelled_while_it_is_entered() -> None:
    started, left = threading.Event(), threading.Event()

    @contextmanager
    def manager(stop: threading.Event) -> Iterator[None]:
        started.set()
        try:
            stop.wait(60)  # a start that is too far to be given up: it is entered, and must be left
            yield
        finally:
            left.set()

    async def use() -> None:
        async with enter_in_thread(manager):
            pytest.fail("the task was cancelled before")

    task = asyncio.create_task(use())
    assert await asyncio.to_thread(started.wait, 60)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert left.is_set()

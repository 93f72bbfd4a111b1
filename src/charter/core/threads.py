"""Blocking work off the event loop, in a thread that ends when its task is cancelled.

Starting a server takes minutes, training takes hours. ``asyncio.to_thread`` alone would not do: a cancelled task
leaves its thread behind, and ``asyncio.run`` then waits for it. So the work gets an event, looks at it between its
steps, and raises `Interrupted` once it is set.
"""

import asyncio
import contextlib
import contextvars
import sys
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager, asynccontextmanager
from typing import TypeVar

T = TypeVar("T")


async def run_in_thread(work: Callable[[threading.Event], T]) -> T:
    """Run `work` in a thread, and await its result; if this task is cancelled, set the event and wait for its end."""
    stop = threading.Event()
    # A future and not a task: when the loop closes it cancels all tasks, and this must still be there to be awaited.
    context = contextvars.copy_context()
    running = asyncio.get_running_loop().run_in_executor(None, lambda: context.run(work, stop))
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        stop.set()
        # The thread must have ended its processes before this task ends; what it raises then is of no interest.
        while not running.done():
            with contextlib.suppress(asyncio.CancelledError, Exception):
                await asyncio.shield(running)
        running.exception()
        raise


@asynccontextmanager
async def enter_in_thread(open_: Callable[[threading.Event], AbstractContextManager[T]]) -> AsyncIterator[T]:
    """A blocking context manager as an asynchronous one; it is entered and left in threads.

    Args:
        open_: gives the context manager, which stops entering once the event is set.
    """
    manager: AbstractContextManager[T] | None = None

    def enter(stop: threading.Event) -> T:
        nonlocal manager
        opened = open_(stop)
        # `manager` is set only once it is entered, so that what was never entered is not left.
        value = opened.__enter__()
        manager = opened
        return value

    try:
        yield await run_in_thread(enter)
    finally:
        # Also where the task was cancelled just as the thread had finished entering.
        if manager is not None:
            leave, error = manager.__exit__, sys.exc_info()
            await run_in_thread(lambda stop: leave(*error))

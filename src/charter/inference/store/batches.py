"""Group commit: a thread does all waiting work together, so that many calls share one flush or one round trip."""

import asyncio
import contextlib
import queue
import threading
from collections.abc import Callable, Sequence
from typing import Generic, NamedTuple, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

_MAX_BATCH = 10_000


class _Waiting(NamedTuple, Generic[Item, Result]):
    item: Item
    done: "asyncio.Future[Result]"
    loop: asyncio.AbstractEventLoop


class Batches(Generic[Item, Result]):
    """A thread that takes all waiting items, does them in one batch, then takes those that came meanwhile.

    Args:
        name: of the thread.
        work: does some items, and returns a result for each. Its error is raised to every caller of the batch.
    """

    def __init__(self, name: str, work: Callable[[Sequence[Item]], Sequence[Result]]) -> None:
        self._work = work
        self._queue: queue.SimpleQueue[_Waiting[Item, Result] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    async def do(self, item: Item) -> Result:
        """The result for one item, once its batch is done."""
        loop = asyncio.get_running_loop()
        done: asyncio.Future[Result] = loop.create_future()
        self._queue.put(_Waiting(item, done, loop))
        return await done

    def close(self, within_s: float | None = None) -> bool:
        """Do what still waits, then stop the thread; False if it did not stop within `within_s` seconds."""
        self._queue.put(None)
        self._thread.join(within_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while (first := self._queue.get()) is not None:
            # Takes all that came while the last batch was worked on: the busier the store, the larger its batches.
            batch, last = [first], False
            with contextlib.suppress(queue.Empty):
                while len(batch) < _MAX_BATCH and not last:
                    if (one := self._queue.get_nowait()) is None:  # `close` was called
                        last = True
                    else:
                        batch.append(one)
            results: Sequence[Result] = ()
            failed: Exception | None = None
            try:
                results = self._work([one.item for one in batch])
            except Exception as error:  # not swallowed: raised to every caller of the batch
                failed = error
            _settle(batch, results, failed)
            if last:
                return


def _settle(batch: list[_Waiting[Item, Result]], results: Sequence[Result], failed: Exception | None) -> None:
    def resolve(loop: asyncio.AbstractEventLoop) -> None:
        for place, one in enumerate(batch):
            if one.loop is loop and not one.done.done():
                if failed is None:
                    one.done.set_result(results[place])
                else:
                    one.done.set_exception(failed)

    for loop in {one.loop for one in batch}:  # one wake-up per event loop, not one per item
        with contextlib.suppress(RuntimeError):  # the loop is closed: none of its callers is left
            loop.call_soon_threadsafe(resolve, loop)

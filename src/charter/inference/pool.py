"""What all engines of a run share, so that a stage finds open what the stage before it used."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Generic, TypeVar

import aiohttp

from charter.inference.store import Store, open_store

Thing = TypeVar("Thing")

_KEEPALIVE_S = 4.0  # under the 5 s after which vLLM's server closes an idle connection


@dataclass
class _Used(Generic[Thing]):
    thing: Thing
    users: int = 0


class _Shared(Generic[Thing]):
    """Things by name, one of each for an event loop; the first user opens one, the last to leave closes it."""

    def __init__(self, opens: Callable[[str], Thing], closes: Callable[[Thing], Awaitable[None]]) -> None:
        self._opens, self._closes = opens, closes
        self._used = dict[tuple[asyncio.AbstractEventLoop, str], _Used[Thing]]()

    @asynccontextmanager
    async def use(self, name: str) -> AsyncIterator[Thing]:
        """The thing of this name, for the length of the block."""
        key = asyncio.get_running_loop(), name
        if (used := self._used.get(key)) is None:
            used = self._used[key] = _Used(self._opens(name))
        used.users += 1
        try:
            yield used.thing
        finally:
            used.users -= 1
            if not used.users:
                del self._used[key]
                await self._closes(used.thing)


class Connections:
    """The connections to all servers."""

    def __init__(self) -> None:
        self._pools = _Shared[aiohttp.BaseConnector](_open_pool, lambda pool: pool.close())

    def shared(self) -> AbstractAsyncContextManager[aiohttp.BaseConnector]:
        """The pool of this event loop."""
        return self._pools.use("")


class Stores:
    """The stores: what several shards put into one at the same time is committed together."""

    def __init__(self) -> None:
        self._stores = _Shared[Store](open_store, lambda store: asyncio.to_thread(store.close))

    def shared(self, url: str) -> AbstractAsyncContextManager[Store]:
        """The store at this path or address.

        Raises:
            StoreError: it cannot be used.
        """
        return self._stores.use(url)


def _open_pool(_: str) -> aiohttp.BaseConnector:
    return aiohttp.TCPConnector(limit=0, keepalive_timeout=_KEEPALIVE_S, ttl_dns_cache=300)

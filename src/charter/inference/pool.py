"""Connections and stores that all engines of a run share, so that a stage finds open what the stage before it used."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Generic, TypeVar

import aiohttp

from charter.inference.network import certificates
from charter.inference.store import Store, open_store

Resource = TypeVar("Resource")

_KEEPALIVE_S = 4.0  # under the 5 s after which vLLM's server closes an idle connection


class RefCountedPool(Generic[Resource]):
    """Resources by name, one of each per event loop; the first user opens one, the last one to leave closes it."""

    def __init__(self, opens: Callable[[str], Resource], closes: Callable[[Resource], Awaitable[None]]) -> None:
        self._opens, self._closes = opens, closes
        self._resources = dict[tuple[asyncio.AbstractEventLoop, str], Resource]()
        self._users = Counter[tuple[asyncio.AbstractEventLoop, str]]()

    @asynccontextmanager
    async def shared(self, name: str = "") -> AsyncIterator[Resource]:
        """The resource of this name, for the length of the block; raises what opening it raises."""
        key = asyncio.get_running_loop(), name
        if key not in self._resources:
            self._resources[key] = self._opens(name)
        resource = self._resources[key]
        self._users[key] += 1
        try:
            yield resource
        finally:
            self._users[key] -= 1
            if not self._users[key]:
                del self._users[key], self._resources[key]
                await self._closes(resource)


def connection_pool() -> RefCountedPool[aiohttp.BaseConnector]:
    """The connections to all servers, under the empty name."""

    def opens(_: str) -> aiohttp.BaseConnector:
        return aiohttp.TCPConnector(limit=0, keepalive_timeout=_KEEPALIVE_S, ttl_dns_cache=300, ssl=certificates())

    return RefCountedPool(opens, lambda connector: connector.close())


def store_pool() -> RefCountedPool[Store]:
    """Stores by their path or address: what several shards put into one at the same time is committed together."""
    return RefCountedPool(open_store, lambda store: asyncio.to_thread(store.close))

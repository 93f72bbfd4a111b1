"""Connections that all clients of a run share, so that a stage finds those open that the stage before it used."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import aiohttp

_KEEPALIVE_S = 4.0  # under the 5 s after which vLLM's server closes an idle connection


@dataclass
class _Pool:
    connector: aiohttp.BaseConnector
    users: int = 0


class Connections:
    """One pool for each event loop, open for as long as anybody there uses it."""

    def __init__(self) -> None:
        self._pools: dict[asyncio.AbstractEventLoop, _Pool] = {}

    @asynccontextmanager
    async def shared(self) -> AsyncIterator[aiohttp.BaseConnector]:
        """The pool of this event loop; the last to leave closes it."""
        loop = asyncio.get_running_loop()
        if (pool := self._pools.get(loop)) is None:
            connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=_KEEPALIVE_S, ttl_dns_cache=300)
            pool = self._pools[loop] = _Pool(connector)
        pool.users += 1
        try:
            yield pool.connector
        finally:
            pool.users -= 1
            if not pool.users:
                del self._pools[loop]
                await pool.connector.close()

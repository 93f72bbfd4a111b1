"""The engine: the store first, then the servers. What every stage asks."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from charter.core.errors import CompletionFailed
from charter.core.messages import Messages
from charter.inference.client import Client, StoreOnlyClient
from charter.inference.completion import Completion, Sampling, request_key
from charter.inference.endpoints import Served
from charter.inference.limiter import CALL_PRIORITY, Concurrency
from charter.inference.metrics import ServerSnapshot
from charter.inference.session import Drive, current_drive
from charter.inference.special_tokens import SpecialTokenGuard
from charter.inference.store import Store


@dataclass(frozen=True)
class EngineSpec:
    """Everything an engine is opened with; small and picklable, so that a task in another process can open its own."""

    base_urls: tuple[str, ...]
    """None: nothing is asked, and what the store does not have is a failure."""
    model_name: str
    identity: str
    """The weights' content hash or hub revision: part of every stored completion's key."""
    store: str
    """The store's path, or its server's address; without a password."""
    concurrency: Concurrency = "auto"
    """Calls in flight at once, over all endpoints and all engines of this drive."""
    api_key_env: str = "CHARTER_API_KEY"
    api_key_block: str | None = None
    """The Secret block with that key, for a process that does not have it in its environment yet."""
    timeout_s: float = 600.0
    """How long one call may take before it is made again."""
    patience_s: float = 300.0
    """How long endpoints that are down are waited for."""
    server_log: str | None = None
    """The log of a server started here: when that server has ended, nobody waits for it."""
    special_tokens: tuple[str, ...] = ()
    """Of the model's tokenizer: text that spells one is sent so that it is not taken for it."""
    merged: str = ""
    """Of an adapter that is served beside its base: the identity of the folder with the merged weights."""

    @property
    def folder_identity(self) -> str:
        """What identifies the model as it lies in its folder, however it is served."""
        return self.merged or self.identity

    @classmethod
    def of(cls, served: Served, store: str, concurrency: Concurrency = "auto") -> "EngineSpec":
        """For what `serve` or `connect` gave."""
        return cls(
            served.base_urls,
            served.model_name,
            served.identity,
            store,
            concurrency,
            api_key_env=served.settings.api_key_env,
            timeout_s=served.settings.timeout_s,
            patience_s=served.settings.patience_s,
            server_log=str(served.log) if served.log else None,
            special_tokens=served.special_tokens,
            merged=served.merged,
        )


class EngineStats(NamedTuple):
    """Counts since the engine was opened."""

    asked: int
    """Calls that a server answered."""
    from_store: int
    """Calls that the store answered, or another call in flight for the same request."""
    prompt_tokens: int
    """Of the calls asked, as are the completion tokens."""
    completion_tokens: int
    failed: int
    """Requests that will never succeed."""
    retries: int
    corrupted: int
    """Stored entries that were damaged and asked again, by all engines that share the store."""
    in_flight: int


class Engine:
    """A store in front of a client; made by `open_engine`."""

    def __init__(self, client: Client | StoreOnlyClient, store: Store, spec: EngineSpec, drive: Drive) -> None:
        self._client = client
        self._token_guard = SpecialTokenGuard(spec.special_tokens)
        self._store = store
        self._identity = spec.identity
        self._drive = drive
        self._slots = drive.slots(spec.base_urls, spec.concurrency)
        self._gauge = drive.gauge(spec.base_urls)
        self._loop = asyncio.get_running_loop()
        self._flying: dict[bytes, asyncio.Task[Completion]] = {}
        self._asked = self._from_store = self._failed = 0
        self._prompt_tokens = self._completion_tokens = 0

    async def ask(self, messages: Messages, sampling: Sampling) -> Completion:
        """The completion of a request: from the store, or asked once and kept before it is returned.

        What spells a special token is sent broken up, and kept under what is sent; an answer that repeats it
        comes back with it as it was.

        Raises:
            CompletionFailed: the request will never succeed; a row's failure.
            ServingError: the endpoints are gone for good.
            StoreError: the answer cannot be kept.
            Stopped: the run has come to its budget, or was interrupted.
        """
        sent = self._token_guard.escape(messages)
        answer = await self._answer(sent, sampling)
        return answer if sent is messages else replace(answer, text=self._token_guard.unescape(answer.text))

    async def _answer(self, messages: Messages, sampling: Sampling) -> Completion:
        key = request_key(self._identity, messages, sampling)
        task = self._flying.get(key)
        if task is not None:
            self._from_store += 1
        else:
            value = await self._store.get(key)
            if value is not None:
                self._from_store += 1
                return Completion.from_bytes(value)
            task = self._flying.get(key) or self._launch(key, messages, sampling)
        # Shielded: a caller that goes away must not take the answer from others, nor from the store.
        return await asyncio.shield(task)

    @property
    def stats(self) -> EngineStats:
        """Counts so far."""
        return EngineStats(
            asked=self._asked,
            from_store=self._from_store,
            prompt_tokens=self._prompt_tokens,
            completion_tokens=self._completion_tokens,
            failed=self._failed,
            retries=self._client.retries,
            corrupted=self._store.corrupted,
            in_flight=len(self._flying),
        )

    @property
    def reading(self) -> ServerSnapshot | None:
        """What its servers say of themselves, as they last said it."""
        return self._gauge.latest

    async def finish(self) -> None:
        """End the calls whose callers went away; where the run stops early, they are finished first."""
        flying = list(self._flying.values())
        try:
            if self._drive.stopping and flying:
                await asyncio.wait(flying)
        finally:
            await self._end(flying)

    def give_up_after(self, seconds: float) -> None:
        """End the calls that are still in flight then; called from a signal's handler."""

        def give_up() -> None:
            for task in self._flying.values():
                task.cancel()

        self._loop.call_soon_threadsafe(self._loop.call_later, seconds, give_up)

    async def _end(self, flying: Sequence["asyncio.Task[Completion]"]) -> None:
        for task in flying:
            task.cancel()
        await asyncio.gather(*flying, return_exceptions=True)

    def _launch(self, key: bytes, messages: Messages, sampling: Sampling) -> "asyncio.Task[Completion]":
        task = asyncio.create_task(self._ask_and_keep(key, messages, sampling))
        self._flying[key] = task
        task.add_done_callback(lambda done: self._landed(key, done))
        return task

    def _landed(self, key: bytes, task: "asyncio.Task[Completion]") -> None:
        del self._flying[key]
        if not task.cancelled():
            task.exception()  # seen here, so that a caller that went away leaves no warning behind

    async def _ask_and_keep(self, key: bytes, messages: Messages, sampling: Sampling) -> Completion:
        try:
            # The slot is held until the answer is durable, so that a kill loses no more calls than were in flight.
            async with self._slots.place(CALL_PRIORITY.get()):
                self._drive.begin_call()
                completion = await self._client.complete(messages, sampling)
                await self._store.put(key, completion.to_bytes(), self._identity)
                tokens = completion.prompt_tokens + completion.completion_tokens
                self._drive.tokens += tokens
                self._slots.record_completion()
        except CompletionFailed:
            self._failed += 1
            raise
        except asyncio.CancelledError:
            self._drive.check()  # given up because of Ctrl-C, which is said to whoever waits for it
            raise
        self._asked += 1
        self._prompt_tokens += completion.prompt_tokens
        self._completion_tokens += completion.completion_tokens
        return completion


@asynccontextmanager
async def open_engine(spec: EngineSpec) -> AsyncIterator[Engine]:
    """Open the store and the connections, or share those that other engines of this drive use.

    Raises:
        StoreError: the store cannot be used.
    """
    drive = current_drive()
    async with (
        drive.stores.shared(spec.store) as store,
        _client(spec, drive) as client,
        drive.gauge(spec.base_urls).polling(),
    ):
        engine = Engine(client, store, spec, drive)
        with drive.driving(engine):
            try:
                yield engine
            finally:
                await engine.finish()


@asynccontextmanager
async def _client(spec: EngineSpec, drive: Drive) -> AsyncIterator[Client | StoreOnlyClient]:
    if not spec.base_urls:
        yield StoreOnlyClient()
        return
    async with Client(
        spec.base_urls,
        spec.model_name,
        api_key_env=spec.api_key_env,
        timeout_s=spec.timeout_s,
        patience_s=spec.patience_s,
        server_log=Path(spec.server_log) if spec.server_log else None,
        router=drive.router(spec.base_urls),
        connections=drive.connections,
        may_wait=drive.may_wait,
        on_busy=drive.slots(spec.base_urls, spec.concurrency).back_off,
    ) as client:
        yield client

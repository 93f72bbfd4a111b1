"""The engine: the store first, then the servers. What every stage asks."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from charter.core.errors import CompletionFailed
from charter.core.messages import Messages
from charter.inference.client import Client, StoreOnlyClient
from charter.inference.completion import Ask, Completion, Sampling, request_key
from charter.inference.endpoints import Served
from charter.inference.limiter import Concurrency, ConcurrencyLimiter, Priority
from charter.inference.metrics import MetricsPoller, ServerSnapshot
from charter.inference.special_tokens import SpecialTokenGuard
from charter.inference.store import Store

if TYPE_CHECKING:
    from charter.inference.session import Session


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
    """A store in front of a client; opened with `Session.engine`."""

    def __init__(
        self,
        client: Client | StoreOnlyClient,
        store: Store,
        spec: EngineSpec,
        session: "Session",
        limiter: ConcurrencyLimiter,
        poller: MetricsPoller,
    ) -> None:
        self._client = client
        self._token_guard = SpecialTokenGuard(spec.special_tokens)
        self._store = store
        self._identity = spec.identity
        self._session = session
        self._limiter = limiter
        self._poller = poller
        self._loop = asyncio.get_running_loop()
        self._flying: dict[bytes, asyncio.Task[Completion]] = {}
        self._asked = self._from_store = self._failed = 0
        self._prompt_tokens = self._completion_tokens = 0

    async def ask(self, messages: Messages, sampling: Sampling, priority: Priority = ()) -> Completion:
        """The completion of a request: from the store, or asked once and stored before it is returned.

        Text that spells a special token is sent escaped and stored as sent: vLLM renders the chat template to text
        before it tokenises, so a `<|user|>` in a prompt would become a turn. An answer that repeats it is unescaped.

        Args:
            messages: the conversation.
            sampling: the parameters, which are part of the stored completion's key.
            priority: among calls that wait for a free place, the lowest goes first.

        Raises:
            CompletionFailed: the request will never succeed; a row's failure.
            ServingError: the endpoints are gone for good.
            StoreError: the answer cannot be kept.
            Stopped: the run has come to its budget, or was interrupted.
        """
        sent = self._token_guard.escape(messages)
        answer = await self._answer(sent, sampling, priority)
        return answer if sent is messages else replace(answer, text=self._token_guard.unescape(answer.text))

    async def _answer(self, messages: Messages, sampling: Sampling, priority: Priority) -> Completion:
        key = request_key(self._identity, messages, sampling)
        task = self._flying.get(key)
        if task is not None:
            self._from_store += 1
        else:
            value = await self._store.get(key)
            if value is not None:
                self._from_store += 1
                return Completion.from_bytes(value)
            task = self._flying.get(key) or self._launch(key, messages, sampling, priority)
        # Shielded: a caller that goes away must not take the answer from others, nor from the store.
        return await asyncio.shield(task)

    def with_priority(self, priority: Priority) -> Ask:
        """`ask` with a fixed priority."""
        return partial(self.ask, priority=priority)

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
        return self._poller.latest

    async def finish(self) -> None:
        """End the calls whose callers went away; where the run stops early, they are finished first."""
        flying = list(self._flying.values())
        try:
            if self._session.stopping and flying:
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

    def _launch(
        self, key: bytes, messages: Messages, sampling: Sampling, priority: Priority
    ) -> "asyncio.Task[Completion]":
        task = asyncio.create_task(self._ask_and_keep(key, messages, sampling, priority))
        self._flying[key] = task
        task.add_done_callback(lambda done: self._landed(key, done))
        return task

    def _landed(self, key: bytes, task: "asyncio.Task[Completion]") -> None:
        del self._flying[key]
        if not task.cancelled():
            task.exception()  # seen here, so that a caller that went away leaves no warning behind

    async def _ask_and_keep(self, key: bytes, messages: Messages, sampling: Sampling, priority: Priority) -> Completion:
        try:
            # The slot is held until the answer is durable, so that a kill loses no more calls than were in flight.
            async with self._limiter.place(priority):
                self._session.begin_call()
                completion = await self._client.complete(messages, sampling)
                await self._store.put(key, completion.to_bytes(), self._identity)
                tokens = completion.prompt_tokens + completion.completion_tokens
                self._session.tokens += tokens
                self._limiter.record_completion()
        except CompletionFailed:
            self._failed += 1
            raise
        except asyncio.CancelledError:
            self._session.check()  # given up because of Ctrl-C: the caller gets that reason
            raise
        self._asked += 1
        self._prompt_tokens += completion.prompt_tokens
        self._completion_tokens += completion.completion_tokens
        return completion

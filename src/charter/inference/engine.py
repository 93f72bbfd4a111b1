"""The engine: the store first, then the servers. What every stage asks."""

import asyncio
import json
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, TypedDict

from charter.config import Serving
from charter.config.generation import SamplingParameters
from charter.core.errors import CompletionFailed
from charter.core.messages import Messages
from charter.inference.client import Client, StoreOnlyClient
from charter.inference.completion import Ask, Completion, Sampling, request_key
from charter.inference.dialect import Dialect
from charter.inference.endpoints import Served
from charter.inference.limiter import Concurrency, ConcurrencyLimiter, Priority
from charter.inference.metrics import MetricsPoller, ServerSnapshot
from charter.inference.special_tokens import SpecialTokenGuard
from charter.inference.store import Store

if TYPE_CHECKING:
    from charter.inference.session import Session


class RequestParameters(TypedDict):
    """The fields of `EngineSpec` that become part of requests."""

    sampling: tuple[tuple[str, float], ...]
    chat_template_kwargs: str
    thinking_tokens: int


def request_parameters(sampling: SamplingParameters, settings: Serving) -> RequestParameters:
    """What the settings add to requests."""
    variables = settings.chat_template_kwargs
    return {
        "sampling": tuple(sampling.model_dump(exclude_none=True).items()),
        "chat_template_kwargs": json.dumps(variables, sort_keys=True) if variables else "",
        "thinking_tokens": settings.thinking_tokens,
    }


@dataclass(frozen=True)
class EngineSpec:
    """What an engine is opened with; small and picklable, so that a task in another process can open its own."""

    base_urls: tuple[str, ...]
    """Empty: no server is asked, and a completion that the store does not have is a failure."""
    model_name: str
    identity: str
    """The weights' content hash or hub revision: part of every stored completion's key."""
    store: str
    """The store's path, or its server's address; without a password."""
    concurrency: Concurrency = "auto"
    """The most calls in flight, over all endpoints and all engines of a session."""
    api_key_env: str = "CHARTER_API_KEY"
    api_key_block: str | None = None
    """The Secret block with that key, for a process that does not have it in its environment yet."""
    timeout_s: float = 600.0
    """Seconds that one call may take before it is retried."""
    patience_s: float = 300.0
    """Seconds to wait for endpoints that are down."""
    server_log: str | None = None
    """The log of a server started here; once that server has ended, calls do not wait for it."""
    special_tokens: tuple[str, ...] = ()
    """The tokenizer's special tokens; text that spells one is escaped before it is sent."""
    merged: str = ""
    """For an adapter served with its base model: the identity of the folder with the merged weights."""

    choice_samples: int = 8
    """How often a choice is sampled where a server returns no log-probabilities; 0 refuses such servers."""

    sampling: tuple[tuple[str, float], ...] = ()
    """Parameters of sampled answers, by name: the model's own and the configured ones."""
    chat_template_kwargs: str = ""
    """Variables of the chat template, as canonical JSON."""
    thinking_tokens: int = 0
    """Tokens for thoughts, in addition to those of each answer."""
    dialects: tuple[Dialect, ...] = ()
    """What the servers support, in their order, once they were probed."""

    @property
    def folder_identity(self) -> str:
        """The identity of the model's folder, however the model is served."""
        return self.merged or self.identity

    @classmethod
    def of(
        cls,
        served: Served,
        store: str,
        concurrency: Concurrency = "auto",
        sampling: SamplingParameters | None = None,
    ) -> "EngineSpec":
        """The spec of a model that `serve` started or `connect` found.

        Without parameters of `sampling`, sampled answers follow the model's own.
        """
        parameters = (sampling or SamplingParameters()).over(served.sampling)
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
            choice_samples=served.settings.choice_samples,
            dialects=served.dialects,
            **request_parameters(parameters, served.settings),
        )


class EngineStats(NamedTuple):
    """Counts since the engine was opened.

    Attributes:
        asked: calls that a server answered.
        from_store: calls answered by the store, or by another call in flight for the same request.
        prompt_tokens: of the calls that a server answered.
        completion_tokens: of the same calls.
        failed: requests that will never succeed.
        retries: calls that were tried again.
        corrupted: damaged entries of the store, which were asked again, by all engines that share it.
        in_flight: calls that are running now.
    """

    asked: int
    from_store: int
    prompt_tokens: int
    completion_tokens: int
    failed: int
    retries: int
    corrupted: int
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
        self._spec = spec
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
            CompletionFailed: the request will never succeed; a row's failure. ``only-thoughts``: the model thought, and
                did not answer.
            ServingError: the endpoints are gone for good.
            StoreError: the answer cannot be kept.
            Stopped: the run reached its budget, or was interrupted.
        """
        sent, sampling = self._token_guard.escape(messages), self._for_model(sampling)
        key = request_key(self._identity, sent, sampling)
        task = self._flying.get(key)
        if task is not None:
            self._from_store += 1
        elif (value := await self._store.get(key)) is not None:
            self._from_store += 1
            answer = Completion.from_bytes(value)
        else:
            # Looked up again: another caller may have started the same call during the wait for the store.
            task = self._flying.get(key) or self._launch(key, sent, sampling, priority)
        if task is not None:
            # Shielded: when this caller is cancelled, others and the store must still get the answer.
            answer = await asyncio.shield(task)
        if answer.thinking and not answer.text.strip():
            advice = " within max_tokens. Raise serving.thinking_tokens" if answer.finish_reason == "length" else ""
            raise CompletionFailed("only-thoughts", f"no answer followed{advice}: {answer.thinking}")
        return answer if sent is messages else replace(answer, text=self._token_guard.unescape(answer.text))

    def _for_model(self, sampling: Sampling) -> Sampling:
        """The sampling with the model's parameters; greedy answers and choices get only those of thinking models."""
        changes: dict[str, Any] = {}
        if self._spec.chat_template_kwargs:
            changes["chat_template_kwargs"] = self._spec.chat_template_kwargs
        if not sampling.choices or sampling.choice_marker:
            if self._spec.thinking_tokens:
                changes["thinking_tokens"] = self._spec.thinking_tokens
            if sampling.temperature > 0:
                # What a caller set itself stays
                unset = {name: value for name, value in self._spec.sampling if getattr(sampling, name) in (None, 1.0)}
                changes |= unset
        return replace(sampling, **changes) if changes else sampling

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
        """The latest metrics of its servers; None if they publish none."""
        return self._poller.latest

    async def finish(self) -> None:
        """End the calls whose callers were cancelled; if the run stops early, let them finish first."""
        flying = list(self._flying.values())
        try:
            if self._session.stopping and flying:
                await asyncio.wait(flying)
        finally:
            for task in flying:
                task.cancel()
            await asyncio.gather(*flying, return_exceptions=True)

    def give_up_after(self, seconds: float) -> None:
        """Cancel the calls that are still in flight after some seconds; may be called from a signal handler."""

        def give_up() -> None:
            for task in self._flying.values():
                task.cancel()

        self._loop.call_soon_threadsafe(self._loop.call_later, seconds, give_up)

    def _launch(
        self, key: bytes, messages: Messages, sampling: Sampling, priority: Priority
    ) -> "asyncio.Task[Completion]":
        task = asyncio.create_task(self._ask_and_keep(key, messages, sampling, priority))
        self._flying[key] = task

        def finished(task: "asyncio.Task[Completion]") -> None:
            del self._flying[key]
            if not task.cancelled():
                task.exception()  # retrieved, or a cancelled caller would leave a warning behind

        task.add_done_callback(finished)
        return task

    async def _ask_and_keep(self, key: bytes, messages: Messages, sampling: Sampling, priority: Priority) -> Completion:
        try:
            # The place is held until the answer is durable, so that a kill loses at most the calls in flight.
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

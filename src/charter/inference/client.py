"""An async client for one or many OpenAI-compatible endpoints.

It asks again what may yet succeed (a lost connection, 429, 5xx): another endpoint at once, the same one after a
growing, jittered pause, or when its ``Retry-After`` is over. It never repeats what cannot succeed (400: the row's
failure, with its reason). An endpoint that is ill is left out until it has answered a small question.
"""

import asyncio
import logging
import math
import os
import random
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from pathlib import Path
from types import TracebackType
from typing import Any

import aiohttp

from charter.core.errors import CompletionFailed, ServingError
from charter.core.messages import Messages, user
from charter.core.processes import pid_file
from charter.inference import fast_json
from charter.inference.choices import choice_probabilities, leads_to, positions_after
from charter.inference.completion import Completion, Sampling, well_formed
from charter.inference.endpoints import http_problem
from charter.inference.pool import RefCountedPool, connection_pool
from charter.inference.routing import Endpoint, Router
from charter.inference.server.crash_report import crash_message

logger = logging.getLogger(__name__)

_BUSY = frozenset({429, 503, 529})
_AGAIN = _BUSY | {408, 409, 425, 500, 502, 504}
_TOO_LONG = (
    "maximum context length",
    "max_model_len",
    "context_length_exceeded",
    "longer than the maximum model length",
)
_NOT_KNOWN = ("extra_forbidden", "extra inputs", "unrecognized", "unknown parameter")
_UNCONSTRAINED = ("structured_outputs", *_NOT_KNOWN)
_UNCONTINUED = ("continue_final_message", "add_generation_prompt", *_NOT_KNOWN)
_TOP_LOGPROBS = 20  # the most that OpenAI's protocol allows, and vLLM unless --max-logprobs says otherwise
_FREE_TOKENS = 32  # at least so many where nothing but a choice is asked for and anything may come
_MOST_FAULTS = {"malformed-answer": 4, "timeout": 3, "endpoint-error": 8, "unreachable": 8, "busy": 100}
"""Of one call; then it is this request that is the trouble."""
_ITS_OWN = frozenset({"malformed-answer", "timeout"})
"""Faults that count whatever becomes of other calls."""
_SMALL = [user("Hello")], Sampling(max_tokens=1)
"""What an endpoint that was left out is asked, until it answers. No GET /health: there are proxies and engines that
answer it and nothing else."""
_LOOK_S = 60.0
NOT_STORED = "not-stored"
"""The reason of a row that would need a call."""


class _Retry(Exception):
    """The call may succeed if it is made again."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


@dataclass
class _Trial:
    """What one call has gone through so far."""

    began: float
    failed: list[Endpoint] = field(default_factory=list)
    """Where it failed, once for each try."""
    faults: list[str] = field(default_factory=list)
    """Reasons of those tries in whose time other calls were answered: the others say nothing about this request."""
    tried: float = 0.0
    """When it last failed."""
    last: _Retry | None = None


class Client:
    """Asks endpoints for completions. Use as an async context manager.

    Args:
        base_urls: each ending in ``/v1``; all serve `model_name`.
        model_name: as the servers know it.
        api_key_env: the environment variable that holds the key; read here, written nowhere.
        timeout_s: how long one call may take before it is made again.
        patience_s: how long endpoints that are down are waited for before ServingError, and the longest ``Retry-After``
            that is honoured to its end.
        server_log: of a server started by `serve`; when it has ended, nobody waits for it.
        router: what is known of the endpoints already, shared with other clients of the same ones.
        connections: shared with other clients.
        may_wait: called while a call waits to be made again; what it raises ends the call.
        on_busy: called when a server refuses a call because it has too many.
    """

    def __init__(
        self,
        base_urls: Sequence[str],
        model_name: str,
        *,
        api_key_env: str = "CHARTER_API_KEY",
        timeout_s: float = 600.0,
        patience_s: float = 300.0,
        server_log: Path | None = None,
        router: Router | None = None,
        connections: RefCountedPool[aiohttp.BaseConnector] | None = None,
        may_wait: Callable[[], None] = lambda: None,
        on_busy: Callable[[], None] = lambda: None,
    ) -> None:
        self._router = router or Router.of(base_urls)
        self._model_name = model_name
        self._api_key_env = api_key_env
        self._timeout_s = timeout_s
        self._patience_s = patience_s
        self._server_log = server_log
        self._connections = connections or connection_pool()
        self._may_wait = may_wait
        self._on_busy = on_busy
        self._open = AsyncExitStack()
        self._session: aiohttp.ClientSession | None = None
        self._looking = set[asyncio.Task[None]]()
        self._jitter = random.Random()
        self.retries = 0

    async def __aenter__(self) -> "Client":
        key = os.environ.get(self._api_key_env)
        headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {key}"} if key else {})
        connector = await self._open.enter_async_context(self._connections.shared())
        timeout = aiohttp.ClientTimeout(total=self._timeout_s, connect=30)
        self._session = await self._open.enter_async_context(
            aiohttp.ClientSession(connector=connector, connector_owner=False, timeout=timeout, headers=headers)
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for task in self._looking:
            task.cancel()
        await asyncio.gather(*self._looking, return_exceptions=True)
        await self._open.aclose()
        self._session = None

    async def complete(self, messages: Messages, sampling: Sampling) -> Completion:
        """Ask until there is an answer.

        Raises:
            CompletionFailed: this request will never succeed (``context-too-long``, ``bad-request``,
                ``malformed-answer``, ``no-choice``), or it alone did not again and again while others did
                (``timeout``, ``endpoint-error``, ``unreachable``, ``busy``).
            ServingError: no endpoint has answered anything for as long as the patience lasts, or all refuse the key.
        """
        trial = _Trial(began=time.monotonic())
        # A system prompt is shared by all; the first question tells conversations apart.
        affinity = next((m["content"] for m in messages if m["role"] == "user"), "")
        while True:
            endpoint = self._choose(affinity, trial) or await self._wait_for_one(affinity, trial)
            endpoint.busy += 1
            try:
                return await self._ask(endpoint, messages, sampling)
            except _Retry as retry:
                self._take_note(trial, endpoint, retry)
            finally:
                endpoint.busy -= 1
            self._give_up_in_time(trial)
            self.retries += 1
            await asyncio.sleep(self._pause(trial))

    def _choose(self, affinity: str, trial: _Trial) -> Endpoint | None:
        now = time.monotonic()
        for endpoint in self._router.due(now):
            endpoint.looked_at = True
            task = asyncio.create_task(self._look_at(endpoint))
            self._looking.add(task)
            task.add_done_callback(self._looking.discard)
        return self._router.choose(affinity, now, trial.failed)

    async def _wait_for_one(self, affinity: str, trial: _Trial) -> Endpoint:
        while True:
            self._give_up_in_time(trial)
            soonest = min(endpoint.free_at for endpoint in self._router.endpoints) - time.monotonic()
            await asyncio.sleep(min(max(soonest, 0.1), 1.0) * self._jitter.uniform(1.0, 1.5))
            if endpoint := self._choose(affinity, trial):
                return endpoint

    async def _look_at(self, endpoint: Endpoint) -> None:
        """Whether an endpoint is well again; `_ask` takes note of it."""
        try:
            async with asyncio.timeout(_LOOK_S):
                await self._ask(endpoint, *_SMALL)
        except (_Retry, CompletionFailed) as answer:
            logger.debug("%s was looked at: %s", endpoint.url, answer)
        except TimeoutError:
            self._failed(endpoint, time.monotonic(), f"no answer within {_LOOK_S:g} s")
        finally:
            endpoint.looked_at = False

    async def _ask(self, endpoint: Endpoint, messages: Messages, sampling: Sampling) -> Completion:
        assert self._session is not None, "use the client as `async with Client(...) as client`"
        request = chat_request(self._model_name, messages, sampling, endpoint.constrained, endpoint.continues)
        body, began = fast_json.dumps(request), time.monotonic()
        try:
            async with self._session.post(f"{endpoint.url}/chat/completions", data=body) as response:
                raw = await response.read()
                status, retry_after = response.status, response.headers.get("Retry-After")
        except aiohttp.ClientPayloadError as error:
            raise _Retry("malformed-answer", f"{endpoint.url}: {error}") from error
        except (aiohttp.ClientError, ConnectionError) as error:  # before TimeoutError: some are both
            self._failed(endpoint, began, f"cannot be reached ({error})", certain=True)
            raise _Retry("unreachable", f"{endpoint.url}: {error}") from error
        except TimeoutError as error:
            self._failed(endpoint, began, f"does not answer within {self._timeout_s:g} s")
            raise _Retry("timeout", f"no answer from {endpoint.url} within {self._timeout_s:g} s") from error
        if status != 200:
            self._turned_down(endpoint, began, status, raw, retry_after)
        if endpoint.told:
            logger.warning("%s answers again", endpoint.url)
        if endpoint.ill:
            self._router.well_again(endpoint)
        else:
            endpoint.succeeded()
        if status != 200:
            self._refused(endpoint, status, raw, request)
        try:
            completion = _read_answer(raw, sampling)
        except CompletionFailed as failed:
            if "structured_outputs" in request and not leads_to(sampling.choices, failed.detail):
                raise _left_free(endpoint, failed.detail) from failed
            raise
        self._router.answered = time.monotonic()
        return completion

    def _failed(self, endpoint: Endpoint, began: float, problem: str, *, certain: bool = False) -> None:
        endpoint.problem = problem
        endpoint.failed(time.monotonic(), began, certain)
        if endpoint.ill and endpoint.failures > 1 and not endpoint.told:  # a single lost connection is no news
            endpoint.told = True
            logger.warning("%s %s; waiting for it to come back", endpoint.url, problem)

    def _turned_down(self, endpoint: Endpoint, began: float, status: int, raw: bytes, retry_after: str | None) -> None:
        """Raise if the status says something about the endpoint, and nothing about the request."""
        if status in _AGAIN:
            detail, after_s = f"status {status}: {_error_text(raw)}", seconds_of(retry_after)
            # A 503 without Retry-After may come from a proxy whose server is gone: fewer calls would not help.
            if status == 429 or (status in _BUSY and after_s is not None):
                self._on_busy()
            if after_s is None:
                self._failed(endpoint, began, f"does not answer ({detail})")
            else:
                endpoint.rests_until = time.monotonic() + min(after_s, self._patience_s)
            raise _Retry("busy" if status in _BUSY else "endpoint-error", f"{endpoint.url}: {detail}")
        if status in (401, 403, 404):
            endpoint.refuses = True
            self._failed(endpoint, began, http_problem(status, self._api_key_env), certain=True)
            raise _Retry("refused", f"{endpoint.url}: {endpoint.problem}")

    def _refused(self, endpoint: Endpoint, status: int, raw: bytes, request: Mapping[str, Any]) -> None:
        detail = _error_text(raw)
        lowered = detail.lower()
        if any(sign in lowered for sign in _TOO_LONG):
            raise CompletionFailed("context-too-long", detail)
        if "continue_final_message" in request and any(sign in lowered for sign in _UNCONTINUED):
            if endpoint.continues:
                logger.warning("%s cannot be told to continue an answer; it is left to see so by itself", endpoint.url)
            endpoint.continues = False
            raise _Retry("bad-request", detail)
        if "structured_outputs" in request and any(sign in lowered for sign in _UNCONSTRAINED):
            raise _left_free(endpoint, detail)
        raise CompletionFailed("bad-request", f"status {status}: {detail}")

    def _take_note(self, trial: _Trial, endpoint: Endpoint, retry: _Retry) -> None:
        if retry.reason in _ITS_OWN or self._router.answered > max(trial.began, trial.tried):
            trial.faults.append(retry.reason)
        trial.failed.append(endpoint)
        trial.tried, trial.last = time.monotonic(), retry

    def _give_up_in_time(self, trial: _Trial) -> None:
        """Tell a request that is itself the trouble from endpoints that are gone."""
        self._may_wait()
        if trial.last and trial.faults.count(trial.last.reason) >= _MOST_FAULTS.get(trial.last.reason, math.inf):
            raise CompletionFailed(trial.last.reason, str(trial.last))
        if self._server_log and not pid_file(self._server_log).exists():
            raise ServingError(crash_message(self._model_name, self._server_log))
        endpoints, now = self._router.endpoints, time.monotonic()
        if all(endpoint.refuses for endpoint in endpoints):
            raise ServingError(f"base_url '{endpoints[0].url}': {endpoints[0].problem}")
        waited = now - trial.began
        if waited > self._patience_s and now - self._router.answered > self._patience_s:
            urls, problems = (", ".join(getattr(e, part) for e in endpoints) for part in ("url", "problem"))
            raise ServingError(
                f"base_urls '{urls}': no answer for {waited:.0f} s ({problems}). Start the server again and run the "
                "same command: finished calls are kept."
            )

    def _pause(self, trial: _Trial) -> float:
        """Exponential with full jitter, in seconds; an endpoint where this call has not failed is tried at once."""
        assert trial.last is not None
        now = time.monotonic()
        if trial.last.reason == "bad-request" or any(
            endpoint.is_well(now) and endpoint not in trial.failed for endpoint in self._router.endpoints
        ):
            return 0.0
        return self._jitter.uniform(0.1, min(0.25 * 2.0 ** min(len(trial.failed), 6), 10.0))


class StoreOnlyClient:
    """Used instead of a client where no model may be asked: every request that the store has no answer to fails."""

    retries = 0

    async def complete(self, messages: Messages, sampling: Sampling) -> Completion:
        """Refuse.

        Raises:
            CompletionFailed: always, for the reason `NOT_STORED`.
        """
        raise CompletionFailed(NOT_STORED, "the store has no answer to this request")


def _left_free(endpoint: Endpoint, detail: str) -> _Retry:
    """The call made again, for an endpoint that refuses to constrain answers to choices, or pretends to."""
    if endpoint.constrained:
        logger.warning("%s cannot constrain answers to choices; using log-probabilities alone", endpoint.url)
    endpoint.constrained = False
    return _Retry("bad-request", detail)


def chat_request(
    model_name: str, messages: Messages, sampling: Sampling, constrained: bool = True, continues: bool = True
) -> dict[str, Any]:
    """The body that is sent.

    Args:
        model_name: as the server knows it.
        messages: a conversation that ends with the assistant's turn has an answer that is begun, to be continued.
        sampling: how the answer is drawn.
        constrained: the server is to allow none but the choices. Where it cannot, some more tokens are asked for: one
            does not tell a refusal from a slip. They are no part of the sampling, and so not of the store's key.
        continues: the server is to be told that it continues an answer.
    """
    request: dict[str, Any] = {
        "model": model_name,
        "messages": list(messages),
        "max_tokens": sampling.max_tokens,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "seed": sampling.seed,
    }
    if continues and messages[-1]["role"] == "assistant":
        request |= {"continue_final_message": True, "add_generation_prompt": False}
    if sampling.choices:
        request["logprobs"] = True
        request["top_logprobs"] = _TOP_LOGPROBS
        if sampling.choice_marker:  # the answer is free text: each of its tokens brings this many alternatives
            request["top_logprobs"] = min(_TOP_LOGPROBS, 2 * len(sampling.choices) + 1)
        elif constrained:
            # All top tokens are asked for here too: a server may ignore this, and then only they show it.
            request["structured_outputs"] = {"choice": list(sampling.choices)}
        else:
            request["max_tokens"] = max(_FREE_TOKENS, sampling.max_tokens)
    return request


def _read_answer(raw: bytes, sampling: Sampling) -> Completion:
    try:
        answer = fast_json.loads(raw)
        choice, usage = answer["choices"][0], answer["usage"]
        text = well_formed(str(choice["message"]["content"] or ""))
        reason = str(choice["finish_reason"])
        tokens = int(usage["prompt_tokens"]), int(usage["completion_tokens"])
        positions = (choice.get("logprobs") or {}).get("content") or []
        if not sampling.choices:
            return Completion(text, reason, *tokens)
        if sampling.choice_marker:
            positions = positions_after(sampling.choice_marker, positions)
        probabilities = choice_probabilities(sampling.choices, positions)
        if sampling.choice_marker:
            return Completion(text, reason, *tokens, choice_probs=probabilities or ())
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise _Retry("malformed-answer", f"{error!r} in {raw[:200]!r}") from error
    if probabilities is None:
        raise CompletionFailed("no-choice", str(text))
    if text not in sampling.choices:
        text = sampling.choices[probabilities.index(max(probabilities))]
    # A choice that is complete at `max_tokens` is a whole answer.
    return Completion(text, "stop", *tokens, choice_probs=probabilities)


def _error_text(raw: bytes) -> str:
    try:
        answer = fast_json.loads(raw)
        error = answer.get("error", answer)
        return well_formed(str(error.get("message", error) if isinstance(error, dict) else error)[:500])
    except (ValueError, AttributeError):
        return raw[:500].decode("utf-8", "replace")


def seconds_of(retry_after: str | None) -> float | None:
    """How long a ``Retry-After`` asks to wait: it is a number of seconds, or a date. None where it is neither."""
    if not retry_after:
        return None
    try:
        seconds = float(retry_after)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(retry_after).timestamp() - time.time()
        except (ValueError, TypeError, OverflowError):
            return None
    return None if math.isnan(seconds) else max(0.0, seconds)

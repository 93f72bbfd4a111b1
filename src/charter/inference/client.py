"""An async client for one or many OpenAI-compatible endpoints.

It retries calls that may yet succeed (a lost connection, 429, 5xx): immediately on another endpoint, on the same one
after a growing, jittered pause or its ``Retry-After``. It never repeats calls that cannot succeed (400: the row's
failure, with its reason). An unhealthy endpoint is excluded until it has answered a one-token completion.
"""

import asyncio
import logging
import math
import os
import random
import time
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from email.utils import parsedate_to_datetime
from pathlib import Path
from types import TracebackType
from typing import Any

import aiohttp

from charter.core.errors import CompletionFailed, ServingError
from charter.core.messages import Messages, user
from charter.core.processes import pid_file
from charter.inference import fast_json
from charter.inference.answers import Answer, read_answer
from charter.inference.choices import (
    choice_probabilities,
    chosen,
    leads_to,
    positions_after,
    positions_of,
    vote_probabilities,
)
from charter.inference.completion import Completion, Sampling, well_formed
from charter.inference.dialect import Dialect
from charter.inference.endpoints import http_problem
from charter.inference.pieces import names_disagree, names_ids
from charter.inference.pool import RefCountedPool, connection_pool
from charter.inference.routing import Endpoint, Router
from charter.inference.server.crash_report import crash_message

logger = logging.getLogger(__name__)

_TOO_BUSY = frozenset({429, 503, 529})
_RETRIABLE = _TOO_BUSY | {408, 409, 425, 500, 502, 504}
_TOO_LONG = (
    "maximum context length",
    "max_model_len",
    "context_length_exceeded",
    "longer than the maximum model length",
    "context length",
    "context window",
    "context size",
    "prompt is too long",
    "max_new_tokens",
)
_FILTERED = (b"content_filter", b"content management policy", b"content policy", b"content_policy")
_NEARLY_CERTAIN = math.log(0.99)
_MAX_FAULTS = {"malformed-answer": 4, "timeout": 3, "endpoint-error": 8, "unreachable": 8, "busy": 100}
"""Of one call and reason; after that many, the request itself is at fault."""
_OWN_FAULTS = frozenset({"malformed-answer", "timeout"})
"""Faults that count whether or not other calls are answered."""
_PROBE = [user("Hello")], Sampling(max_tokens=1)
"""Asked of an excluded endpoint until it answers. GET /health would not do: some proxies and engines answer it and
nothing else."""
_PROBE_S = 60.0
NOT_STORED = "not-stored"
"""The reason of a row that would need a call."""


class _Retry(Exception):
    """The call may succeed if it is repeated."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


@dataclass
class _Attempts:
    """The failed attempts of one call."""

    began: float
    failed: list[Endpoint] = field(default_factory=list)
    """The endpoint of each attempt."""
    faults: list[str] = field(default_factory=list)
    """Reasons of the attempts during which other calls were answered. Without such answers all endpoints may be down,
    and a failure shows nothing about this request."""
    tried: float = 0.0
    """When the last one failed."""
    last: _Retry | None = None
    dialects: dict[str, Dialect] = field(default_factory=dict)
    """How this request is written for an endpoint after it was refused, by the endpoint's URL. The endpoint learns it
    when it accepts a request in it: a refusal that only seems to be about a parameter must not change other calls."""


class Client:
    """Asks endpoints for completions. Use as an async context manager.

    Args:
        base_urls: each such that ``/chat/completions`` follows its path; all serve `model_name`.
        model_name: as the servers know it.
        api_key_env: the environment variable that holds the API key; it is read here and written nowhere.
        timeout_s: seconds that one attempt may take.
        patience_s: seconds to wait for endpoints that are down before ServingError, and the longest ``Retry-After``
            that is waited for to its end.
        server_log: of a server started by `serve`; once that server has ended, calls fail immediately.
        router: the endpoints' state, shared with other clients of the same endpoints.
        connections: shared with other clients.
        may_wait: called before a call is repeated; an exception from it ends the call.
        on_busy: called when a server refuses a call because it has too many.
        choice_samples: how often a server without log-probabilities is asked for a choice; 0 refuses it.
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
        choice_samples: int = 8,
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
        self._choice_samples = choice_samples
        self._open = AsyncExitStack()
        self._session: aiohttp.ClientSession | None = None
        self._probes = set[asyncio.Task[None]]()
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
        for task in self._probes:
            task.cancel()
        await asyncio.gather(*self._probes, return_exceptions=True)
        await self._open.aclose()
        self._session = None

    async def complete(self, messages: Messages, sampling: Sampling) -> Completion:
        """Ask until an answer comes.

        Raises:
            CompletionFailed: this request will never succeed (``context-too-long``, ``bad-request``,
                ``malformed-answer``, ``no-choice``, ``content-filter``, ``refused``), or it failed repeatedly while
                others were answered (``timeout``, ``endpoint-error``, ``unreachable``, ``busy``).
            ServingError: no endpoint has answered any call for `patience_s`, or all of them reject the key.
        """
        attempts = _Attempts(began=time.monotonic())
        # All conversations may share a system prompt; the first user turn identifies one.
        affinity = next((m["content"] for m in messages if m["role"] == "user"), "")
        while True:
            while (endpoint := self._choose_endpoint(affinity, attempts)) is None:
                self._check_patience(attempts)
                soonest = min(each.available_at for each in self._router.endpoints) - time.monotonic()
                # The jitter keeps waiting calls from returning together.
                await asyncio.sleep(min(max(soonest, 0.1), 1.0) * self._jitter.uniform(1.0, 1.5))
            endpoint.in_flight += 1
            try:
                return await self._ask(endpoint, messages, sampling, attempts)
            except _Retry as retry:
                # It counts against the request only if other calls were answered meanwhile.
                if retry.reason in _OWN_FAULTS or self._router.last_answer_at > max(attempts.began, attempts.tried):
                    attempts.faults.append(retry.reason)
                attempts.failed.append(endpoint)
                attempts.tried, attempts.last = time.monotonic(), retry
            finally:
                endpoint.in_flight -= 1
            self._check_patience(attempts)
            self.retries += 1
            assert attempts.last is not None
            now = time.monotonic()
            if attempts.last.reason != "bad-request" and not any(
                each.is_healthy(now) and each not in attempts.failed for each in self._router.endpoints
            ):  # else there is an endpoint left where this call has not failed: try it without a pause
                # Exponential, with full jitter.
                longest = min(0.25 * 2.0 ** min(len(attempts.failed), 6), 10.0)
                await asyncio.sleep(self._jitter.uniform(0.1, longest))

    def _choose_endpoint(self, affinity: str, attempts: _Attempts) -> Endpoint | None:
        now = time.monotonic()
        for endpoint in self._router.due_for_probe(now):
            endpoint.being_probed = True
            task = asyncio.create_task(self._probe(endpoint))
            self._probes.add(task)
            task.add_done_callback(self._probes.discard)
        return self._router.choose(affinity, now, attempts.failed)

    async def _probe(self, endpoint: Endpoint) -> None:
        """Probe an unhealthy endpoint; `_ask` records the outcome."""
        try:
            async with asyncio.timeout(_PROBE_S):
                await self._ask(endpoint, *_PROBE, _Attempts(time.monotonic()))
        except (_Retry, CompletionFailed) as answer:
            logger.debug("probe of %s: %s", endpoint.url, answer)
        except TimeoutError:
            self._record_endpoint_failure(endpoint, time.monotonic(), f"no answer within {_PROBE_S:g} s")
        finally:
            endpoint.being_probed = False

    async def _ask(self, endpoint: Endpoint, messages: Messages, sampling: Sampling, attempts: _Attempts) -> Completion:
        """Ask an endpoint once, or several times for a choice of which it returns no log-probabilities."""
        if not sampling.choices:
            return (await self._send(endpoint, messages, sampling, attempts)).completion()
        # What an answer shows is about the dialect that it was asked in: other calls may have learned more meanwhile.
        dialect = self._dialect(endpoint, attempts)
        if sampling.choice_marker:
            answer = await self._send(endpoint, messages, sampling, attempts)
            self._check_token_names(endpoint, dialect, answer.positions)
            return replace(answer.completion(), choice_probs=_marked_probabilities(answer, sampling))
        if not dialect.top_logprobs:
            return await self._vote(endpoint, messages, sampling, attempts)
        answer = await self._send(endpoint, messages, sampling, attempts)
        return self._read_choice(endpoint, dialect, answer, sampling)

    def _dialect(self, endpoint: Endpoint, attempts: _Attempts) -> Dialect:
        trial = attempts.dialects.get(endpoint.url)
        return endpoint.dialect.merged(trial) if trial else endpoint.dialect

    def _read_choice(self, endpoint: Endpoint, dialect: Dialect, answer: Answer, sampling: Sampling) -> Completion:
        """The choice that an answer is, with its probabilities; `dialect` is the one that it was asked in.

        Raises:
            CompletionFailed: it is another word (``no-choice``), or only thoughts.
            _Retry: the endpoint must be asked in another way, which it has learned.
        """
        choices, text = sampling.choices, self._choice_text(endpoint, dialect, answer, sampling)
        positions = positions_of(text, answer.positions) if answer.thinking else answer.positions
        self._check_token_names(endpoint, dialect, positions)
        probabilities = choice_probabilities(choices, positions)
        if probabilities is None or not _has_alternatives(positions) or names_disagree(positions):
            if dialect.constrains and not leads_to(choices, text):
                endpoint.learn(replace(dialect, constrains=False))
                raise _Retry("bad-request", text)
            if (problem := _logprobs_problem(choices, text, positions)) is None:
                raise CompletionFailed("no-choice", text.strip() or f"an empty answer, ended for '{answer.reason}'")
            if not self._choice_samples or endpoint.reads_logprobs:  # else one odd answer would make all others votes
                raise CompletionFailed("no-choice", f"{text!r}: {problem}")
            endpoint.note("logprobs", problem)
            endpoint.learn(replace(dialect, top_logprobs=0))
            raise _Retry("bad-request", problem)
        endpoint.reads_logprobs = True
        if text not in choices:
            text = choices[probabilities.index(max(probabilities))]
        # A choice that is complete at `max_tokens` is a complete answer, though the server says "length".
        return replace(answer.completion(), text=text, finish_reason="stop", choice_probs=probabilities)

    def _check_token_names(self, endpoint: Endpoint, dialect: Dialect, positions: Sequence[dict[str, Any]]) -> None:
        """Where a server names tokens by their ids, ask it once to name them by their text."""
        if not dialect.names_tokens and names_ids(positions):
            endpoint.learn(replace(dialect, names_tokens=True))
            raise _Retry("bad-request", "tokens are named by their ids")

    def _choice_text(self, endpoint: Endpoint, dialect: Dialect, answer: Answer, sampling: Sampling) -> str:
        """The answer's text; where the model thought instead of choosing, the endpoint learns to ask otherwise."""
        if not answer.thinking or answer.text.strip():
            return answer.text
        if dialect.thoughts == 1 and chosen(sampling.choices, answer.thinking):
            return answer.thinking  # some reasoning parsers take an answer without thoughts for thoughts
        if dialect.thoughts < 2:
            endpoint.learn(replace(dialect, thoughts=dialect.thoughts + 1))
            raise _Retry("bad-request", "the model thinks")
        raise CompletionFailed("only-thoughts", f"no choice followed: {answer.thinking}")

    async def _vote(
        self, endpoint: Endpoint, messages: Messages, sampling: Sampling, attempts: _Attempts
    ) -> Completion:
        """The choice that most sampled answers are, with its probability by their votes.

        Raises:
            ServingError: votes are switched off.
            CompletionFailed: fewer than half of the answers are one of the choices (``no-choice``).
        """
        if not self._choice_samples:
            raise ServingError(no_logprobs_message(endpoint.url))
        dialect = self._dialect(endpoint, attempts)
        if self._choice_samples > 1:  # the probe needs only one
            endpoint.note("votes", f"a choice is the vote of {self._choice_samples} sampled answers")
        answers = [  # one after the other: together they have one place among the calls in flight
            await self._send(endpoint, messages, replace(sampling, temperature=1.0, seed=sampling.seed + i), attempts)
            for i in range(self._choice_samples)
        ]
        texts = [self._choice_text(endpoint, dialect, answer, sampling) for answer in answers]
        votes = [vote for text in texts if (vote := chosen(sampling.choices, text))]
        if 2 * len(votes) < len(texts):
            if dialect.constrains and not any(leads_to(sampling.choices, text) for text in texts):
                endpoint.learn(replace(dialect, constrains=False))
                raise _Retry("bad-request", texts[0])
            raise CompletionFailed("no-choice", texts[0])
        probabilities = vote_probabilities(sampling.choices, votes)
        return Completion(
            sampling.choices[probabilities.index(max(probabilities))],
            "stop",
            sum(answer.prompt_tokens for answer in answers),
            sum(answer.completion_tokens for answer in answers),
            choice_probs=probabilities,
        )

    async def _send(self, endpoint: Endpoint, messages: Messages, sampling: Sampling, attempts: _Attempts) -> Answer:
        """Send one request, and read its answer."""
        assert self._session is not None, "use the client as `async with Client(...) as client`"
        dialect = self._dialect(endpoint, attempts)
        request = dialect.request(self._model_name, messages, sampling)
        body, began = fast_json.dumps(request), time.monotonic()
        try:
            proxy, login = endpoint.proxy or (None, None)
            async with self._session.post(endpoint.chat_url, data=body, proxy=proxy, proxy_headers=login) as response:
                raw = await response.read()
                status, retry_after = response.status, response.headers.get("Retry-After")
        except aiohttp.ClientPayloadError as error:
            raise _Retry("malformed-answer", f"{endpoint.url}: {error}") from error
        except (aiohttp.ClientError, ConnectionError) as error:  # before TimeoutError: some are both
            self._record_endpoint_failure(endpoint, began, f"cannot be reached ({error})", certain=True)
            raise _Retry("unreachable", f"{endpoint.url}: {error}") from error
        except TimeoutError as error:
            self._record_endpoint_failure(endpoint, began, f"does not answer within {self._timeout_s:g} s")
            raise _Retry("timeout", f"no answer from {endpoint.url} within {self._timeout_s:g} s") from error
        if status != 200:
            self._raise_if_unavailable(endpoint, began, status, raw, retry_after)
        if endpoint.reported:
            logger.warning("%s answers again", endpoint.url)
        if endpoint.unhealthy:
            self._router.record_recovery(endpoint)
        else:
            endpoint.succeeded()
        if status != 200:
            self._raise_if_refused(status, raw)
            if (trial := dialect.after_refusal(request, raw)) is not None:
                attempts.dialects[endpoint.url] = self._dialect(endpoint, attempts).merged(trial)
                raise _Retry("bad-request", _error_text(raw))
            raise CompletionFailed("bad-request", f"status {status}: {_error_text(raw)}")
        endpoint.learn(dialect)
        try:
            answer = read_answer(raw, messages, sampling)
        except CompletionFailed:
            self._router.last_answer_at = time.monotonic()
            raise
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise _Retry("malformed-answer", f"{error!r} in {raw[:200]!r}") from error
        endpoint.note_answer(answer)
        self._router.last_answer_at = time.monotonic()
        return answer

    def _record_endpoint_failure(
        self, endpoint: Endpoint, began: float, problem: str, *, certain: bool = False
    ) -> None:
        endpoint.problem = problem
        endpoint.failed(time.monotonic(), began, certain)
        if endpoint.unhealthy and endpoint.failures > 1 and not endpoint.reported:  # a single lost connection is common
            endpoint.reported = True
            logger.warning("%s %s; waiting for it to come back", endpoint.url, problem)

    def _raise_if_unavailable(
        self, endpoint: Endpoint, began: float, status: int, raw: bytes, retry_after: str | None
    ) -> None:
        """Raise if the status is about the endpoint and not about the request."""
        if status in _RETRIABLE:
            detail, after_s = f"status {status}: {_error_text(raw)}", seconds_of(retry_after)
            # A 503 without Retry-After may come from a proxy whose server is gone: fewer calls would not help.
            if status == 429 or (status in _TOO_BUSY and after_s is not None):
                self._on_busy()
            if after_s is None:
                self._record_endpoint_failure(endpoint, began, f"does not answer ({detail})")
            else:
                endpoint.paused_until = time.monotonic() + min(after_s, self._patience_s)
            raise _Retry("busy" if status in _TOO_BUSY else "endpoint-error", f"{endpoint.url}: {detail}")
        if status in (401, 403, 404):
            endpoint.misconfigured = True
            self._record_endpoint_failure(endpoint, began, http_problem(status, self._api_key_env), certain=True)
            raise _Retry("refused", f"{endpoint.url}: {endpoint.problem}")

    def _raise_if_refused(self, status: int, raw: bytes) -> None:
        """Raise if the refusal is about this conversation."""
        detail = _error_text(raw)
        if any(sign in detail.lower() for sign in _TOO_LONG):
            raise CompletionFailed("context-too-long", detail)
        if any(sign in raw.lower() for sign in _FILTERED):
            raise CompletionFailed("content-filter", detail)

    def _check_patience(self, attempts: _Attempts) -> None:
        """Raise if this request always fails, or if the endpoints have been down for too long."""
        self._may_wait()
        if attempts.last and attempts.faults.count(attempts.last.reason) >= _MAX_FAULTS.get(
            attempts.last.reason, math.inf
        ):
            raise CompletionFailed(attempts.last.reason, str(attempts.last))
        if self._server_log and not pid_file(self._server_log).exists():
            raise ServingError(crash_message(self._model_name, self._server_log))
        endpoints, now = self._router.endpoints, time.monotonic()
        if all(endpoint.misconfigured for endpoint in endpoints):
            raise ServingError(f"base_url '{endpoints[0].url}': {endpoints[0].problem}")
        waited = now - attempts.began
        if waited > self._patience_s and now - self._router.last_answer_at > self._patience_s:
            urls, problems = (", ".join(getattr(e, part) for e in endpoints) for part in ("url", "problem"))
            raise ServingError(
                f"base_urls '{urls}': no answer for {waited:.0f} s ({problems}). Start the server again and run the "
                "same command: finished calls are kept."
            )


class StoreOnlyClient:
    """Used instead of a client where no model may be asked: every request that the store has no answer to fails."""

    retries = 0

    async def complete(self, messages: Messages, sampling: Sampling) -> Completion:
        """Refuse.

        Raises:
            CompletionFailed: always, for the reason `NOT_STORED`.
        """
        raise CompletionFailed(NOT_STORED, "the store has no answer to this request")


def no_logprobs_message(url: str) -> str:
    """Why a server without log-probabilities cannot judge, and what to do."""
    return (
        f"base_url '{url}': returns no log-probabilities, by which choices are read, and serving.choice_samples is 0. "
        "Set it to 8, to sample each choice that often, or use a server that returns them, such as vLLM."
    )


def _marked_probabilities(answer: Answer, sampling: Sampling) -> tuple[float, ...]:
    """The probabilities of the choices after the marker; those of one vote if there are no log-probabilities."""
    if answer.positions and not names_ids(answer.positions) and not names_disagree(answer.positions):
        after = positions_after(sampling.choice_marker, answer.positions)
        return choice_probabilities(sampling.choices, after) or ()
    _, found, rest = answer.text.rpartition(sampling.choice_marker)
    vote = chosen(sampling.choices, rest) if found else None
    return vote_probabilities(sampling.choices, [vote]) if vote else ()


def _has_alternatives(positions: Sequence[dict[str, Any]]) -> bool:
    """Whether alternatives of any token are listed; a token that is nearly certain needs none."""
    return any(len(p.get("top_logprobs") or ()) > 1 or p["logprob"] > _NEARLY_CERTAIN for p in positions)


def _logprobs_problem(choices: Sequence[str], text: str, positions: Sequence[dict[str, Any]]) -> str | None:
    """Why the log-probabilities say nothing of an answer that is a choice; None if the answer is not a choice.

    Its own probability may be too small to be an opinion.
    """
    if not positions:
        return "returns no log-probabilities" if text.strip() else None
    if not _has_alternatives(positions):
        return "returns log-probabilities without alternatives"
    if (choice := chosen(choices, text)) is None:
        return None
    tokens = [str(position["token"]) for position in positions]
    if names_disagree(positions):
        return f"log-probabilities name the drawn token {tokens[0]!r} in another way than its alternatives"
    if leads_to(choices, "".join(tokens)) and chosen(choices, "".join(tokens)) == choice:
        return None
    return f"log-probabilities are of the tokens {tokens[:4]}, which do not spell the answer {text[:40]!r}"


def _error_text(raw: bytes) -> str:
    try:
        answer = fast_json.loads(raw)
        error = answer.get("error", answer)
        return well_formed(str(error.get("message", error) if isinstance(error, dict) else error)[:500])
    except (ValueError, AttributeError):
        return raw[:500].decode("utf-8", "replace")


def seconds_of(retry_after: str | None) -> float | None:
    """The seconds to wait by a ``Retry-After``, which is a number of seconds or a date; None if it is neither."""
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

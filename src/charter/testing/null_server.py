"""A real HTTP server in OpenAI's shape whose answer is a function of the request alone.

``python -m charter.testing.null_server --port 8000`` replaces a model wherever only the driver matters:
benchmarks, fault tests, tests of stages. The client talks HTTP to it, through the same code as to vLLM.
"""

import argparse
import asyncio
import contextlib
import hashlib
import importlib
import json
import math
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakSet

from aiohttp import web

from charter.core.messages import Message
from charter.inference.probe import PROBE_MESSAGES

Answer = Callable[[Sequence[Message]], str]
"""From the conversation to the answer."""

_WORDS = (
    "the", "a", "one", "answer", "is", "not", "under", "this", "principle", "and", "we", "say", "it", "may", "help",
)  # fmt: skip


@dataclass(frozen=True)
class Misbehaviour:
    """What share of the requests, by the request's hash, meets which fault the first `times` times it is sent."""

    error_share: float = 0.0
    """Answered with `error_status`."""
    error_status: int = 503
    retry_after_s: float | None = None
    """Sent as ``Retry-After`` with the errors."""
    malformed_share: float = 0.0
    """Answered with a JSON that breaks off."""
    truncated_share: float = 0.0
    """Answered with fewer bytes than announced."""
    lost_share: float = 0.0
    """Not answered: the connection is closed, as by a server that crashes."""
    slow_share: float = 0.0
    """Answered `slow_s` later."""
    slow_s: float = 1.0
    times: float = 1
    """After this many faults the request is answered properly; `math.inf` for never."""


@dataclass
class NullServer:
    """The server's settings and counts; started by `run_null_server`.

    A request's seed and sampling are part of its hash, so different seeds give different answers.
    """

    answer: Answer | None = None
    """Writes the answers; words drawn by the request's hash when empty."""
    model_name: str = "null"
    root: str | None = None
    """The folder of the weights, as vLLM tells it."""
    other_models: tuple[str, ...] = ()
    """Listed before it; they answer as well."""
    has_models: bool = True
    """Whether there is a list of models."""
    path: str = "/v1"
    """Of the base URL."""
    max_model_len: int = 8192
    """In words; longer conversations are refused as vLLM does."""
    latency_s: float = 0.0
    """What an answer takes, in seconds."""
    parallel: int = 100_000
    """Requests that are worked on concurrently, `latency_s` each; further ones wait, as in an engine's queue."""
    refuse_above: int | None = None
    """With more requests in flight further ones get status 429 and `misbehaviour.retry_after_s`, as of hosted APIs."""
    has_metrics: bool = True
    """Whether /metrics exists, which tells vLLM's queue."""
    misbehaviour: Misbehaviour = Misbehaviour()
    unknown: tuple[str, ...] = ()
    """Arguments that are refused, such as `structured_outputs`."""
    ignored: tuple[str, ...] = ()
    """Arguments that are accepted and change nothing."""
    refuse: Callable[[dict[str, Any]], str | None] | None = None
    """Given a request's body, returns the text of the error with which it is refused, or None."""
    rewrite: Callable[[dict[str, Any]], None] | None = None
    """Changes an answer's body before it is sent, into that of another server."""
    api_key: str | None = None
    """Asked for as a bearer token when set."""
    takes_adapters: bool = False
    """Whether adapters can be loaded; a model of each one's name then answers as well."""
    adapters: dict[str, str] = field(default_factory=dict)
    """The folders of those that were."""
    started: float = field(default_factory=time.time)
    """When it says that it was started, in seconds since 1970."""
    counts: Counter[str] = field(default_factory=Counter)
    """`connections` that asked for a completion, `requests`, `answered`, `errors`, `malformed`, `truncated`, `slow`,
    `lost`, `refused`, `running`, `most running`, `prompt_tokens`, `tokens`; `probes`, which are in none of these."""
    bodies: list[dict[str, Any]] = field(default_factory=list)
    """The requests as they came, when `keep_bodies`."""
    keep_bodies: bool = False
    url: str = ""
    """The base URL, which ends in `path`, once it runs."""
    _met: Counter[str] = field(default_factory=Counter)
    _asking: WeakSet[asyncio.Transport] = field(default_factory=WeakSet)

    def __post_init__(self) -> None:
        self._places = asyncio.Semaphore(self.parallel)

    def application(self) -> web.Application:
        """The routes, for any aiohttp runner."""
        # The default, 1 MiB, is less than a long conversation.
        app = web.Application(client_max_size=64 * 2**20)
        app.router.add_post(f"{self.path}/chat/completions", self._chat)
        if self.has_models:
            app.router.add_get(f"{self.path}/models", self._models)
        if self.takes_adapters:
            app.router.add_post("/v1/load_lora_adapter", self._load_adapter)
        app.router.add_get("/health", self._health)
        if self.has_metrics:
            app.router.add_get("/metrics", self._metrics)
        return app

    async def _health(self, request: web.Request) -> web.Response:
        return web.Response()

    async def _models(self, request: web.Request) -> web.Response:
        if not self._key_fits(request):
            return _error(401, "Unauthorized")
        card = {"id": self.model_name, "object": "model", "root": self.root, "max_model_len": self.max_model_len}
        others = [{"id": name, "object": "model"} for name in self.other_models]
        return web.json_response({"object": "list", "data": [*others, card]})

    async def _load_adapter(self, request: web.Request) -> web.Response:
        asked = await request.json()
        self.adapters[asked["lora_name"]] = asked["lora_path"]
        return web.Response(text=f"Success: LoRA adapter '{asked['lora_name']}' added successfully.")

    async def _metrics(self, request: web.Request) -> web.Response:
        # Without latency no request ever waits for a place.
        waiting = max(0, self.counts["running"] - self.parallel) if self.latency_s else 0
        series = {
            'vllm:request_success_total{finished_reason="stop"}': self.counts["answered"],
            "vllm:prompt_tokens_total{}": self.counts["prompt_tokens"],
            "vllm:generation_tokens_total{}": self.counts["tokens"],
            "vllm:num_requests_running{}": self.counts["running"] - waiting,
            "vllm:num_requests_waiting{}": waiting,
            "process_start_time_seconds": self.started,
        }
        return web.Response(text="".join(f"{name} {float(value)}\n" for name, value in series.items()))

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        if (body := await request.json()).get("messages") == PROBE_MESSAGES:
            return self._respond_to_probe(request, body)
        self.counts["requests"] += 1
        if request.transport and request.transport not in self._asking:
            # Counted at its first completion: health checks open connections too.
            self._asking.add(request.transport)
            self.counts["connections"] += 1
        self.counts["running"] += 1
        self.counts["most running"] = max(self.counts["most running"], self.counts["running"])
        try:
            return await self._respond(request)
        finally:
            self.counts["running"] -= 1

    def _respond_to_probe(self, request: web.Request, body: dict[str, Any]) -> web.Response:
        """As to any request, but without latency and faults: neither tests nor benchmarks are about it."""
        self.counts["probes"] += 1
        if not self._key_fits(request):
            return _error(401, "Unauthorized")
        if problem := self._refusal(body):
            return problem
        answer = self._completion({k: v for k, v in body.items() if k not in self.ignored}, "0" * 64, "Hello.")
        if self.rewrite:
            self.rewrite(answer)
        return web.json_response(answer)

    async def _respond(self, request: web.Request) -> web.StreamResponse:
        if not self._key_fits(request):
            return _error(401, "Unauthorized")
        if self.refuse_above is not None and self.counts["running"] > self.refuse_above:
            self.counts["refused"] += 1
            return _error(429, "too many requests", self._retry_after())
        body = await request.json()
        if self.keep_bodies:
            self.bodies.append(body)
        # Before the hash: an ignored argument must not change the answer.
        body = {name: value for name, value in body.items() if name not in self.ignored}
        if problem := self._refusal(body):
            return problem
        # The same request always gets the same answer, and meets the same fault.
        digest = hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
        if self.latency_s:
            # Like an engine: with more requests than places, the others wait in its queue.
            async with self._places:
                await asyncio.sleep(self.latency_s)
        fault = self._fault(digest)
        if fault:
            self.counts[fault] += 1
        if fault == "errors":
            return _error(self.misbehaviour.error_status, "told to fail", self._retry_after())
        if fault == "lost":
            assert request.transport is not None
            request.transport.close()
        if fault == "slow":
            await asyncio.sleep(self.misbehaviour.slow_s)
        answer = self._completion(body, digest)
        usage = answer["usage"]
        if self.rewrite:
            self.rewrite(answer)
        text = json.dumps(answer)
        if fault == "malformed":
            return web.Response(text=text[: len(text) // 2], content_type="application/json")
        if fault == "truncated":
            headers = {"Content-Length": str(len(text.encode())), "Content-Type": "application/json"}
            response = web.StreamResponse(headers=headers)
            await response.prepare(request)
            await response.write(text.encode()[: len(text) // 2])
            assert request.transport is not None
            request.transport.close()
            return response
        self.counts["answered"] += 1
        self.counts["prompt_tokens"] += usage["prompt_tokens"]
        self.counts["tokens"] += usage["completion_tokens"]
        return web.Response(text=text, content_type="application/json")

    def _retry_after(self) -> dict[str, str] | None:
        seconds = self.misbehaviour.retry_after_s
        return None if seconds is None else {"Retry-After": str(seconds)}

    def _key_fits(self, request: web.Request) -> bool:
        return self.api_key is None or request.headers.get("Authorization") == f"Bearer {self.api_key}"

    def _refusal(self, body: dict[str, Any]) -> web.Response | None:
        if body.get("model") not in (self.model_name, *self.other_models, *self.adapters):
            return _error(404, f"The model `{body.get('model')}` does not exist.")
        if refused := next((name for name in self.unknown if name in body), None):
            return _error(400, f"Unrecognized request argument supplied: {refused}")
        if self.refuse and (problem := self.refuse(body)):
            return _error(400, problem)
        words = _words(body["messages"])
        if words + _token_limit(body) > self.max_model_len:
            return _error(
                400,
                f"This model's maximum context length is {self.max_model_len} tokens. However, your prompt contains "
                f"{words} input tokens. Please reduce the length of the input prompt.",
            )
        return None

    def _fault(self, digest: str) -> str | None:
        """Which fault this request meets now; the same request always meets the same."""
        wrong, draw = self.misbehaviour, int(digest[:8], 16) / 2**32
        for name, share in (
            ("errors", wrong.error_share),
            ("malformed", wrong.malformed_share),
            ("truncated", wrong.truncated_share),
            ("slow", wrong.slow_share),
            ("lost", wrong.lost_share),
        ):
            if draw < share:
                self._met[digest] += 1
                return name if self._met[digest] <= wrong.times else None
            draw -= share  # the shares divide the interval from 0 to 1 between the faults
        return None

    def _completion(self, body: dict[str, Any], digest: str, given: str | None = None) -> dict[str, Any]:
        limit = _token_limit(body)
        written = given if given or self.answer is None else self.answer(body["messages"])
        choices = (body.get("structured_outputs") or {}).get("choice") or []
        logprobs: dict[str, Any] | None
        if choices:
            text, logprobs = _choose(choices, written, digest)
            words, reason = [text], "stop"
        else:
            if written is None:
                # Some four to forty words, as many as fit, drawn by the hash.
                bits = bytes.fromhex(digest)
                n = min(4 + bits[0] % 37, limit)
                written = " ".join(_WORDS[(bits[i % 32] + i) % len(_WORDS)] for i in range(n))
            words = written.split(" ")
            reason = "length" if len(words) > limit else "stop"
            words = words[:limit]
            text, logprobs = " ".join(words), None
            if body.get("logprobs"):
                tokens = [word if i == 0 else f" {word}" for i, word in enumerate(words)]
                top = [{"token": t, "logprob": 0.0, "top_logprobs": [{"token": t, "logprob": 0.0}]} for t in tokens]
                logprobs = {"content": top}
        read, written_tokens = _words(body["messages"]), len(words)
        used = {"prompt_tokens": read, "completion_tokens": written_tokens, "total_tokens": read + written_tokens}
        message = {"role": "assistant", "content": text}
        choice = {"index": 0, "message": message, "logprobs": logprobs, "finish_reason": reason}
        return {"id": digest, "object": "chat.completion", "model": self.model_name, "choices": [choice], "usage": used}


def _token_limit(body: dict[str, Any]) -> int:
    return int(body.get("max_tokens") or body.get("max_completion_tokens") or 4096)


def _words(messages: Sequence[Message]) -> int:
    return sum(len(message["content"].split()) for message in messages)


def _choose(choices: Sequence[str], written: str | None, digest: str) -> tuple[str, dict[str, Any]]:
    """The choice that the hash, or the writer of answers, prefers; its probability lies between 0.55 and 0.95."""
    drawn = choices[int(digest[8:16], 16) % len(choices)]
    # A writer of answers may choose; what it writes instead of a choice is ignored.
    preferred = written if written is not None and written in choices else drawn
    # Away from one half, where the judge's label would be a tie, and from 1, which no model reaches.
    p = 0.55 + 0.4 * int(digest[16:24], 16) / 2**32
    # What is left is shared by the other choices, so that probabilities add up to one.
    rest = (1 - p) / max(1, len(choices) - 1)
    shares = {c: p if c == preferred else rest for c in choices} if len(choices) > 1 else {preferred: 1.0}
    top = [{"token": c, "logprob": math.log(share), "bytes": list(c.encode())} for c, share in shares.items()]
    token = {"token": preferred, "logprob": math.log(shares[preferred]), "top_logprobs": top}
    return preferred, {"content": [token]}


def _error(status: int, message: str, headers: dict[str, str] | None = None) -> web.Response:
    return web.json_response({"error": {"message": message, "code": status}}, status=status, headers=headers)


@contextlib.contextmanager
def run_null_server(server: NullServer | None = None, port: int = 0) -> Iterator[NullServer]:
    """Run a server in a separate thread, on a free loopback port unless one is given."""
    server = server or NullServer()
    # Its own loop and thread: a caller that blocks its loop must not block the server.
    loop = asyncio.new_event_loop()
    runner = web.AppRunner(server.application(), access_log=None, shutdown_timeout=0.5)
    thread = threading.Thread(target=loop.run_forever, name="null-server", daemon=True)
    thread.start()

    async def listen() -> str:
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", port, backlog=1024).start()
        return f"http://127.0.0.1:{runner.addresses[0][1]}{server.path}"

    async def end() -> None:
        await runner.cleanup()
        # Answers that still sleep: without this, the loop warns about tasks that are destroyed.
        answering = asyncio.all_tasks() - {asyncio.current_task()}
        for task in answering:
            task.cancel()
        await asyncio.gather(*answering, return_exceptions=True)

    try:
        server.url = asyncio.run_coroutine_threadsafe(listen(), loop).result(timeout=10)
        yield server
    finally:
        asyncio.run_coroutine_threadsafe(end(), loop).result(timeout=10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(timeout=10)
        loop.close()


def main() -> None:
    """Run until interrupted; prints the address."""
    parser = argparse.ArgumentParser(description="A server in OpenAI's shape that needs no model.")
    parser.add_argument("--port", type=int, default=0, help="a free one when left out")
    parser.add_argument("--latency", type=float, default=0.0, help="seconds before each answer")
    parser.add_argument("--parallel", type=int, default=100_000, help="requests that are worked on concurrently")
    parser.add_argument("--error-share", type=float, default=0.0, help="share of requests that fail once")
    parser.add_argument("--malformed-share", type=float, default=0.0, help="share of answers that break off once")
    parser.add_argument("--answer", help="who writes the answers, as MODULE:FUNCTION; drawn words when left out")
    options = parser.parse_args()
    module, _, function = (options.answer or "").partition(":")
    answer = getattr(importlib.import_module(module), function) if module else None
    misbehaviour = Misbehaviour(error_share=options.error_share, malformed_share=options.malformed_share)
    server = NullServer(answer=answer, latency_s=options.latency, parallel=options.parallel, misbehaviour=misbehaviour)
    with run_null_server(server, options.port):
        sys.stdout.write(f"{server.url}\n")
        sys.stdout.flush()
        with contextlib.suppress(KeyboardInterrupt):
            threading.Event().wait()


if __name__ == "__main__":
    main()

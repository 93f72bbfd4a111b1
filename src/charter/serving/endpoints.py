"""Servers that already run: are they up, what do they serve, and which of them to ask next."""

import hashlib
import http.client
import json
import math
import os
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from charter.config import Serving
from charter.errors import ServingError
from charter.serving.identity import model_identity
from charter.serving.special_tokens import special_tokens

_LOOPBACK = ("//127.", "//localhost", "//[::1]")
DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))
"""Asks without a proxy, as the client does: a proxy would not find this machine's own servers."""


@dataclass(frozen=True)
class Served:
    """A model that answers: started by `serve`, or found by `connect`."""

    base_urls: tuple[str, ...]
    """Each ending in ``/v1``."""
    model_name: str
    """The name under which the servers know the model."""
    identity: str
    """The weights' content hash or hub revision, or what the servers tell about themselves."""
    pid: int | None = None
    """The process group of a server started here."""
    log: Path | None = None
    """The output of a server started here."""
    special_tokens: tuple[str, ...] = ()
    """Those of its tokenizer, where its files are at hand."""
    merged: str = ""
    """Of an adapter that is served beside its base: the identity of the folder with the merged weights."""

    @property
    def base_url(self) -> str:
        """The first of the servers."""
        return self.base_urls[0]


def connect(base_urls: Sequence[str], settings: Serving, timeout_s: float = 10.0) -> Served:
    """Look at servers that already run.

    Raises:
        ServingError: one is down, needs another key, or does not serve the model; the URL and the fix are named.
    """
    if not base_urls:
        raise ServingError("serving.base_urls '[]': no server named. Give one, such as http://127.0.0.1:8000/v1.")
    urls = tuple(_normal(url) for url in base_urls)
    deadline = time.monotonic() + timeout_s
    cards = [_model_card(url, settings, max(1.0, deadline - time.monotonic())) for url in urls]
    names = {card["id"] for card in cards}
    if len(names) > 1:
        raise ServingError(
            f"serving.base_urls '{', '.join(urls)}': they serve different models ({', '.join(sorted(names))}). "
            "Start all of them with the same --served-model-name."
        )
    root = cards[0].get("root")
    tokens = special_tokens(root) if root else ()
    return Served(urls, names.pop(), _identity(urls[0], cards[0], settings), special_tokens=tokens)


def _normal(url: str) -> str:
    url = url.rstrip("/")
    if not url.startswith(("http://", "https://")):
        raise ServingError(f"base_url '{url}': not an address. Write it as http://HOST:PORT/v1.")
    return url if url.endswith("/v1") else url + "/v1"


def _model_card(url: str, settings: Serving, timeout_s: float) -> dict[str, Any]:
    models = _get_json(f"{url}/models", settings.api_key_env, timeout_s).get("data") or []
    by_name = {model["id"]: model for model in models if isinstance(model, dict) and "id" in model}
    if not by_name:
        raise ServingError(f"base_url '{url}': serves no model. Check that it is an OpenAI-compatible server.")
    name = settings.model_name or next(iter(by_name))
    if name not in by_name:
        raise ServingError(
            f"serving.model_name '{name}': not served at {url}, which has {', '.join(by_name)}. "
            "Set serving.model_name to one of these, or leave it out."
        )
    return by_name[name]


def _get_json(url: str, api_key_env: str, timeout_s: float) -> dict[str, Any]:
    request = urllib.request.Request(url)
    if key := os.environ.get(api_key_env):
        request.add_header("Authorization", f"Bearer {key}")
    try:
        with DIRECT.open(request, timeout=timeout_s) as response:
            answer = json.load(response)
    except urllib.error.HTTPError as error:
        raise ServingError(f"base_url '{url}': {http_problem(error.code, api_key_env)}") from error
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", None) or error
        raise ServingError(
            f"base_url '{url}': no answer ({reason}). Start the server, correct serving.base_urls, "
            "or leave it empty and a server is started for you."
        ) from error
    except ValueError as error:
        raise ServingError(f"base_url '{url}': not an OpenAI-compatible server (its answer is no JSON).") from error
    if not isinstance(answer, dict):
        raise ServingError(f"base_url '{url}': not an OpenAI-compatible server. Its address ends in /v1.")
    return answer


def http_problem(status: int, api_key_env: str) -> str:
    """What an HTTP status that asking again does not change means, and what to do."""
    if status in (401, 403):
        set_or_not = "is refused" if os.environ.get(api_key_env) else "is not set"
        return f"status {status}: it wants an API key, and ${api_key_env} {set_or_not}. Export that variable."
    if status == 404:
        return "status 404: no such address or model. Check serving.base_urls (they end in /v1) and serving.model_name."
    return f"status {status}. Look at the server's log."


def _identity(url: str, card: dict[str, Any], settings: Serving) -> str:
    """By content when the server's weights are a folder here; else by what the server and the settings say."""
    root = card.get("root")
    if root and any(place in url for place in _LOOPBACK) and Path(root).is_dir():
        return model_identity(root)
    revision = f"#{settings.model_revision}" if settings.model_revision else ""
    return f"served:{card['id']}@{root or 'unknown'}{revision}"


@dataclass
class Endpoint:
    """One server as the client sees it."""

    url: str
    busy: int = 0
    """Calls in flight."""
    failures: int = 0
    """Connection failures since the last answer; those of calls in flight at the same time are one."""
    left_out_at: float = -math.inf
    """When it was last left out, in monotonic seconds."""
    down_until: float = 0.0
    """Left out until then, in monotonic seconds."""
    constrained: bool = True
    """Whether it takes `structured_outputs`."""
    continues: bool = True
    """Whether it takes `continue_final_message`."""

    def succeeded(self) -> None:
        """It answered."""
        self.failures, self.down_until = 0, 0.0

    def failed(self, now: float, began: float = math.inf) -> None:
        """It could not be reached: leave it out, longer each time, at most half a minute.

        A call that `began` before it was left out says nothing new: all calls in flight fail when a server dies.
        """
        if began < self.left_out_at:
            return
        self.failures, self.left_out_at = self.failures + 1, now
        self.down_until = now + min(0.5 * 2.0 ** min(self.failures - 1, 6), 30.0)


@dataclass
class Router:
    """Least busy first, but a conversation stays where its beginning is in the prefix cache."""

    endpoints: list[Endpoint]
    slack: int = 8
    """Calls that the preferred endpoint may have more in flight than the least busy one."""

    def choose(self, affinity: str, now: float) -> Endpoint:
        """The endpoint for a conversation that begins with `affinity`; one that is down only if all are."""
        if len(self.endpoints) == 1:
            return self.endpoints[0]
        up = [e for e in self.endpoints if e.down_until <= now] or [min(self.endpoints, key=lambda e: e.down_until)]
        preferred = max(up, key=lambda e: _weight(affinity, e.url))
        idlest = min(up, key=lambda e: e.busy)
        return preferred if preferred.busy <= idlest.busy + self.slack else idlest


def _weight(affinity: str, url: str) -> bytes:
    """Rendezvous hashing: when an endpoint leaves, only its own conversations move."""
    return hashlib.blake2b(f"{url}\0{affinity}".encode("utf-8", "surrogatepass"), digest_size=8).digest()

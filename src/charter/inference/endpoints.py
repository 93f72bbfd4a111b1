"""Servers that are already running: whether they are up, and what they serve."""

import http.client
import ipaddress
import json
import math
import os
import re
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from charter.config import Serving
from charter.config.addresses import refuse_login
from charter.core.errors import ServingError
from charter.inference.identity import identity_files, model_identity
from charter.inference.special_tokens import special_tokens

_METRICS_S = 10.0
_CLOCK_S = 2.0
"""A process's start time is accurate to about a second."""
DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))
"""Opens URLs without a proxy, as the client does: a proxy cannot reach servers of this machine."""


@dataclass(frozen=True)
class Served:
    """A model on running servers: started by `serve`, or found by `connect`."""

    base_urls: tuple[str, ...]
    """Each ending in ``/v1``."""
    model_name: str
    """The name under which the servers know the model."""
    identity: str
    """The weights' content hash or hub revision, or what the servers report about themselves."""
    pid: int | None = None
    """The process group of a server started here."""
    log: Path | None = None
    """The output of a server started here."""
    special_tokens: tuple[str, ...] = ()
    """Its tokenizer's, if its files are on this machine."""
    settings: Serving = field(default_factory=Serving)
    """The key and the timeouts for its requests."""
    merged: str = ""
    """For an adapter served by its base's server: the identity of the folder with the merged weights."""

    @property
    def base_url(self) -> str:
        """The first of the servers."""
        return self.base_urls[0]


def connect(base_urls: Sequence[str], settings: Serving, timeout_s: float = 10.0) -> Served:
    """Check servers that are already running.

    Raises:
        ServingError: one is down, needs another key, does not serve the model, or has other weights than its folder
            or than another server; the message names the URL and the fix.
        ConfigError: an address contains a login.
    """
    if not base_urls:
        raise ServingError("serving.base_urls '[]': no server is named. Name one, such as http://127.0.0.1:8000/v1.")
    urls = tuple(_normalise(url) for url in base_urls)
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
    identity = _one_identity(urls, cards, settings)
    return Served(urls, names.pop(), identity, special_tokens=tokens, settings=settings)


def _normalise(url: str) -> str:
    url = refuse_login(url.rstrip("/"))
    if not url.startswith(("http://", "https://")):
        raise ServingError(f"base_url '{url}': not a URL. Write it as http://HOST:PORT/v1.")
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
        request.add_unredirected_header("Authorization", f"Bearer {key}")
    try:
        with DIRECT.open(request, timeout=timeout_s) as response:
            answer = json.load(response)
    except urllib.error.HTTPError as error:
        error.close()  # the error holds the connection
        raise ServingError(f"base_url '{url}': {http_problem(error.code, api_key_env)}") from error
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", None) or error
        raise ServingError(
            f"base_url '{url}': no answer ({reason}). Start the server, correct serving.base_urls, "
            "or leave it empty and a server is started for you."
        ) from error
    except ValueError as error:
        raise ServingError(f"base_url '{url}': not an OpenAI-compatible server (its answer is not JSON).") from error
    if not isinstance(answer, dict):
        raise ServingError(f"base_url '{url}': not an OpenAI-compatible server. Its address ends in /v1.")
    return answer


def http_problem(status: int, api_key_env: str) -> str:
    """What an HTTP status that a retry does not change means, and what to do."""
    if status in (401, 403) and not api_key_env:
        return (
            f"status {status}: it requires an API key, and none is named for its host. Name the variable in "
            "api_key_env next to its address; for the base of an evaluation that is evaluation.base_api_key_env."
        )
    if status in (401, 403):
        set_or_not = "is refused" if os.environ.get(api_key_env) else "is not set"
        return f"status {status}: it requires an API key, and ${api_key_env} {set_or_not}. Export that variable."
    if status == 404:
        return "status 404: no such address or model. Check serving.base_urls (they end in /v1) and serving.model_name."
    return f"status {status}. See the server's log."


def _one_identity(urls: Sequence[str], cards: Sequence[dict[str, Any]], settings: Serving) -> str:
    """The identity of all servers together.

    Where the weights' files are on other machines, their paths may differ if the settings name a revision.
    """
    identities = dict.fromkeys(_identity(url, card, settings) for url, card in zip(urls, cards, strict=True))
    if len(identities) > 1 and (not settings.model_revision or any(id_.startswith("sha256:") for id_ in identities)):
        raise ServingError(
            f"serving.base_urls '{', '.join(urls)}': they have different weights ({', '.join(identities)}). Start all "
            "of them with the same. If these are the same, in other folders of other machines, set "
            "serving.model_revision."
        )
    return next(iter(identities))


def _identity(url: str, card: dict[str, Any], settings: Serving) -> str:
    """The content hash if the server's weights are a folder of this machine; else what server and settings say."""
    root = card.get("root")
    if root and is_loopback(url) and Path(root).is_dir():
        _refuse_changed_files(url, Path(root))
        return model_identity(root)
    revision = f"#{settings.model_revision}" if settings.model_revision else ""
    return f"served:{card['id']}@{root or 'unknown'}{revision}"


def is_loopback(url: str) -> bool:
    """Whether a server's address is on this machine: localhost, 127.0.0.0/8 or ::1."""
    host = urlsplit(url).hostname or ""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:  # another name, such as localhost.example.com
        return False


def _refuse_changed_files(url: str, folder: Path) -> None:
    """Refuse a server that was started before its model's files changed: it still has the old weights in memory.

    If the server does not report its start time, this cannot be checked.
    """
    try:
        with DIRECT.open(url.removesuffix("/v1") + "/metrics", timeout=_METRICS_S) as response:
            metrics = response.read().decode("utf-8", "replace")
    except (OSError, http.client.HTTPException):
        return
    start = re.search(r"^process_start_time_seconds\S* (\S+)$", metrics, re.MULTILINE)
    started = float(start[1]) if start else math.inf
    # st_ctime and not st_mtime, which copying tools set back.
    changed = [file.name for file in identity_files(folder) if file.stat().st_ctime > started + _CLOCK_S]
    if changed:
        raise ServingError(
            f"base_url '{url}': its model's files changed after it was started ({', '.join(changed)} in '{folder}'), "
            "and it answers with the old weights. Restart it."
        )

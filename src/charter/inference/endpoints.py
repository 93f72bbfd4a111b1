"""Servers that are already running: whether they are up, and what they serve."""

import fnmatch
import http.client
import json
import math
import os
import re
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from charter.config import Serving
from charter.config.addresses import display_address, refuse_login
from charter.config.generation import SamplingParameters
from charter.core.errors import ServingError
from charter.inference.dialect import Dialect
from charter.inference.identity import identity_files, model_identity
from charter.inference.model_sampling import model_sampling
from charter.inference.network import DIRECT, is_loopback, metrics_url, opener, proxy_of, route
from charter.inference.special_tokens import special_tokens

_METRICS_S = 10.0
_CLOCK_S = 2.0
"""A process's start time is accurate to about a second."""
_MAX_LISTED = 20
"""Models that a message lists."""
_VERSION = re.compile(r"/v\d+\w*$")


@dataclass(frozen=True)
class Served:
    """A model on running servers: started by `serve`, or found by `connect`."""

    base_urls: tuple[str, ...]
    """Each such that ``/chat/completions`` after its path is the address of the server's chat."""
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
    sampling: SamplingParameters = field(default_factory=SamplingParameters)
    """What the model's ``generation_config.json`` says, if its files are on this machine."""
    dialects: tuple[Dialect, ...] = ()
    """What the servers support, in their order, once they were probed."""

    @property
    def base_url(self) -> str:
        """The first of the servers."""
        return self.base_urls[0]


class _NoModelList(ServingError):
    """A server has no list of models at this address."""


def connect(base_urls: Sequence[str], settings: Serving, timeout_s: float = 10.0, model: str | None = None) -> Served:
    """Check servers that are already running.

    Args:
        base_urls: their addresses, as in `Serving.base_urls`.
        settings: name the model, if they serve several, and the key.
        timeout_s: how long all of them may take to answer.
        model: the model by its configured name or folder; chooses among several if `settings` name none.

    Raises:
        ServingError: one is down, needs another key, does not serve the model, or has other weights than its folder
            or than another server; the message names the URL and the fix.
        ConfigError: an address contains a login.
    """
    if not base_urls:
        raise ServingError("serving.base_urls '[]': no server is named. Name one, such as http://127.0.0.1:8000/v1.")
    deadline = time.monotonic() + timeout_s
    found = [_find_model(url, settings, model, deadline) for url in base_urls]
    urls, cards = tuple(url for url, _ in found), [card for _, card in found]
    names = {card["id"] for card in cards}
    if len(names) > 1:
        raise ServingError(
            f"serving.base_urls '{', '.join(map(display_address, urls))}': they serve different models "
            f"({', '.join(sorted(names))}). Start all of them with the same --served-model-name."
        )
    root = cards[0].get("root")
    tokens = special_tokens(root) if root else ()
    identity = _one_identity(urls, cards, settings)
    # Files of other machines may have the same path
    sampling = model_sampling(root) if root and all(map(is_loopback, urls)) else SamplingParameters()
    return Served(urls, names.pop(), identity, special_tokens=tokens, settings=settings, sampling=sampling)


def _candidates(url: str) -> list[str]:
    """Base URLs that an address may mean, the most probable first.

    A host alone is completed by ``/v1``. Any other path is first used as given, since many servers have another.
    """
    url = refuse_login(url)
    if not url.startswith(("http://", "https://")):
        raise ServingError(f"base_url '{url}': not a URL. Write it as http://HOST:PORT/v1.")
    parts = urlsplit(url)
    path = parts.path.rstrip("/").removesuffix("/chat/completions")
    paths = [path] if _VERSION.search(path) else [path, f"{path}/v1"] if path else ["/v1", ""]
    return [parts._replace(path=each).geturl() for each in paths]


def _find_model(url: str, settings: Serving, model: str | None, deadline: float) -> tuple[str, dict[str, Any]]:
    """The base URL that an address means, and what its server says about the model."""
    candidates, problem = _candidates(url), None
    for candidate in candidates:
        try:
            models = _list_models(candidate, settings.api_key_env, max(1.0, deadline - time.monotonic()))
        except _NoModelList as error:
            problem = problem or error
        else:
            return candidate, _choose_card(candidate, models, settings.model_name, model)
    assert problem is not None
    if not settings.model_name:
        raise ServingError(f"{problem} If the server has no list of models, set serving.model_name.") from problem
    # It has no list of models: the name is as good as the user says. The probe shows whether it answers.
    seconds = max(1.0, deadline - time.monotonic())
    has_chat = [each for each in candidates if _has_chat(each, settings, seconds)]
    return (has_chat or candidates)[0], {"id": settings.model_name}


def _has_chat(base_url: str, settings: Serving, timeout_s: float) -> bool:
    """Whether a request without messages is refused for another reason than the address."""
    body = json.dumps({"model": settings.model_name, "messages": []}).encode()
    request = urllib.request.Request(route(base_url, "chat/completions"), body, {"Content-Type": "application/json"})
    _add_key(request, settings.api_key_env)
    try:
        opener(base_url).open(request, timeout=timeout_s).close()
    except urllib.error.HTTPError as error:
        error.close()
        return error.code not in (404, 405)
    except (OSError, http.client.HTTPException):
        return False
    return True


def _choose_card(
    url: str, models: Sequence[dict[str, Any]], model_name: str | None, model: str | None
) -> dict[str, Any]:
    """The model that is named, or the only one.

    Raises:
        ServingError: there is no model, or there are several and none of them is named.
    """
    shown = display_address(url)
    if not models:
        raise ServingError(f"base_url '{shown}': serves no model. Check that it is an OpenAI-compatible server.")
    ids = [card["id"] for card in models]
    listed = ", ".join(ids[:_MAX_LISTED]) + (f" and {len(ids) - _MAX_LISTED} more" if len(ids) > _MAX_LISTED else "")
    if model_name:
        for card in models:
            if card["id"] in (model_name, f"{model_name}:latest"):  # Ollama's tag
                return card
        if any("*" in id_ and fnmatch.fnmatchcase(model_name, id_) for id_ in ids):  # LiteLLM lists patterns
            return {"id": model_name}
        raise ServingError(
            f"serving.model_name '{model_name}': not served at {shown}, which has {listed}. "
            "Set serving.model_name to one of these, or leave it out."
        )
    if model:
        names = {model, f"{model}:latest", Path(model).name}
        for card in models:
            if card["id"] in names or card.get("root") == model:
                return card
    bases = [card for card in models if not card.get("parent")]  # vLLM also lists adapters, with their base as parent
    if len(bases) == 1 or (bases and bases[0].get("root") and len({card.get("root") for card in bases}) == 1):
        return bases[0]
    raise ServingError(
        f"base_url '{shown}': serves several models ({listed}), and model '{model or ''}' is not one of them. Set "
        "serving.model_name to the one to use."
    )


def _add_key(request: urllib.request.Request, api_key_env: str) -> None:
    if key := os.environ.get(api_key_env):
        request.add_unredirected_header("Authorization", f"Bearer {key}")


def _list_models(base_url: str, api_key_env: str, timeout_s: float) -> list[dict[str, Any]]:
    """The models of a server, each with its ``id``.

    Raises:
        _NoModelList: the server answers, but not with a list of models.
        ServingError: it does not answer, or rejects the key.
    """
    url = route(base_url, "models")
    shown = display_address(url)
    request = urllib.request.Request(url)
    _add_key(request, api_key_env)
    try:
        with opener(url).open(request, timeout=timeout_s) as response:
            answer = json.load(response)
    except urllib.error.HTTPError as error:
        error.close()  # the error holds the connection
        kind = ServingError if error.code == 401 else _NoModelList
        raise kind(f"base_url '{shown}': {http_problem(error.code, api_key_env)}") from error
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", None) or error
        raise ServingError(f"base_url '{shown}': no answer ({reason}). {_advice(url, reason)}") from error
    except ValueError as error:
        raise _NoModelList(f"base_url '{shown}': not an OpenAI-compatible server (its answer is not JSON).") from error
    models = answer.get("data", answer.get("models")) if isinstance(answer, dict) else answer
    if not isinstance(models, list):
        raise _NoModelList(f"base_url '{shown}': not an OpenAI-compatible server. Its address often ends in /v1.")
    named = [(card, card.get("id") or card.get("name")) for card in models if isinstance(card, dict)]
    return [{**card, "id": name} for card, name in named if name]


def _advice(url: str, reason: object) -> str:
    """What to do about a server that cannot be reached."""
    if isinstance(reason, ssl.SSLError):
        return "If its certificate is signed by your own authority, name that one's file in SSL_CERT_FILE."
    start = "Start the server, correct serving.base_urls, or leave it empty and a server is started for you."
    if (proxy := proxy_of(url)) is not None:
        return f"It is reached through the proxy {proxy.url}; add its host to NO_PROXY if it should not be. {start}"
    return start


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
        return "status 404: no such address or model. Check serving.base_urls (most end in /v1) and serving.model_name."
    return f"status {status}. See the server's log."


def _one_identity(urls: Sequence[str], cards: Sequence[dict[str, Any]], settings: Serving) -> str:
    """The identity of all servers together.

    Where the weights' files are on other machines, their paths may differ if the settings name a revision.
    """
    identities = dict.fromkeys(_identity(url, card, settings) for url, card in zip(urls, cards, strict=True))
    if len(identities) > 1 and (not settings.model_revision or any(id_.startswith("sha256:") for id_ in identities)):
        raise ServingError(
            f"serving.base_urls '{', '.join(map(display_address, urls))}': they have different weights "
            f"({', '.join(identities)}). Start all of them with the same. If these are the same, in "
            "other folders of other machines, set "
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


def _refuse_changed_files(url: str, folder: Path) -> None:
    """Refuse a server that was started before its model's files changed: it still has the old weights in memory.

    If the server does not report its start time, this cannot be checked.
    """
    try:
        with DIRECT.open(metrics_url(url), timeout=_METRICS_S) as response:
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

"""Vectors of texts, from any server with OpenAI's ``/v1/embeddings``."""

import os
from collections.abc import Awaitable, Callable, Mapping, Sequence

import aiohttp

from charter.config import Embeddings, Serving
from charter.core.errors import ServingError
from charter.inference.endpoints import connect, http_problem

Embed = Callable[[Sequence[str]], Awaitable[list[list[float]]]]
"""From texts to vectors, in their order."""

_AT_ONCE = 256
_TIMEOUT = aiohttp.ClientTimeout(total=120)


def embedder(settings: Embeddings, serving: Serving) -> Embed | None:
    """What asks the configured server; None where none is named.

    Raises:
        ServingError: it is down, needs another key, or does not serve the model.
    """
    if settings.base_url is None:
        return None
    own = serving.at((settings.base_url,), settings.model, settings.api_key_env)
    served = connect((settings.base_url,), own)
    key = os.environ.get(own.api_key_env)
    headers = {"Authorization": f"Bearer {key}"} if key else {}

    async def embed(texts: Sequence[str]) -> list[list[float]]:
        vectors = list[list[float]]()
        async with aiohttp.ClientSession(headers=headers, timeout=_TIMEOUT) as session:
            for start in range(0, len(texts), _AT_ONCE):
                asked = {"model": served.model_name, "input": list(texts[start : start + _AT_ONCE])}
                vectors += await _ask(session, f"{served.base_url}/embeddings", asked, own.api_key_env)
        return vectors

    return embed


async def _ask(
    session: aiohttp.ClientSession, url: str, asked: Mapping[str, object], api_key_env: str
) -> list[list[float]]:
    try:
        async with session.post(url, json=asked) as response:
            if response.status != 200:
                raise ServingError(f"embeddings '{url}': {http_problem(response.status, api_key_env)}")
            rows = (await response.json())["data"]
            return [row["embedding"] for row in sorted(rows, key=lambda row: int(row["index"]))]
    except (aiohttp.ClientError, TimeoutError, KeyError, TypeError, ValueError) as error:
        raise ServingError(
            f"embeddings '{url}': no answer that can be used ({error}). Correct redteam.embeddings.base_url, or leave "
            "it empty to compare requests by their words alone."
        ) from error

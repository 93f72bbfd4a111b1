"""Drop requests that repeat an earlier one: the same words, nearly the same words, or the same meaning.

Held-out requests count as earlier ones, because a run must never train on what it is evaluated on.
"""

import os
from collections.abc import Awaitable, Callable, Sequence

import aiohttp
import numpy as np

from charter.config import Embeddings, Serving
from charter.core.errors import ServingError
from charter.core.text import split_words
from charter.data.duplicates import near_duplicates
from charter.inference.endpoints import connect, http_problem
from charter.inference.network import route
from charter.pipeline.rows import Outcome, Row, failure
from charter.redteam.invent import RequestReader

STAGE = "unique"

Embed = Callable[[Sequence[str]], Awaitable[list[list[float]]]]
"""From texts to vectors, in the same order."""

_TEXTS_PER_CALL = 256
_TIMEOUT = aiohttp.ClientTimeout(total=120)


def drop_repeated_words(
    rows: Sequence[Row], known: Sequence[str], held_out: Sequence[str], threshold: float
) -> Outcome:
    """Drop the requests whose words repeat an earlier row's, a known or a held-out request.

    Args:
        rows: each with its `request`; of two that are alike the first stays.
        known: requests of earlier versions of the set.
        held_out: requests of the evaluation.
        threshold: two requests are alike from this share of common runs of three words.
    """
    outcome, texts = Outcome(), [*held_out, *known, *(row["request"] for row in rows)]
    # Held-out requests first, so that a request which repeats two texts is called held-out.
    repeats = {repeat.number: repeat for repeat in near_duplicates(texts, threshold)}
    for number, row in enumerate(rows, len(held_out) + len(known)):
        if (repeat := repeats.get(number)) is None:
            outcome.rows.append(dict(row))
            continue
        same = split_words(texts[number]) == split_words(texts[repeat.of])
        reason = "held-out" if repeat.of < len(held_out) else "duplicate" if same else "near-duplicate"
        outcome.failures.append(failure(row, STAGE, reason, f"{row['request']!r} | {texts[repeat.of]!r}"))
    return outcome


def drop_held_out_acts(rows: Sequence[Row], read: RequestReader) -> Outcome:
    """Drop the requests for an act that is kept for evaluation, in whatever words they ask for it."""
    outcome = Outcome()
    for row in rows:
        act = read(row["request"])
        if act is not None and act.held_out:
            outcome.failures.append(failure(row, STAGE, "held-out", f"{row['request']!r}: {act}"))
        else:
            outcome.rows.append(dict(row))
    return outcome


async def drop_same_meaning(
    rows: Sequence[Row], known: Sequence[str], held_out: Sequence[str], embed: Embed, similarity: float
) -> Outcome:
    """Drop the requests whose embedding has a cosine of `similarity` or more with that of an earlier request.

    Raises:
        ServingError: the server of the embeddings cannot be used.
    """
    outcome, earlier = Outcome(), [*held_out, *known]
    texts = [*earlier, *(row["request"] for row in rows)]
    if not rows:
        return outcome
    vectors = np.asarray(await embed(texts), dtype=np.float64)
    vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)  # a vector of zeros stays zeros
    # A request is compared with those that stay, not with dropped ones: else a chain of neighbours would go as a whole.
    kept = list(range(len(earlier)))
    for number, row in enumerate(rows, len(earlier)):
        # Vectors of length one: the product is the cosine.
        cosines = vectors[kept] @ vectors[number]
        nearest = int(cosines.argmax()) if kept else -1
        if kept and cosines[nearest] >= similarity:
            detail = f"{row['request']!r} | {texts[kept[nearest]]!r}: {cosines[nearest]:.3f}"
            reason = "held-out" if kept[nearest] < len(held_out) else "same-meaning"
            outcome.failures.append(failure(row, STAGE, reason, detail))
        else:
            kept.append(number)
            outcome.rows.append(dict(row))
    return outcome


def connect_embeddings(settings: Embeddings, serving: Serving) -> Embed | None:
    """A client of the configured server with OpenAI's ``/v1/embeddings``; None if no server is configured.

    Raises:
        ServingError: the server is down, needs another key, or does not serve the model.
    """
    if settings.base_url is None:
        return None
    server = serving.at((settings.base_url,), settings.model, settings.api_key_env)
    endpoint = connect((settings.base_url,), server)
    url, key = route(endpoint.base_url, "embeddings"), os.environ.get(server.api_key_env)
    headers = {"Authorization": f"Bearer {key}"} if key else {}

    async def embed(texts: Sequence[str]) -> list[list[float]]:
        vectors = list[list[float]]()
        try:
            async with aiohttp.ClientSession(headers=headers, timeout=_TIMEOUT) as session:
                for start in range(0, len(texts), _TEXTS_PER_CALL):
                    body = {"model": endpoint.model_name, "input": list(texts[start : start + _TEXTS_PER_CALL])}
                    async with session.post(url, json=body) as response:
                        if response.status != 200:
                            raise ServingError(
                                f"embeddings '{url}': {http_problem(response.status, server.api_key_env)}"
                            )
                        # The order of the list is not part of the protocol; `index` is.
                        data = sorted((await response.json())["data"], key=lambda item: int(item["index"]))
                        vectors += [item["embedding"] for item in data]
        except (aiohttp.ClientError, TimeoutError, KeyError, TypeError, ValueError) as error:
            raise ServingError(
                f"embeddings '{url}': no answer that can be used ({error}). Correct redteam.embeddings.base_url, or "
                "leave it empty to compare requests by their words alone."
            ) from error
        return vectors

    return embed

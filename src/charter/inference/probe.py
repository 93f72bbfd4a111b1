"""One short request to each running server at the start, which shows what it supports before anything is spent."""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from charter.config.addresses import display_address
from charter.core.errors import CompletionFailed, Interrupted, ServingError
from charter.core.messages import Message, user
from charter.inference.client import Client, no_logprobs_message
from charter.inference.completion import Sampling
from charter.inference.endpoints import Served
from charter.inference.routing import Endpoint, Router

PROBE_MESSAGES: list[Message] = [user("Say hello in one word.")]
_CHOICE = Sampling(max_tokens=1, choices=("A", "B"))
"""A free answer to the request is neither, so that a server which ignores constraints is noticed."""


def probe(
    served: Served,
    on_progress: Callable[[str], None] | None = None,
    chooses: bool = True,
    stop: threading.Event | None = None,
) -> Served:
    """Ask each server one forced choice, and return what was learned with `served`.

    The answers show whether the server returns log-probabilities and constrains answers, whether the model thinks, and
    which parameters are refused. They are not stored, and no budget counts them.

    Args:
        served: running servers, as `charter.inference.endpoints.connect` found them.
        on_progress: called with a line about each server.
        chooses: whether the model will be asked for choices, as a judge is.
        stop: another thread sets it to give up waiting.

    Raises:
        ServingError: a server does not answer, refuses the request, or returns no log-probabilities although the
            settings demand them.
        Interrupted: `stop` was set.
    """

    def check_stop() -> None:
        if stop is not None and stop.is_set():
            raise Interrupted("Stopped while servers were probed.")

    async def probe_all() -> list[Endpoint]:
        return list(await asyncio.gather(*(_probe(served, url, check_stop) for url in served.base_urls)))

    with ThreadPoolExecutor(1, "probe") as pool:  # this thread may have an event loop already
        endpoints = pool.submit(lambda: asyncio.run(probe_all())).result()
    for endpoint in endpoints:
        if chooses and not endpoint.dialect.top_logprobs and not served.settings.choice_samples:
            raise ServingError(no_logprobs_message(endpoint.url))
        if on_progress:
            on_progress(describe(endpoint, served))
    return replace(served, dialects=tuple(endpoint.dialect for endpoint in endpoints))


async def _probe(served: Served, url: str, check_stop: Callable[[], None]) -> Endpoint:
    settings, router = served.settings, Router.of([url])
    async with Client(
        [url],
        served.model_name,
        api_key_env=settings.api_key_env,
        timeout_s=settings.timeout_s,
        patience_s=settings.patience_s,
        router=router,
        may_wait=check_stop,
        choice_samples=1,
    ) as client:
        try:
            await client.complete(PROBE_MESSAGES, _CHOICE)
        except CompletionFailed as failed:
            if failed.reason == "bad-request":
                raise ServingError(
                    f"base_url '{display_address(url)}': refuses a request for one token ({failed.detail}). Check "
                    "serving.base_urls and serving.model_name."
                ) from failed
            # Else it answered; that the answer is no choice is expected where nothing constrains it.
    return router.endpoints[0]


def describe(endpoint: Endpoint, served: Served) -> str:
    """A line about what a server supports."""
    dialect = endpoint.dialect
    differences = dialect.differences()
    if dialect.top_logprobs:
        parts = [f"log-probabilities of up to {dialect.top_logprobs} tokens"]
    else:
        parts = [f"no log-probabilities, so a choice is the vote of {served.settings.choice_samples} sampled answers"]
    parts.append("constrained choices" if dialect.constrains else "no constrained choices")
    told = {"logprobs", "top_logprobs", "constraint"}
    parts += [text for topic, text in (differences | endpoint.notes).items() if topic not in told | {"votes"}]
    return f"{endpoint.url}: model {served.model_name}, {', '.join(parts)}"

"""What a server counts about itself, read from vLLM's /metrics."""

from typing import NamedTuple

import aiohttp

from charter.core.errors import ServingError


class ServerMetrics(NamedTuple):
    """Counters since the server started (the first five), and its state now (the last two)."""

    requests: int
    """Requests finished, whatever the reason."""
    prompt_tokens: int
    generation_tokens: int
    prefix_cache_queries: int
    """Prompt tokens looked up in the prefix cache."""
    prefix_cache_hits: int
    """Those of them that needed no computation."""
    running: int
    waiting: int


_SERIES = (  # in the order of the fields
    "vllm:request_success_total",
    "vllm:prompt_tokens_total",
    "vllm:generation_tokens_total",
    "vllm:prefix_cache_queries_total",
    "vllm:prefix_cache_hits_total",
    "vllm:num_requests_running",
    "vllm:num_requests_waiting",
)


async def server_metrics(base_url: str) -> ServerMetrics:
    """Read the counters of the server at `base_url` (``http://…/v1``).

    Raises:
        ServingError: the server does not answer, or has no /metrics.
    """
    url = base_url.rstrip("/").removesuffix("/v1") + "/metrics"
    try:
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=15)) as session,
            session.get(url, raise_for_status=True) as response,
        ):
            return parse_metrics(await response.text())
    except (aiohttp.ClientError, TimeoutError) as error:
        raise ServingError(f"metrics '{url}': {error or 'no answer'}. Check that the server runs.") from error


def parse_metrics(text: str) -> ServerMetrics:
    """Sum each series of the Prometheus text over its labels (engines, finish reasons)."""
    sums = dict.fromkeys(_SERIES, 0.0)
    for line in text.splitlines():
        name = line.split("{", 1)[0].split(" ", 1)[0]
        if name in sums:
            sums[name] += float(line.rsplit(" ", 1)[1])
    return ServerMetrics._make(int(value) for value in sums.values())

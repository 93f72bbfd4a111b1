import pytest

from charter.core.errors import ServingError
from charter.core.messages import user
from charter.inference import Client, Sampling, ServerMetrics, server_metrics
from charter.inference.metrics import parse_metrics
from charter.testing.null_server import run_null_server

TEXT = """
# HELP vllm:request_success_total Count of successfully processed requests.
vllm:request_success_total{engine="0",finished_reason="stop",model_name="m"} 3.0
vllm:request_success_total{engine="0",finished_reason="length",model_name="m"} 4.0
vllm:request_success_created{engine="0",finished_reason="stop",model_name="m"} 1.7952553058265976e+09
vllm:prompt_tokens_total{engine="0",model_name="m"} 84.0
vllm:prompt_tokens_total{engine="1",model_name="m"} 16.0
vllm:generation_tokens_total{engine="0",model_name="m"} 1.3e+01
vllm:prefix_cache_queries_total{engine="0",model_name="m"} 84.0
vllm:prefix_cache_hits_total{engine="0",model_name="m"} 32.0
vllm:num_requests_running{engine="0",model_name="m"} 2.0
vllm:num_requests_waiting{engine="0",model_name="m"} 5.0
vllm:num_requests_waiting_by_reason{engine="0",model_name="m",reason="capacity"} 9.0
"""


def test_series_are_summed_over_their_labels() -> None:
    assert parse_metrics(TEXT) == ServerMetrics(7, 100, 13, 84, 32, 2, 5)


async def test_read_from_a_server() -> None:
    with run_null_server() as server:
        async with Client([server.url], "null") as client:
            completion = await client.complete([user("one two three")], Sampling(64))
        found = await server_metrics(server.url)
    assert (found.requests, found.prompt_tokens, found.running) == (1, 3, 0)
    assert found.generation_tokens == completion.completion_tokens


async def test_no_server() -> None:
    with pytest.raises(ServingError, match=r"metrics 'http://127\.0\.0\.1:9/metrics'"):
        await server_metrics("http://127.0.0.1:9/v1")

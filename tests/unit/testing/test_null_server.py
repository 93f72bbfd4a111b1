"""The public test server keeps its word: its answer is a function of the request."""

import json
import subprocess
import sys
import urllib.request
from typing import Any

import pytest

from charter.testing.null_server import NullServer, run_null_server

BODY = {"model": "null", "messages": [{"role": "user", "content": "hello"}], "max_tokens": 20, "seed": 1}


def post(url: str, body: dict[str, Any]) -> dict[str, Any]:
    request = urllib.request.Request(f"{url}/chat/completions", json.dumps(body).encode())
    with urllib.request.urlopen(request, timeout=10) as response:
        answer: dict[str, Any] = json.load(response)
        return answer


def test_same_request_same_answer_on_any_server() -> None:
    with run_null_server() as one, run_null_server() as two:
        assert post(one.url, BODY) == post(two.url, BODY) == post(one.url, BODY)
        assert post(one.url, BODY | {"seed": 2})["choices"] != post(one.url, BODY)["choices"]


def test_a_function_may_write_the_answers() -> None:
    server = NullServer(answer=lambda messages: messages[-1]["content"].upper())
    with run_null_server(server) as running:
        assert post(running.url, BODY)["choices"][0]["message"]["content"] == "HELLO"


def test_a_function_may_choose() -> None:
    with run_null_server(NullServer(answer=lambda messages: "B")) as running:
        answer = post(running.url, BODY | {"structured_outputs": {"choice": ["A", "B"]}})
    assert answer["choices"][0]["message"]["content"] == "B"


def test_from_the_command_line() -> None:
    process = subprocess.Popen([sys.executable, "-m", "charter.testing.null_server"], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        assert post(url, BODY)["usage"]["prompt_tokens"] == 1
    finally:
        process.terminate()
        process.communicate(timeout=10)


def test_the_port_is_free_again() -> None:
    with run_null_server() as server:
        port = int(server.url.split(":")[2].split("/")[0])
    with run_null_server(port=port) as server:
        assert str(port) in server.url
    with pytest.raises(OSError):
        post(server.url, BODY)

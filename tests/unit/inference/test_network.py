"""Addresses, lists of models, proxies and certificates of servers other than vLLM on this machine."""

import base64
import ssl
from pathlib import Path

import pytest

from charter.config import Serving
from charter.core.errors import ServingError
from charter.core.messages import user
from charter.inference import Client, Sampling, connect
from charter.inference.network import certificates, metrics_url, proxy_of, route
from charter.testing.null_server import NullServer, run_null_server

PROXY_VARIABLES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")


@pytest.fixture(autouse=True)
def no_proxy_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in PROXY_VARIABLES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


async def ask(url: str, settings: Serving | None = None, model: str | None = None) -> str:
    served = connect([url], settings or Serving(), model=model)
    async with Client(served.base_urls, served.model_name) as client:
        await client.complete([user("Hello")], Sampling(3))
    return served.model_name


@pytest.mark.parametrize("has_models", [True, False])
@pytest.mark.parametrize(
    ("path", "given"),
    [
        ("/v1", ""),
        ("/v1", "/"),
        ("/v1", "/v1/"),
        ("/v1", "/v1/chat/completions"),
        ("", ""),
        ("/api/paas/v4", "/api/paas/v4"),
        ("/v1beta/openai", "/v1beta/openai/"),
        ("/openai/deployments/mine", "/openai/deployments/mine?api-version=2024-10-21"),
        ("/proxy/v1", "/proxy"),
    ],
)
async def test_an_address_is_used_as_given(path: str, given: str, has_models: bool) -> None:
    with run_null_server(NullServer(path=path, has_models=has_models)) as server:
        url = server.url.removesuffix(path) + given
        assert await ask(url, None if has_models else Serving(model_name="null")) == "null"


def test_a_query_stays_at_the_end_and_out_of_messages() -> None:
    url = "https://host/openai?api-key=secret"
    assert route(url, "chat/completions") == "https://host/openai/chat/completions?api-key=secret"
    assert metrics_url("http://host:8000/v1") == "http://host:8000/metrics"
    with run_null_server(NullServer(has_models=False)) as server, pytest.raises(ServingError) as caught:
        connect([f"{server.url}?api-key=secret"], Serving())
    assert "secret" not in str(caught.value)
    assert "set serving.model_name" in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "model"),
    [
        (Serving(model_name="null"), "first"),
        (Serving(), "null"),
        (Serving(), "org/null"),
    ],
)
async def test_of_many_models_the_named_one_answers(settings: Serving, model: str) -> None:
    with run_null_server(NullServer(other_models=("first", "second"))) as server:
        assert await ask(server.url, settings, model) == "null"


@pytest.mark.parametrize("model", [None, "sandbox", "/models/mine"])
def test_of_many_models_none_of_which_is_named_none_answers(model: str | None) -> None:
    with (
        run_null_server(NullServer(other_models=("first", "second"))) as server,
        pytest.raises(ServingError, match=r"first, second, null.*serving\.model_name"),
    ):
        connect([server.url], Serving(), model=model)


@pytest.mark.parametrize(("listed", "named"), [("llama3:latest", "llama3"), ("openai/*", "openai/gpt")])
def test_a_tag_and_a_pattern(listed: str, named: str) -> None:
    with run_null_server(NullServer(other_models=("first", listed))) as server:
        assert connect([server.url], Serving(model_name=named)).model_name in (named, listed)


async def test_another_machine_is_reached_through_the_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    with run_null_server() as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.url.removesuffix("/v1"))
        assert await ask("http://model.invalid/v1") == "null"
        assert proxy.counts["requests"] == 1


async def test_this_machine_is_reached_directly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://proxy.invalid:3128")
    with run_null_server() as server:
        assert await ask(server.url) == "null"


def test_which_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://me:word@proxy.invalid:3128")
    monkeypatch.setenv("NO_PROXY", "inside.example")
    basic = f"Basic {base64.b64encode(b'me:word').decode()}"
    assert proxy_of("https://model.example/v1") == ("http://proxy.invalid:3128", {"Proxy-Authorization": basic})
    assert proxy_of("https://inside.example/v1") is None
    assert proxy_of("http://model.example/v1") is None
    assert proxy_of("https://127.0.0.1:8000/v1") is None


@pytest.mark.parametrize("variable", ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"])
def test_own_certificates(variable: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    system = ssl.create_default_context().get_ca_certs(binary_form=True)
    if not system:
        pytest.skip("this machine has no certificates to choose from")
    bundle = tmp_path / "own.pem"
    bundle.write_text(ssl.DER_cert_to_PEM_cert(system[0]))
    monkeypatch.setenv(variable, str(bundle))
    assert system[0] in certificates().get_ca_certs(binary_form=True)
    bundle.write_text("no certificate")
    with pytest.raises(ServingError, match=variable):
        certificates()

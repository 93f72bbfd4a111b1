import functools
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer, SimpleHTTPRequestHandler
from pathlib import Path

import pytest

from charter.config import Serving
from charter.core.errors import ServingError
from charter.inference import connect
from charter.inference.network import is_loopback
from charter.inference.routing import Endpoint
from charter.testing.null_server import NullServer, run_null_server


def test_the_servers_own_name_is_used() -> None:
    with run_null_server(NullServer(model_name="org/model")) as server:
        served = connect([server.url.removesuffix("/v1") + "/"], Serving())
    assert (served.base_urls, served.model_name, served.identity) == (
        (server.url,),
        "org/model",
        "served:org/model@unknown",
    )


def test_a_model_that_is_not_served() -> None:
    with run_null_server() as server, pytest.raises(ServingError, match=r"model_name 'other': not served .* has null"):
        connect([server.url], Serving(model_name="other"))


def test_servers_of_different_models() -> None:
    with (
        run_null_server() as one,
        run_null_server(NullServer(model_name="two")) as two,
        pytest.raises(ServingError, match=r"different models \(null, two\)"),
    ):
        connect([one.url, two.url], Serving())


def test_a_server_that_is_down() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{probe.getsockname()[1]}/v1"
        with pytest.raises(ServingError, match=f"base_url '{url}.*no answer.*correct serving.base_urls"):
            connect([url], Serving())


def test_a_server_that_hangs_is_given_up_in_time() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        began = time.monotonic()
        with pytest.raises(ServingError, match="timed out"):
            connect([f"http://127.0.0.1:{silent.getsockname()[1]}/v1"], Serving(), timeout_s=1.0)
        assert time.monotonic() - began < 10


def test_a_key_that_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MY_KEY", raising=False)
    with run_null_server(NullServer(api_key="k")) as server:
        with pytest.raises(ServingError, match=r"\$MY_KEY is not set"):
            connect([server.url], Serving(api_key_env="MY_KEY"))
        monkeypatch.setenv("MY_KEY", "k")
        assert connect([server.url], Serving(api_key_env="MY_KEY")).model_name == "null"


def test_a_key_does_not_follow_a_redirect(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever it leads: to another host, or to another owner of a port."""
    monkeypatch.setenv("CHARTER_API_KEY", "sk-secret")
    keys = list[str | None]()

    class Target(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            keys.append(self.headers.get("Authorization"))
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b'{"data": [{"id": "elsewhere"}]}')

        def log_message(self, format: str, *args: object) -> None:
            pass

    class Redirecting(Target):
        def do_GET(self) -> None:
            keys.append(self.headers.get("Authorization"))
            self.send_response(302)
            self.send_header("Location", f"http://localhost:{target.server_port}/v1/models")
            self.end_headers()

    with HTTPServer(("127.0.0.1", 0), Target) as target, HTTPServer(("127.0.0.1", 0), Redirecting) as first:
        for server in (target, first):
            threading.Thread(target=server.serve_forever, daemon=True).start()
        assert connect([f"http://127.0.0.1:{first.server_port}/v1"], Serving()).model_name == "elsewhere"
        first.shutdown()
        target.shutdown()
    assert keys == ["Bearer sk-secret", None]


def test_a_server_whose_key_is_not_named() -> None:
    refused = pytest.raises(ServingError, match=r"none is named for its host\. Name the variable in api_key_env")
    with run_null_server(NullServer(api_key="k")) as server, refused:
        connect([server.url], Serving(api_key_env=""))


def model_of(folder: Path, weights: bytes) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(weights)
    return folder


def test_a_server_that_is_older_than_its_models_files_is_refused(tmp_path: Path) -> None:
    """It would answer with the old weights, and the answers be kept under the new."""
    folder = model_of(tmp_path / "model", b"old")
    with run_null_server(NullServer(root=str(folder))) as server:
        assert connect([server.url], Serving()).identity.startswith("sha256:")
    older = NullServer(root=str(folder), started=time.time() - 60)
    refused = pytest.raises(ServingError, match=r"config\.json, model\.safetensors in .*Restart it")
    with run_null_server(older) as server, refused:
        connect([server.url], Serving())


def connect_to_both(roots: tuple[str, str], revision: str | None) -> str:
    one, two = (NullServer(root=root) for root in roots)
    with run_null_server(one), run_null_server(two):
        return connect([one.url, two.url], Serving(model_revision=revision)).identity


def test_servers_of_one_name_have_the_same_weights(tmp_path: Path) -> None:
    one, two = (str(model_of(tmp_path / name, name.encode())) for name in ("one", "two"))
    for roots, revision in (((one, two), None), ((one, two), "r1"), (("/away/one", "/away/two"), None)):
        with pytest.raises(ServingError, match="they have different weights"):
            connect_to_both(roots, revision)
    assert connect_to_both(("/away/one", "/away/two"), "r1") == "served:null@/away/one#r1"
    assert connect_to_both((one, one), None).startswith("sha256:")


@pytest.mark.parametrize("url", ["127.0.0.1:8000", "ftp://host/v1"])
def test_what_is_no_address(url: str) -> None:
    with pytest.raises(ServingError, match="Write it as http://HOST:PORT/v1"):
        connect([url], Serving())


def test_a_server_that_is_none_of_ours(tmp_path: Path) -> None:
    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            pass

    (tmp_path / "v1").mkdir()
    (tmp_path / "v1/models").write_text("<html>")
    with HTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(tmp_path))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with pytest.raises(ServingError, match="not an OpenAI-compatible server"):
            connect([f"http://127.0.0.1:{server.server_port}/v1"], Serving())
        server.shutdown()


def test_a_server_that_is_gone_for_long_is_tried_twice_a_minute() -> None:
    endpoint = Endpoint("http://127.0.0.1:9/v1")
    for _ in range(5000):
        endpoint.failed(now=100.0)
    assert endpoint.next_probe_at == 130.0


def test_calls_in_flight_at_a_servers_death_count_once() -> None:
    endpoint = Endpoint("http://127.0.0.1:9/v1")
    for _ in range(500):
        endpoint.failed(now=100.0, began=99.0)
    assert (endpoint.failures, endpoint.next_probe_at) == (1, 100.5)
    endpoint.failed(now=101.0, began=100.6)
    assert (endpoint.failures, endpoint.next_probe_at) == (2, 102.0)


@pytest.mark.parametrize(
    ("url", "local"),
    [
        ("http://localhost:8000/v1", True),
        ("http://127.0.0.1:8000/v1", True),
        ("http://127.8.9.10/v1", True),
        ("http://[::1]:8000/v1", True),
        ("http://localhost.example.com/v1", False),
        ("http://127.example.com/v1", False),
        ("http://10.0.0.1/v1", False),
        ("http://example.com//localhost/v1", False),
    ],
)
def test_only_addresses_of_this_machine_are_local(url: str, local: bool) -> None:
    assert is_loopback(url) is local

"""What is checked before vLLM starts, and how it is started."""

import os
import socket
import sys
import time
from pathlib import Path

import pytest

from charter.config import Serving
from charter.core.errors import ModelError, ServingError
from charter.inference.server.launch import (
    Launch,
    check_model,
    choose_port,
    plan_launch,
    server_environment,
    vllm_command,
)
from tests.support.model_folders import write_model_folder

LOCAL = Launch("/models/a", "a", 8123, "python", on_cpu=True, local=True)
HUB = Launch("org/name", "name", 8123, "python", on_cpu=False, local=False)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_model_folder(tmp_path / "model")


@pytest.mark.parametrize("name", ["nothing/at/all", "./nothing", "/nothing", "~/no-such-folder", "a b"])
def test_a_folder_that_is_not_there(name: str) -> None:
    began = time.monotonic()
    with pytest.raises(ModelError, match=rf"model '{name}': no such folder"):
        check_model(name)
    assert time.monotonic() - began < 1


def test_a_folder_without_a_model(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"has no config\.json"):
        check_model(tmp_path)


def test_a_file(model: Path) -> None:
    with pytest.raises(ModelError, match="Name the folder"):
        check_model(model / "config.json")


def test_a_hub_id_that_cannot_be_had(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(ModelError, match=r"not in the local hub cache, and http://127\.0\.0\.1:9 cannot be reached"):
        check_model("org/name")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(ModelError, match="HF_HUB_OFFLINE is set"):
        check_model("org/name")
    (tmp_path / "models--org--name/snapshots").mkdir(parents=True)
    assert check_model("org/name") is None


def test_a_busy_port(model: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ServingError, match=f"serving.port '{port}': already in use. Set another port"):
            plan_launch(model, Serving(port=port), None)
    assert choose_port(port) == port
    assert choose_port(None) in range(20_000, 30_000)


@pytest.mark.parametrize(
    ("python", "said"), [("/no/such/python", "cannot be run"), ("/bin/echo", "has no vLLM"), (None, None)]
)
def test_the_interpreter_must_have_vllm(model: Path, tmp_path: Path, python: str | None, said: str | None) -> None:
    if python == "/bin/echo":  # an interpreter without any packages
        python = str(tmp_path / "python")
        Path(python).write_text(f'#!/bin/sh\nexec {sys.executable} -I -S "$@"\n')
        Path(python).chmod(0o755)
    if said is None:
        assert plan_launch(model, Serving(), None)[:2] == (str(model.resolve()), "model")
    else:
        with pytest.raises(ServingError, match=f"serving.python '{python}': {said}"):
            plan_launch(model, Serving(python=python), None)


def test_command_without_a_gpu() -> None:
    line = " ".join(vllm_command(LOCAL, Serving(kv_cache_gib=0.5, max_model_len=512)))
    assert line.startswith(
        "python -m vllm.entrypoints.openai.api_server --host 127.0.0.1 --port 8123 --model /models/a"
    )
    for part in (
        "--dtype float32",
        "--kv-cache-memory-bytes 536870912",
        "--max-model-len 512",
        "--enable-prefix-caching",
    ):
        assert part in line
    assert "gpu" not in line
    assert "trust" not in line


def test_command_with_gpus() -> None:
    settings = Serving(tensor_parallel=2, data_parallel=4, memory_share=0.8, trust_remote_code=True, extra_args=["--x"])
    line = " ".join(vllm_command(HUB, settings))
    for part in ("--dtype auto", "--gpu-memory-utilization 0.8", "--tensor-parallel-size 2", "--data-parallel-size 4"):
        assert part in line
    assert "--trust-remote-code" in line
    assert "eager" not in line
    assert line.endswith("--x")


def test_servers_side_by_side_share_the_memory_of_a_gpu() -> None:
    line = " ".join(vllm_command(HUB, Serving(memory_share=0.9), side_by_side=2))
    assert "--gpu-memory-utilization 0.45 " in f"{line} "


@pytest.mark.parametrize(
    "name", ["CHARTER_API_KEY", "VLLM_API_KEY", "OPENAI_API_KEY", "PGPASSWORD", "HF_TOKEN", "WANDB_API_KEY"]
)
def test_keys_do_not_reach_the_server(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "secret")
    assert "secret" not in server_environment(LOCAL, Serving(), 1).values()


def test_only_a_local_model_is_kept_from_the_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    assert server_environment(LOCAL, Serving(), 1)["HF_HUB_OFFLINE"] == "1"
    assert "HF_HUB_OFFLINE" not in server_environment(HUB, Serving(), 1)
    assert server_environment(HUB, Serving(), 1)["VLLM_NO_USAGE_STATS"] == "1"


def test_what_the_user_set_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert server_environment(LOCAL, Serving(), 2)["OMP_NUM_THREADS"] == "3"
    assert server_environment(LOCAL, Serving(), 2)["PATH"] == os.environ["PATH"]


def test_only_a_model_from_the_hub_is_given_the_hub_s_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf-secret")
    assert "HF_TOKEN" not in server_environment(LOCAL, Serving(), 1)
    assert server_environment(HUB, Serving(), 1)["HF_TOKEN"] == "hf-secret"

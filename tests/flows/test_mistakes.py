"""A tired person's mistakes: one clear message with the fix, exit status 2, no traceback, at once."""

import http.server
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def busy_port() -> Iterator[int]:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        yield taken.getsockname()[1]


@pytest.fixture
def wrong_server() -> Iterator[int]:
    """Something that answers, and is no model server."""
    server = http.server.HTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server.server_port
    server.shutdown()
    thread.join()
    server.server_close()


def align(prefect_home: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    environment = {**os.environ, "PREFECT_HOME": str(prefect_home)}
    command = [sys.executable, "-m", "flows.align", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment)


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (["constitution=none.md"], "none.md"),
        (["constitution={tmp}/empty.md"], "empty.md"),
        (["prompts.source={tmp}/prompts.csv"], "column"),
        (["prompts.source=missing.jsonl"], "missing.jsonl"),
        (["model={tmp}/no-such-model"], "no-such-model"),
        (["model={tmp}"], "config.json"),
        (["serving.port={busy}"], "{busy}"),
        (["serving.base_urls=['http://127.0.0.1:9/v1']"], "http://127.0.0.1:9/v1"),
        (["serving.base_urls=['http://127.0.0.1:{wrong}/v1']"], "{wrong}"),
        (["prompts.n=-3"], "prompts.n"),
        (["prompts.m=3"], "prompts.m"),
        (["nonsense"], "section.field=value"),
        (["name=../up"], "name"),
    ],
    ids=lambda value: value[0].split("/")[-1] if isinstance(value, list) else "",
)
def test_a_mistake_is_one_message(
    overrides: list[str], says: str, tmp_path: Path, prefect_home: Path, busy_port: int, wrong_server: int
) -> None:
    write(tmp_path / "empty.md", "")
    write(tmp_path / "prompts.csv", "question\nHow are you?\n")
    given = {"tmp": tmp_path, "busy": busy_port, "wrong": wrong_server}
    started = time.monotonic()
    arguments = [text.format(**given) for text in overrides]
    done = align(prefect_home, "configs/demo.yaml", f"outputs={tmp_path / 'outputs'}", *arguments)
    assert done.returncode == 2, done.stderr
    assert time.monotonic() - started < 15
    assert "Traceback" not in done.stderr + done.stdout
    assert says.format(**given) in done.stderr
    assert len(done.stderr.strip().splitlines()) <= 4, done.stderr


def test_a_missing_config_is_one_message(prefect_home: Path) -> None:
    done = align(prefect_home, "configs/none.yaml")
    assert (done.returncode, "Traceback" in done.stderr) == (2, False)
    assert "configs/none.yaml" in done.stderr

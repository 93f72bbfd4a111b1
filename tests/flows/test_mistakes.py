"""A user's mistakes: one clear message with the fix, exit status 2, no traceback, before Prefect starts."""

import http.server
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from charter.testing.null_server import run_null_server
from flows.align import command


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
    overrides: list[str],
    says: str,
    tmp_path: Path,
    busy_port: int,
    wrong_server: int,
    capsys: pytest.CaptureFixture[str],
) -> None:
    write(tmp_path / "empty.md", "")
    write(tmp_path / "prompts.csv", "question\nHow are you?\n")
    given = {"tmp": tmp_path, "busy": busy_port, "wrong": wrong_server}
    arguments = [text.format(**given) for text in overrides]
    with pytest.raises(SystemExit) as ended:
        command.main(["configs/demo.yaml", f"outputs={tmp_path / 'outputs'}", *arguments])
    printed = capsys.readouterr()
    assert ended.value.code == 2, printed.err
    assert says.format(**given) in printed.err
    assert len(printed.err.strip().splitlines()) <= 4, printed.err
    assert not (tmp_path / "outputs").exists()


@pytest.mark.parametrize("program", [["-m", "flows.align"], ["-m", "charter", "align"]], ids=" ".join)
def test_a_missing_config_is_one_message(program: list[str], prefect_home: Path) -> None:
    environment = {**os.environ, "PREFECT_HOME": str(prefect_home)}
    arguments = [sys.executable, *program, "configs/none.yaml"]
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=120, env=environment)
    assert (done.returncode, "Traceback" in done.stderr) == (2, False)
    assert "configs/none.yaml" in done.stderr


def test_a_prefect_server_that_cannot_be_reached_is_one_message(prefect_home: Path, tmp_path: Path) -> None:
    environment = {**os.environ, "PREFECT_HOME": str(prefect_home), "PREFECT_API_URL": "http://127.0.0.1:9/api"}
    with run_null_server() as server:
        arguments = [f"outputs={tmp_path}", f"serving.base_urls=['{server.url}']", "prompts.n=5"]
        command = [sys.executable, "-m", "charter", "dataset", "configs/demo.yaml", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment)
    assert (done.returncode, "Traceback" in done.stderr) == (2, False)
    assert "127.0.0.1:9" in done.stderr.splitlines()[-1]

"""The sandbox on real vLLM, once per session, and flows as the processes that users start."""

import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from charter.config import Serving
from charter.inference import Served, serve
from charter.sandbox import MODEL
from tests.support.prefect_api import run_prefect_server

RunFlow = Callable[..., "subprocess.CompletedProcess[str]"]


def without_privacy(folder: Path) -> Path:
    """A copy of the shipped constitution whose principle of privacy is deleted."""
    text, path = Path("constitutions/harmless.md").read_text(), folder / "without-privacy.md"
    edited, count = re.subn(r"^## [^\n]*\{#privacy\b.*?(?=^## |\Z)", "", text, flags=re.MULTILINE | re.DOTALL)
    assert count == 1
    path.write_text(edited)
    return path


@pytest.fixture(scope="session")
def sandbox_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """The shipped model, served for the whole session."""
    log = tmp_path_factory.mktemp("serving") / "vllm.log"
    with serve(MODEL, Serving(), log, "sandbox") as served:
        yield served


@pytest.fixture(scope="session")
def flow_environment(prefect_home: Path) -> Iterator[dict[str, str]]:
    """The environment of flows started as processes. They share a Prefect server: starting one takes 20 s."""
    with run_prefect_server(prefect_home) as server:
        yield {**server.environment, "PYTHONUNBUFFERED": "1"}


@pytest.fixture(scope="session")
def run_flow(flow_environment: dict[str, str]) -> RunFlow:
    """Run ``python -m flows.NAME CONFIG overrides…`` to its end."""

    def run(name: str, *arguments: str, timeout: float = 900) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            flow_command(name, *arguments), capture_output=True, text=True, timeout=timeout, env=flow_environment
        )

    return run


def flow_command(name: str, *arguments: str) -> list[str]:
    """The command that runs a flow."""
    return [sys.executable, "-m", f"flows.{name}", *arguments]

"""The doctor looks, changes nothing, and says what to do."""

import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from charter.cli.doctor import Finding, examine


def by_name(findings: list[Finding]) -> dict[str, Finding]:
    return {finding.name: finding for finding in findings}


def test_this_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    found = by_name(examine(tmp_path))
    for name in ("Python", "torch", "torch add-ons", "transformers", "trl", "prefect", "cores", "loopback port"):
        assert found[name].ok, found[name]
    assert found["Python"].found.startswith(".".join(map(str, sys.version_info[:3])))
    assert list(tmp_path.iterdir()) == []


def test_whatever_is_wrong_has_advice() -> None:
    assert all(finding.ok or finding.advice for finding in examine())


def test_an_api_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:9/api")
    finding = by_name(examine())["Prefect API"]
    assert (finding.found, finding.ok) == ("no answer at http://127.0.0.1:9/api", False)
    assert "prefect server start" in finding.advice


def test_an_api_that_hangs_does_not_hold_it_up(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        monkeypatch.setenv("PREFECT_API_URL", f"http://127.0.0.1:{silent.getsockname()[1]}/api")
        began = time.monotonic()
        assert not by_name(examine())["Prefect API"].ok
    assert time.monotonic() - began < 10


def test_a_folder_yet_to_be_made(tmp_path: Path) -> None:
    assert "GiB free at" in by_name(examine(tmp_path / "a/b"))["disk"].found


def test_nothing_heavy_is_imported() -> None:
    code = (
        "import sys; from charter.cli.doctor import examine; examine(); "
        "sys.exit(len({'torch', 'vllm', 'transformers', 'prefect', 'aiohttp'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], timeout=60, check=False).returncode == 0

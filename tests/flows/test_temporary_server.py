"""The temporary server gets more time than Prefect gives it, also outside a checkout."""

from pathlib import Path

import pytest
from prefect.server.api.server import SubprocessASGIServer

from charter.core.errors import ConfigError
from flows.lib import temporary_server


def test_a_slow_first_start_is_waited_for_and_a_dead_one_is_one_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits = list[int | None]()

    def start(self: SubprocessASGIServer, timeout: int | None = None) -> None:
        limits.append(timeout)
        raise RuntimeError("Timed out while attempting to connect to ephemeral Prefect API server.")

    monkeypatch.chdir(tmp_path)  # where no pyproject.toml raises Prefect's limit
    monkeypatch.setattr(temporary_server, "PREFECT_API_URL", _Unset())
    monkeypatch.setattr(temporary_server, "_processes", [])
    monkeypatch.setattr(SubprocessASGIServer, "start", start)
    with pytest.raises(ConfigError, match="PREFECT_API_URL"):
        temporary_server.start_server()
    assert limits == [temporary_server.STARTUP_S]


class _Unset:
    def value(self) -> None:
        return None

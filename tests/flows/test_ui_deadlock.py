"""A server of Prefect that answers but never registers anything is started once more, and then given up."""

import asyncio
from pathlib import Path

import pytest

from charter.core.errors import ConfigError
from flows import ui


class Process:
    """One of the cockpit's processes that only notes what is done to it."""

    log = Path("server.log")

    def __init__(self) -> None:
        self.done = list[str]()

    def running(self) -> bool:
        return False

    def start(self, *_: object) -> None:
        self.done.append("start")

    def stop(self) -> bool:
        self.done.append("stop")
        return True


@pytest.mark.parametrize("deadlocks", [0, 1, 2])
def test_a_server_that_never_registers_is_started_once_more(
    deadlocks: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server, worker, watcher = Process(), Process(), Process()
    asked = list[object]()

    async def register(cockpit: object, deployments: Path, timeout_s: float) -> bool:
        asked.append(cockpit)
        if len(asked) <= deadlocks:
            await asyncio.Event().wait()
        return True

    async def end_orphans(cockpit: object) -> list[str]:
        return []

    monkeypatch.setattr(ui, "REGISTER_S", 0.05)
    monkeypatch.setattr(ui, "_daemons", lambda home: (server, worker, watcher))
    monkeypatch.setattr(ui, "_wait", lambda cockpit, server: None)
    monkeypatch.setattr("flows.cockpit.register.register", register)
    monkeypatch.setattr("flows.cockpit.orphans.end_orphans", end_orphans)
    if deadlocks == 2:
        with pytest.raises(ConfigError, match="twice"):
            ui.start(tmp_path, None, tmp_path, tmp_path)
    else:
        ui.start(tmp_path, None, tmp_path, tmp_path)
    assert server.done == ["start"] + ["stop", "start"] * min(deadlocks, 1)
    assert worker.done == ([] if deadlocks == 2 else ["start"])

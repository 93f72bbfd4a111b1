"""Real processes: whatever happens to the launcher, none is left."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from charter.training.process import follow

SLEEPER = """
import pathlib, subprocess, sys, time
other = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)"])
folder = pathlib.Path(sys.argv[1])
(folder / "pids").write_text(f"{other.pid}")
with (folder / "lines").open("a") as file:
    for i in range(3):
        print(i, file=file, flush=True)
        time.sleep(0.15)
if sys.argv[2] == "wait":
    time.sleep(300)
print("the end")
sys.exit(7)
"""


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def gone(pid: int, within: float = 10.0) -> bool:
    end = time.monotonic() + within
    while alive(pid) and time.monotonic() < end:
        time.sleep(0.05)
    return not alive(pid)


def command(folder: Path, then: str) -> list[str]:
    return [sys.executable, "-c", SLEEPER, str(folder), then]


def test_lines_are_handed_on_and_the_group_ends_with_its_leader(tmp_path: Path) -> None:
    (tmp_path / "lines").write_text("old\n")
    seen: list[str] = []
    code = follow(command(tmp_path, "end"), dict(os.environ), tmp_path / "log", {tmp_path / "lines": seen.append})
    assert code == 7
    assert seen == ["0", "1", "2"]
    assert (tmp_path / "log").read_text() == "the end\n"
    assert gone(int((tmp_path / "pids").read_text()))


def test_each_of_several_files_has_its_own_reader(tmp_path: Path) -> None:
    script = "import pathlib, sys; [(pathlib.Path(sys.argv[1]) / n).write_text(n + '\\n') for n in ('one', 'two')]"
    seen: dict[str, list[str]] = {"one": [], "two": [], "none": []}
    files = {tmp_path / name: lines.append for name, lines in seen.items()}
    assert follow([sys.executable, "-c", script, str(tmp_path)], dict(os.environ), tmp_path / "log", files) == 0
    assert seen == {"one": ["one"], "two": ["two"], "none": []}


def test_an_exception_ends_the_whole_group(tmp_path: Path) -> None:
    def stop(line: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        follow(command(tmp_path, "wait"), dict(os.environ), tmp_path / "log", {tmp_path / "lines": stop})
    assert gone(int((tmp_path / "pids").read_text()))


LAUNCHER = """
import os, pathlib, sys
from charter.training.process import follow
folder = pathlib.Path(sys.argv[1])
(folder / "napper.py").write_text("import os, time; print(os.getpid(), flush=True); time.sleep(300)")
child = [sys.executable, "-m", "charter.training.child", "napper"]
environment = os.environ | {"PYTHONPATH": os.pathsep.join([*sys.path, str(folder)])}
follow(child, environment, folder / "log", {folder / "lines": print})
"""


def test_the_child_dies_with_a_launcher_that_is_killed(tmp_path: Path) -> None:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    launcher = subprocess.Popen([sys.executable, "-c", LAUNCHER, str(tmp_path)], env=environment)
    log = tmp_path / "log"
    try:
        end = time.monotonic() + 30
        while not (log.is_file() and log.read_text().endswith("\n")) and time.monotonic() < end:
            time.sleep(0.05)
        napper = int(log.read_text())
        assert alive(napper)
    finally:
        launcher.send_signal(signal.SIGKILL)
        launcher.wait()
    assert gone(napper)

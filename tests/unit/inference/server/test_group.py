"""Real process trees: whatever happens to the parent, nothing is left behind."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from charter.core.errors import ServingError
from charter.inference.server.group import pid_file, start_group

# A child and a grandchild, which does not listen to SIGTERM when it is told so; both tell their numbers.
TREE = """
import os, signal, subprocess, sys, time
stubborn, last = "stubborn" in sys.argv, "last" in sys.argv
if not last:
    subprocess.Popen([sys.executable, __file__, "last", *sys.argv[1:]])
elif stubborn:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("pid", os.getpid(), flush=True)
time.sleep(600)
"""

PARENT = """
import os, sys, threading, time
from pathlib import Path
from charter.inference.server.group import start_group
started = []
def start():
    started.append(start_group([sys.executable, sys.argv[1]], Path(sys.argv[2]), dict(os.environ)))
if sys.argv[3] == "thread":
    thread = threading.Thread(target=start)
    thread.start()
    thread.join()
else:
    start()
if sys.argv[3] == "fork" and os.fork() == 0:
    os.setsid()
    time.sleep(30)  # holds the other end of the pipe without knowing it
    os._exit(0)
print("started", flush=True)
time.sleep(600)
"""


def tree(folder: Path) -> Path:
    script = folder / "tree.py"
    script.write_text(TREE)
    return script


def wait_for(condition: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def told(log: Path) -> list[int]:
    lines = log.read_text().splitlines() if log.exists() else []
    return [int(line.split()[1]) for line in lines if line.startswith("pid ")]


def alive(pid: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().split(")")[1].split()[0]
    except OSError:
        return False


@pytest.mark.parametrize("kind", ["polite", "stubborn"])
def test_the_end_of_the_group_is_the_end_of_all(tmp_path: Path, kind: str) -> None:
    log = tmp_path / "new/tree.log"
    group = start_group([sys.executable, str(tree(tmp_path)), kind], log, dict(os.environ))
    assert wait_for(lambda: len(told(log)) == 2, 60)
    assert pid_file(log).read_text() == f"{group.pid}\n"
    assert {os.getpgid(pid) for pid in told(log)} == {group.pid}
    assert group.running()
    group.end()
    assert not any(map(alive, [*told(log), group.pid]))
    assert not pid_file(log).exists()
    group.end()


@pytest.mark.parametrize(
    ("number", "how"),
    [
        (signal.SIGKILL, "main"),
        (signal.SIGKILL, "thread"),
        (signal.SIGKILL, "fork"),
        (signal.SIGTERM, "main"),
        (signal.SIGINT, "main"),
    ],
)
def test_nothing_outlives_the_parent(tmp_path: Path, number: signal.Signals, how: str) -> None:
    log = tmp_path / "tree.log"
    command = [sys.executable, "-c", PARENT, str(tree(tmp_path)), str(log), how]
    parent = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True)
    assert parent.stdout is not None
    assert parent.stdout.readline() == b"started\n"
    parent.stdout.close()
    assert wait_for(lambda: len(told(log)) == 2, 60)
    time.sleep(0.5)
    pids = [*told(log), int(pid_file(log).read_text())]
    assert all(map(alive, pids)), "the thread that started it is gone, but the parent is not"
    parent.send_signal(number)
    parent.wait(30)
    assert wait_for(lambda: not any(map(alive, pids)), 60)


def test_what_a_dead_command_leaves_is_ended(tmp_path: Path) -> None:
    log = tmp_path / "tree.log"
    group = start_group([sys.executable, str(tree(tmp_path))], log, dict(os.environ))
    try:
        assert wait_for(lambda: len(told(log)) == 2, 60)
        os.kill(min(told(log)), signal.SIGKILL)
        assert wait_for(lambda: not group.running(), 60)
        assert wait_for(lambda: not any(map(alive, told(log))), 30)
        assert not pid_file(log).exists()
        assert "ended with status -9" in log.read_text()
    finally:
        group.end()


def test_the_death_of_the_supervisor_is_the_death_of_the_command(tmp_path: Path) -> None:
    log = tmp_path / "tree.log"
    group = start_group([sys.executable, str(tree(tmp_path))], log, dict(os.environ))
    try:
        assert wait_for(lambda: len(told(log)) == 2, 60)
        os.kill(group.pid, signal.SIGKILL)
        assert wait_for(lambda: not group.running(), 30)
    finally:
        group.end()
    assert wait_for(lambda: not any(map(alive, told(log))), 30)


def test_a_log_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ServingError, match=r"cannot be written .* Name another folder"):
        start_group(["true"], tmp_path / "file/tree.log", {})

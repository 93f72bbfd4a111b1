"""Real process trees: whatever happens to the parent, nothing is left behind."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from charter.core.errors import ConfigError, Interrupted
from charter.core.processes import follow, last_lines, pid_file, start_group

# A child and a grandchild, which ignores SIGTERM if it is `stubborn`; both print their numbers.
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
from charter.core.processes import start_group
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


def printed_pids(log: Path) -> list[int]:
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
    assert wait_for(lambda: len(printed_pids(log)) == 2, 60)
    assert pid_file(log).read_text() == f"{group.pid}\n"
    assert {os.getpgid(pid) for pid in printed_pids(log)} == {group.pid}
    assert group.running()
    group.end()
    assert not any(map(alive, [*printed_pids(log), group.pid]))
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
    assert wait_for(lambda: len(printed_pids(log)) == 2, 60)
    time.sleep(0.5)  # longer than the supervisor's poll: it must not take the end of the thread for the parent's
    pids = [*printed_pids(log), int(pid_file(log).read_text())]
    assert all(map(alive, pids)), "the thread that started it is gone, but the parent is not"
    parent.send_signal(number)
    parent.wait(30)
    assert wait_for(lambda: not any(map(alive, pids)), 60)


def test_what_a_dead_command_leaves_is_ended(tmp_path: Path) -> None:
    log = tmp_path / "tree.log"
    group = start_group([sys.executable, str(tree(tmp_path))], log, dict(os.environ))
    try:
        assert wait_for(lambda: len(printed_pids(log)) == 2, 60)
        os.kill(min(printed_pids(log)), signal.SIGKILL)
        assert wait_for(lambda: not group.running(), 60)
        assert wait_for(lambda: not any(map(alive, printed_pids(log))), 30)
        assert not pid_file(log).exists()
        assert "ended with status -9" in log.read_text()
    finally:
        group.end()


def test_the_death_of_the_supervisor_is_the_death_of_the_command(tmp_path: Path) -> None:
    log = tmp_path / "tree.log"
    group = start_group([sys.executable, str(tree(tmp_path))], log, dict(os.environ))
    try:
        assert wait_for(lambda: len(printed_pids(log)) == 2, 60)
        os.kill(group.pid, signal.SIGKILL)
        assert wait_for(lambda: not group.running(), 30)
    finally:
        group.end()
    assert wait_for(lambda: not any(map(alive, printed_pids(log))), 30)


def test_a_log_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"cannot be written .* Name another folder"):
        start_group(["true"], tmp_path / "file/tree.log", {})


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


def sleeper(folder: Path, then: str) -> list[str]:
    return [sys.executable, "-c", SLEEPER, str(folder), then]


def test_lines_are_passed_on_and_the_group_ends_with_its_leader(tmp_path: Path) -> None:
    (tmp_path / "lines").write_text("old\n")
    lines: list[str] = []
    status = follow(sleeper(tmp_path, "end"), tmp_path / "log", dict(os.environ), {tmp_path / "lines": lines.append})
    assert status == 7
    assert lines == ["0", "1", "2"]
    assert last_lines(tmp_path / "log", 5) == "  the end"
    assert not alive(int((tmp_path / "pids").read_text()))
    assert not pid_file(tmp_path / "log").exists()


def test_each_of_several_files_has_its_own_reader(tmp_path: Path) -> None:
    script = "import pathlib, sys; [(pathlib.Path(sys.argv[1]) / n).write_text(n + '\\n') for n in ('one', 'two')]"
    lines: dict[str, list[str]] = {"one": [], "two": [], "none": []}
    files = {tmp_path / name: its_lines.append for name, its_lines in lines.items()}
    assert follow([sys.executable, "-c", script, str(tmp_path)], tmp_path / "log", dict(os.environ), files) == 0
    assert lines == {"one": ["one"], "two": ["two"], "none": []}


def test_an_exception_ends_the_whole_group(tmp_path: Path) -> None:
    def stop(line: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        follow(sleeper(tmp_path, "wait"), tmp_path / "log", dict(os.environ), {tmp_path / "lines": stop})
    assert not alive(int((tmp_path / "pids").read_text()))


def test_another_thread_can_stop_it(tmp_path: Path) -> None:
    stop = threading.Event()
    with pytest.raises(Interrupted):
        follow(
            sleeper(tmp_path, "wait"),
            tmp_path / "log",
            dict(os.environ),
            {tmp_path / "lines": lambda _: stop.set()},
            stop,
        )
    assert not alive(int((tmp_path / "pids").read_text()))


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV])
def test_the_status_says_which_signal_ended_the_command(tmp_path: Path, number: signal.Signals) -> None:
    script = f"import os, resource; resource.setrlimit(resource.RLIMIT_CORE, (0, 0)); os.kill(os.getpid(), {number})"
    assert follow([sys.executable, "-c", script], tmp_path / "log", dict(os.environ), {}) == -number


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has scheduling policies")
def test_a_command_is_scheduled_as_usual_though_the_thread_that_starts_it_is_not(tmp_path: Path) -> None:
    """The driver's thread sets SCHED_BATCH for itself, which a child would inherit."""
    script = "import os; print(os.sched_getscheduler(0) == os.SCHED_OTHER)"

    def start() -> None:
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
        follow([sys.executable, "-c", script], tmp_path / "log", dict(os.environ), {})

    thread = threading.Thread(target=start)  # its policy ends with it
    thread.start()
    thread.join()
    assert last_lines(tmp_path / "log", 5) == "  True"

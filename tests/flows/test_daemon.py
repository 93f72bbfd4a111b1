"""A process that outlives its starter is known by its lock, and ends with everything of its group."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from charter.core.errors import ConfigError
from flows.cockpit.daemon import Daemon
from flows.cockpit.settings import keep_cockpit, plan_cockpit, read_cockpit

STUBBORN = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(600)"
)
PARENT = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
print(child.pid, flush=True)
time.sleep(600)
"""


def start(daemon: Daemon, program: str) -> str:
    """Start a program that says something when it is up; what it said."""
    daemon.start([sys.executable, "-c", program], os.environ, daemon.home)
    while not daemon.log.read_text():
        time.sleep(0.02)
    return daemon.log.read_text().strip()


@pytest.mark.slow
def test_it_is_started_once(tmp_path: Path) -> None:
    daemon = Daemon("one", tmp_path)
    assert not daemon.running()
    start(daemon, "import time; print('up', flush=True); time.sleep(600)")
    start(daemon, "print('a second one')")
    assert Daemon("one", tmp_path).running()
    assert daemon.stop()
    assert not daemon.running()
    assert not daemon.stop()
    assert daemon.log.read_text() == "up\n"


@pytest.mark.slow
def test_what_does_not_end_is_killed(tmp_path: Path) -> None:
    daemon = Daemon("one", tmp_path, patience_s=0.5)
    start(daemon, STUBBORN)
    began = time.monotonic()
    assert daemon.stop()
    assert 0.5 < time.monotonic() - began < 5
    assert not daemon.running()


def test_its_children_end_with_it(tmp_path: Path) -> None:
    daemon = Daemon("one", tmp_path)
    child = int(start(daemon, PARENT))
    os.kill(child, 0)
    daemon.stop()
    deadline = time.monotonic() + 5
    while Path(f"/proc/{child}/cmdline").exists() and Path(f"/proc/{child}/cmdline").read_bytes():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_one_whose_number_is_not_written_yet_is_waited_for(tmp_path: Path) -> None:
    daemon = Daemon("one", tmp_path)
    # A process that holds the lock, and writes its number half a second later than one that was just started.
    late = "import fcntl, os, sys, time; file = open(sys.argv[1], 'a'); fcntl.flock(file, fcntl.LOCK_EX)"
    late += "; print('up', flush=True); time.sleep(0.5); file.write(str(os.getpid())); file.flush(); time.sleep(600)"
    with subprocess.Popen(
        [sys.executable, "-c", late, str(tmp_path / "one.lock")], stdout=subprocess.PIPE, start_new_session=True
    ) as process:
        assert process.stdout is not None and process.stdout.readline() == b"up\n"
        assert daemon.stop()
    assert process.returncode == -signal.SIGTERM
    assert not daemon.running()


@pytest.mark.slow
def test_one_that_ended_by_itself_is_told_of_with_its_last_words(tmp_path: Path) -> None:
    daemon = Daemon("one", tmp_path)
    start(daemon, "print('out of luck', flush=True)")
    while daemon.running():
        time.sleep(0.02)
    with pytest.raises(ConfigError, match=r"one: it ended by itself.*\n  out of luck"):
        daemon.check()


def test_a_login_is_made_once_and_kept(tmp_path: Path) -> None:
    first = plan_cockpit(tmp_path / "home")
    assert first.port == 4200
    keep_cockpit(first)
    keep_cockpit(plan_cockpit(tmp_path / "home", 4300))
    again = read_cockpit(tmp_path / "home")
    assert again is not None and (again.port, again.login) == (4300, first.login)
    assert len(first.login) > len("charter:") + 30
    assert "PREFECT_SERVER_API_AUTH_STRING" not in again.client()
    assert again.server()["PREFECT_SERVER_API_CSRF_PROTECTION_ENABLED"] == "true"


def test_a_broken_state_names_the_way_out(tmp_path: Path) -> None:
    (tmp_path / "cockpit.json").write_text("{")
    with pytest.raises(ConfigError, match="make ui-stop"):
        read_cockpit(tmp_path)

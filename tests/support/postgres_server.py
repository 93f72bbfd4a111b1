"""A private PostgreSQL server on loopback, from the system's packages; gone with its folder when the tests end."""

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

USER, PASSWORD = "charter", "a-password-for-tests"


@dataclass(frozen=True)
class PostgresServer:
    """A server that wants a password."""

    binaries: Path
    folder: Path
    port: int

    @property
    def url(self) -> str:
        """Of its database, without the password."""
        return f"postgresql://{USER}@127.0.0.1:{self.port}/postgres"

    def start(self) -> None:
        """Up, and ready for connections."""
        options = f"-p {self.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories="
        self._run("pg_ctl", "start", "-w", "-D", "data", "-l", "log", "-o", options)

    def stop(self, mode: str = "fast") -> None:
        """Down; ``immediate`` is as after a crash."""
        self._run("pg_ctl", "stop", "-w", "-D", "data", "-m", mode)

    def initialise(self) -> None:
        """Make its files."""
        self._run("initdb", "-D", "data", "-U", USER, "-A", "scram-sha-256", "--pwfile", "password", "-E", "UTF8")

    def _run(self, program: str, *arguments: str) -> None:
        as_user: dict[str, Any] = {"user": "postgres", "group": "postgres", "extra_groups": []}
        with (self.folder / f"{program}.txt").open("w") as output:
            done = subprocess.run(
                [str(self.binaries / program), *arguments],
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                timeout=60,
                **(as_user if os.geteuid() == 0 else {}),
            )
        if done.returncode:
            raise RuntimeError(f"{program}: {(self.folder / f'{program}.txt').read_text()}")


def missing() -> str | None:
    """Why no server can be started here, if so."""
    if _binaries() is None:
        return "no PostgreSQL on PATH or under /usr/lib/postgresql; .ci/packages installs it"
    if os.geteuid() == 0:
        with suppress(KeyError):
            pwd.getpwnam("postgres")
            return None
        return "PostgreSQL does not run as root, and there is no user 'postgres'"
    return None


@contextmanager
def run_postgres() -> Iterator[PostgresServer]:
    """A server in a folder of its own, with nothing in it."""
    binaries = _binaries()
    assert binaries is not None
    folder = Path(tempfile.mkdtemp(prefix="charter-postgres-"))
    (folder / "password").write_text(PASSWORD)
    if os.geteuid() == 0:
        for path in (folder, folder / "password"):
            shutil.chown(path, "postgres", "postgres")
    server = PostgresServer(binaries, folder, _free_port())
    try:
        server.initialise()
        server.start()
        try:
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder)


def _binaries() -> Path | None:
    on_path = shutil.which("initdb")
    places = [Path(on_path).resolve().parent] if on_path else []
    places += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    needed = ("initdb", "pg_ctl", "postgres")
    return next((place for place in places if all((place / program).is_file() for program in needed)), None)


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])

"""Where the cockpit keeps its state, and the settings of its processes: no open port, no telemetry."""

import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from charter.core.errors import ConfigError
from charter.core.installation import CHECKOUT

ROOT = CHECKOUT if (CHECKOUT / "prefect.yaml").is_file() else Path.cwd()
"""The project: flows, constitutions and outputs are named from here. Beside a wheel it is the working directory."""
HOME = ROOT / ".prefect"
PORT = 4200
POOL = "charter"
GPU_QUEUE = "gpu"
"""The queue of all that serves or trains a model; its limit keeps two runs from one GPU."""

HEARTBEAT_S = 30
"""Seconds from one sign of life of a run to the next; Prefect allows no less."""

_FILE = "cockpit.json"


@dataclass(frozen=True)
class Cockpit:
    """A server of this machine's own: where its state is, its port, and its login."""

    home: Path
    port: int
    login: str
    """A name and a password, ``charter:…``: Prefect's auth string."""

    @property
    def address(self) -> str:
        """What a browser opens."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def api(self) -> str:
        """What clients call."""
        return f"{self.address}/api"

    def client(self) -> dict[str, str]:
        """The environment of the worker, of the watcher, and of every other client of the server."""
        return os.environ | {
            "PREFECT_HOME": str(self.home),
            "PREFECT_API_URL": self.api,
            "PREFECT_API_AUTH_STRING": self.login,
            "CHARTER_HOME": str(ROOT),
            "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": str(HEARTBEAT_S),
            "DO_NOT_TRACK": "1",
        }

    @contextmanager
    def connected(self) -> Iterator[None]:
        """Let Prefect's clients in this process talk to the server."""
        from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_URL, temporary_settings  # slow to import

        with temporary_settings({PREFECT_API_URL: self.api, PREFECT_API_AUTH_STRING: self.login}):
            yield

    def server(self) -> dict[str, str]:
        """The environment of the server.

        Without an auth string its API hands out the secrets in Blocks to anyone who reaches the port, and that may be
        any page that a browser on this machine has open: hence the other two.
        """
        return self.client() | {
            "PREFECT_SERVER_API_HOST": "127.0.0.1",
            "PREFECT_SERVER_API_PORT": str(self.port),
            "PREFECT_SERVER_API_AUTH_STRING": self.login,
            "PREFECT_SERVER_API_CSRF_PROTECTION_ENABLED": "true",
            "PREFECT_SERVER_API_CORS_ALLOWED_ORIGINS": self.address,
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
        }


def plan_cockpit(home: Path, port: int | None = None) -> Cockpit:
    """The cockpit whose state is in `home`, or a new one, at `port` if that is given."""
    # A new password for each home, kept in a file that only this user can read.
    kept = read_cockpit(home) or Cockpit(home.resolve(), PORT, f"charter:{secrets.token_urlsafe(24)}")
    return replace(kept, port=port or kept.port)


def keep_cockpit(cockpit: Cockpit) -> None:
    """Write down its port and login; no other user of this machine may read them."""
    cockpit.home.mkdir(parents=True, exist_ok=True, mode=0o700)
    # Not `write_json`: the file must never exist with other permissions, not even for a moment.
    partial = cockpit.home / f".{_FILE}.partial"
    with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
        json.dump({"port": cockpit.port, "login": cockpit.login}, file)
    partial.replace(cockpit.home / _FILE)


def read_cockpit(home: Path) -> Cockpit | None:
    """The cockpit whose state is in `home`, or None.

    Raises:
        ConfigError: the file cannot be read.
    """
    path = home.resolve() / _FILE
    if not path.is_file():
        return None
    try:
        return Cockpit(home.resolve(), **json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise ConfigError(
            f"'{path}': cannot be read ({error}). Run `make ui-stop`, delete it, run `make ui`."
        ) from error

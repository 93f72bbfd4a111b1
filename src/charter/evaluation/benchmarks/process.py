"""A tool in a process of its own: it brings many packages, some of which warn, and one of which is torch."""

import asyncio
import importlib.util
import os
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from charter.core.errors import ConfigError, SuiteError
from charter.inference.engine import EngineSpec
from charter.inference.server.group import start_group
from charter.inference.session import current_drive

PACKAGES = {"inspect_ai": "inspect-ai", "lm_eval": "lm-evaluation-harness"}

_POLL_S = 0.2
_LAST_LINES = 12
_SUPERVISOR = "[charter] "  # begins what `charter.inference.server.supervise` adds to the output
_SOURCE = Path(__file__).resolve().parents[3]


class Program(NamedTuple):
    """A tool's command, where its output goes, and what it is called in an error."""

    command: list[str]
    environment: dict[str, str]
    log: Path
    title: str


def check_installed(module: str) -> None:
    """Look whether a tool can be imported, without importing it.

    Raises:
        ConfigError: it is not installed.
    """
    if importlib.util.find_spec(module) is None:
        name = PACKAGES.get(module, module)
        raise ConfigError(f"package '{name}': not installed. Run: pip install 'charter[eval]'.")


def environment(spec: EngineSpec) -> dict[str, str]:
    """What a tool needs to ask a served model: its key, and no proxy on the way there; no telemetry.

    Variables that set the tools' own options are left out, so that a run depends on its config alone.
    """
    key = os.environ.get(spec.api_key_env) or "none"  # both tools insist on one
    hosts = {urlsplit(url).hostname or "" for url in spec.base_urls}
    direct = ",".join(filter(None, [os.environ.get("NO_PROXY"), *sorted(hosts)]))
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("INSPECT_", "LMEVAL_"))}
    return kept | {
        "CHARTER_API_KEY": key,
        "OPENAI_API_KEY": key,
        "NO_PROXY": direct,
        "no_proxy": direct,
        "PYTHONPATH": os.pathsep.join(filter(None, [str(_SOURCE), os.environ.get("PYTHONPATH")])),
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "DO_NOT_TRACK": "1",
        "TQDM_DISABLE": "1",
        "TOKENIZERS_PARALLELISM": "false",
    }


def output_of(folder: Path) -> Path:
    """Where a tool's output goes, for one that leaves its results in `folder`."""
    return folder.with_name(f"{folder.name}.log")


async def run_tool(tool: Program) -> None:
    """Run a tool until it has ended; its whole group ends with this call, however that ends.

    Whether it succeeded is told by what it left, not by its exit status.

    Raises:
        Stopped: the run is to end.
    """
    tool.log.unlink(missing_ok=True)
    group = start_group(tool.command, tool.log, tool.environment)
    try:
        while group.running():
            current_drive().check()
            await asyncio.sleep(_POLL_S)
    finally:
        group.end()


def failed(tool: Program, why: str = "") -> SuiteError:
    """The error that a tool's task did not succeed, with `why` or else the end of its output."""
    lines = tool.log.read_text(encoding="utf-8", errors="replace").splitlines() if tool.log.is_file() else []
    said = [f"  {line}" for line in lines if not line.startswith(_SUPERVISOR)][-_LAST_LINES:]
    told = f" {why}" if why else "\n" + "\n".join(said)
    return SuiteError(f"{tool.title}: it left no results:{told}\nThe whole output is {tool.log}.")

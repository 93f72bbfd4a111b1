"""A benchmark tool in its own process: tools have heavy dependencies, torch among them, and some print warnings."""

import asyncio
import importlib.util
import os
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from charter.core.environment import child_environment, python_path
from charter.core.errors import ConfigError, SuiteError
from charter.core.installation import install_hint
from charter.core.processes import last_lines, start_group
from charter.inference.engine import EngineSpec
from charter.inference.network import is_loopback
from charter.inference.session import Session

PACKAGES = {"inspect_ai": "inspect-ai", "lm_eval": "lm-evaluation-harness"}

_POLL_S = 0.2
_LAST_LINES = 12


class Program(NamedTuple):
    """A tool's command, where its output goes, and its name in an error."""

    command: list[str]
    environment: dict[str, str]
    log: Path
    title: str


def check_installed(module: str) -> None:
    """Check that a tool can be imported, without importing it.

    Raises:
        ConfigError: it is not installed.
    """
    if importlib.util.find_spec(module) is None:
        name = PACKAGES.get(module, module)
        raise ConfigError(f"package '{name}': not installed. Run: {install_hint('eval')}.")


def tool_environment(spec: EngineSpec) -> dict[str, str]:
    """What a tool needs to call a served model: its key, no proxy on the way to this machine, no telemetry.

    Variables with the tools' own options are left out, so that a run depends on its config alone. The hub's token is
    passed, as tools download their data sets from the hub.
    """
    key = os.environ.get(spec.api_key_env) or "none"  # both tools refuse to start without a key
    # A proxy of the environment cannot reach a server on this machine.
    hosts = {urlsplit(url).hostname or "" for url in spec.base_urls if is_loopback(url)}
    no_proxy = ",".join(filter(None, [os.environ.get("NO_PROXY"), *sorted(hosts)]))
    return child_environment(hub=True) | {
        "CHARTER_API_KEY": key,
        "OPENAI_API_KEY": key,
        "NO_PROXY": no_proxy,
        "no_proxy": no_proxy,
        "PYTHONPATH": python_path(),
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "DO_NOT_TRACK": "1",
        "TQDM_DISABLE": "1",
        "TOKENIZERS_PARALLELISM": "false",
    }


def output_file(folder: Path) -> Path:
    """The file for the terminal output of a tool that writes its results to `folder`."""
    return folder.with_name(f"{folder.name}.log")


async def run_tool(tool: Program, session: Session) -> None:
    """Run a tool to its end; its whole process group ends with this call, even if the call is cancelled.

    Whether it succeeded shows in the results that it wrote, not in its exit status.

    Raises:
        Stopped: the run is to end.
    """
    # The output is appended, and an error shows its end: it must be that of this attempt.
    tool.log.unlink(missing_ok=True)
    group = start_group(tool.command, tool.log, tool.environment)
    try:
        while group.running():
            session.check()
            await asyncio.sleep(_POLL_S)
    finally:
        group.end()


def tool_failure(tool: Program, reason: str = "") -> SuiteError:
    """The error of a tool that produced no results, with `reason` or else the end of its output."""
    detail = f" {reason}" if reason else f"\n{last_lines(tool.log, _LAST_LINES)}"
    return SuiteError(f"{tool.title}: it produced no results:{detail}\nThe whole output is {tool.log}.")

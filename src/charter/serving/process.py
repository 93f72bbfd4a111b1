"""A vLLM server as a context manager: up when the block begins, gone when it ends, however it ends."""

import contextlib
import json
import logging
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from charter.config import Serving
from charter.errors import ServingError
from charter.serving import supervise
from charter.serving.autopsy import death_message, read_tail
from charter.serving.endpoints import DIRECT, Served, pid_file
from charter.serving.identity import model_identity
from charter.serving.launch import HOST, Launch, command, environment, plan

log_ = logging.getLogger(__name__)

_POLL_S = 0.2
_REMIND_S = 10.0
_END_S = 15.0
_PHASES = (
    (r"Starting vLLM server|Application startup complete", "opening its port"),
    (r"Warming up|Capturing CUDA graph|KV cache size", "warming up"),
    (r"Starting to load model|Loading (?:weights|safetensors)", "loading weights"),
    (r"Initializing a V1 LLM engine", "starting the engine"),
    (r"Resolved architecture", "model recognised"),
)


@contextmanager
def serve(
    model: str | Path,
    settings: Serving,
    log: Path,
    name: str | None = None,
    on_progress: Callable[[str], None] | None = None,
    side_by_side: int = 1,
) -> Iterator[Served]:
    """Start vLLM for a model and wait until it is healthy; end its whole process group at the end.

    The group ends on exit, exception and Ctrl-C, and also when this process is killed with SIGKILL:
    a small supervisor watches over it. Its number stands in ``LOG.pid`` while it lives.

    Args:
        model: a folder with config.json, or a hub id.
        settings: see `charter.config.Serving`.
        log: the server's output is appended to this file.
        name: the name to serve under; the folder's when empty.
        on_progress: is told, in a line, what the server is doing while it starts; logged when empty.
        side_by_side: servers that share this machine's cores at the same time (without a GPU).

    Raises:
        ModelError: no such model; within seconds, before anything is started.
        ServingError: the port is taken, vLLM is missing, or the server died; says why, with the end of its log.
    """
    launch = plan(model, settings, name)
    tell = on_progress or log_.info
    process = _start(launch, settings, log, side_by_side)
    try:
        # Hashing the weights overlaps with the start; a hub id is settled only once vLLM has fetched it.
        identity = model_identity(launch.model) if launch.local else None
        _wait_until_healthy(process, launch, settings, tell)
        revision = _option(settings.extra_args, "--revision") or "main"
        identity = identity or model_identity(launch.model, revision)
        url = f"http://{HOST}:{launch.port}/v1"
        yield Served((url,), launch.name, identity, process.popen.pid, process.log)
    finally:
        _end(process)


@dataclass
class _Process:
    popen: "subprocess.Popen[bytes]"
    lifeline: int
    """Our end of the pipe: closing it ends the server."""
    log: Path
    offset: int
    """Where this server's part of the log begins, in bytes."""


def _start(launch: Launch, settings: Serving, log: Path, side_by_side: int) -> _Process:
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        output = log.open("ab")
    except OSError as error:
        raise ServingError(f"server log '{log}': cannot be written ({error.strerror}). Name another folder.") from error
    theirs, ours = os.pipe()
    supervisor = [sys.executable, "-I", supervise.__file__, str(theirs), str(pid_file(log))]
    with output:
        offset = output.tell()
        try:
            popen = subprocess.Popen(
                supervisor + command(launch, settings),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                pass_fds=(theirs,),
                start_new_session=True,
                env=environment(launch, settings, side_by_side),
            )
        except BaseException:
            os.close(ours)
            raise
        finally:
            os.close(theirs)
    return _Process(popen, ours, log.resolve(), offset)


def _wait_until_healthy(process: _Process, launch: Launch, settings: Serving, tell: Callable[[str], None]) -> None:
    began = time.monotonic()
    told, told_at = "", 0.0
    while not _answers(launch):
        waited = time.monotonic() - began
        if process.popen.poll() is not None:
            raise ServingError(death_message(launch.model, process.log, process.offset))
        if waited > settings.startup_timeout_s:
            raise ServingError(
                f"server for model '{launch.model}': not healthy after {waited:.0f} s. Raise "
                f"serving.startup_timeout_s, or look at {process.log}."
            )
        phase = _phase(read_tail(process.log, process.offset))
        if phase != told or waited - told_at > _REMIND_S:
            tell(f"vLLM is starting {launch.name}: {phase} ({waited:.0f} s)")
            told, told_at = phase, waited
        time.sleep(_POLL_S)
    tell(f"vLLM serves {launch.name} on port {launch.port} ({time.monotonic() - began:.0f} s)")


def _answers(launch: Launch) -> bool:
    """Healthy, and it is our server and not another that came to this port."""
    base = f"http://{HOST}:{launch.port}"
    try:
        with DIRECT.open(f"{base}/health", timeout=5):
            pass
        with DIRECT.open(f"{base}/v1/models", timeout=5) as response:
            return any(m.get("id") == launch.name for m in json.load(response)["data"])
    except (OSError, ValueError, LookupError):
        return False


def _phase(log_text: str) -> str:
    for sign, phase in _PHASES:
        if re.search(sign, log_text):
            return phase
    return "importing vLLM"


def _option(arguments: list[str], option: str) -> str | None:
    for i, argument in enumerate(arguments):
        if argument == option and i + 1 < len(arguments):
            return arguments[i + 1]
        if argument.startswith(option + "="):
            return argument.partition("=")[2]
    return None


def _end(process: _Process) -> None:
    """Let go of the lifeline, wait for the supervisor to clear up, and clear up in its place if it does not."""
    os.close(process.lifeline)
    try:
        process.popen.wait(_END_S)
    except subprocess.TimeoutExpired:
        log_.warning("the server of %s did not end by itself; killing it", process.log)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.popen.pid, signal.SIGKILL)
        process.popen.wait()
        pid_file(process.log).unlink(missing_ok=True)

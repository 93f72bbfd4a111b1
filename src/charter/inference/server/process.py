"""A vLLM server as a context manager: up when the block begins, gone when it ends, however it ends."""

import json
import logging
import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from charter.config import Serving
from charter.core.errors import ServingError
from charter.inference.endpoints import DIRECT, Served
from charter.inference.identity import model_identity
from charter.inference.server.crash_report import death_message, read_tail
from charter.inference.server.group import ProcessGroup, start_group
from charter.inference.server.launch import HOST, Launch, command, environment, plan
from charter.inference.special_tokens import special_tokens

logger = logging.getLogger(__name__)

_POLL_S = 0.2
_REMIND_S = 10.0
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
        side_by_side: servers that share this machine's cores, or the memory of its GPUs, at the same time.

    Raises:
        ModelError: no such model; within seconds, before anything is started.
        ServingError: the port is taken, vLLM is missing, or the server died; says why, with the end of its log.
    """
    launch = plan(model, settings, name)
    tell = on_progress or logger.info
    group = start_group(command(launch, settings, side_by_side), log, environment(launch, settings, side_by_side))
    try:
        # Hashing the weights overlaps with the start; a hub id is settled only once vLLM has fetched it.
        identity = model_identity(launch.model) if launch.local else None
        _wait_until_healthy(group, launch, settings, tell)
        revision = _option(settings.extra_args, "--revision") or "main"
        identity = identity or model_identity(launch.model, revision)
        url = f"http://{HOST}:{launch.port}/v1"
        tokenizer = _option(settings.extra_args, "--tokenizer") or launch.model
        tokens = special_tokens(tokenizer, revision)
        yield Served((url,), launch.name, identity, group.pid, group.log, tokens, settings)
    finally:
        group.end()


def _wait_until_healthy(group: ProcessGroup, launch: Launch, settings: Serving, tell: Callable[[str], None]) -> None:
    began = time.monotonic()
    told, told_at = "", 0.0
    while not _answers(launch):
        waited = time.monotonic() - began
        if not group.running():
            raise ServingError(death_message(launch.model, group.log, group.offset))
        if waited > settings.startup_timeout_s:
            raise ServingError(
                f"server for model '{launch.model}': not healthy after {waited:.0f} s. Raise "
                f"serving.startup_timeout_s, or look at {group.log}."
            )
        phase = _phase(read_tail(group.log, group.offset))
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


def _option(arguments: Sequence[str], option: str) -> str | None:
    for i, argument in enumerate(arguments):
        if argument == option and i + 1 < len(arguments):
            return arguments[i + 1]
        if argument.startswith(option + "="):
            return argument.partition("=")[2]
    return None

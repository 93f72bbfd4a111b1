"""A vLLM server as a context manager: up when the block begins, gone when it ends, however it ends."""

import json
import logging
import re
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from charter.config import Serving
from charter.core.errors import Interrupted, ServingError
from charter.core.processes import ProcessGroup, start_group
from charter.inference.endpoints import Served
from charter.inference.identity import model_identity
from charter.inference.model_sampling import model_sampling
from charter.inference.network import DIRECT
from charter.inference.server.crash_report import crash_message, read_tail
from charter.inference.server.launch import HOST, Launch, plan_launch, server_environment, vllm_command
from charter.inference.special_tokens import special_tokens

logger = logging.getLogger(__name__)

_POLL_S = 0.2
_REMIND_S = 10.0
_PHASES = (  # the latest first, as the log keeps the lines of all phases
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
    stop: threading.Event | None = None,
) -> Iterator[Served]:
    """Start vLLM for a model and wait until it is healthy; end its whole process group when the block ends.

    The group ends on exit, exception and Ctrl-C, and also when this process is killed with SIGKILL:
    a small supervisor watches over it. The group's number is in ``LOG.pid`` while it runs. This blocks for up to
    minutes; in an event loop use `charter.core.threads.enter_in_thread`.

    Args:
        model: a folder with config.json, or a hub id.
        settings: see `charter.config.Serving`.
        log: the server's output is appended to this file.
        name: the name to serve under; the folder's name if not given.
        on_progress: called with a line about what the server is doing while it starts; logged if not given.
        side_by_side: how many servers share this machine's cores, or its GPUs' memory, at the same time.
        stop: another thread sets it to give up a start.

    Raises:
        ModelError: no such model; within seconds, before anything is started.
        ServingError: the port is taken, vLLM is missing, or the server crashed; gives the reason and the log's end.
        Interrupted: `stop` was set.
    """
    launch = plan_launch(model, settings, name)
    command = vllm_command(launch, settings, side_by_side)
    group = start_group(command, log, server_environment(launch, settings, side_by_side))
    try:
        # Hashing the weights overlaps with the start; a hub id is resolved only once vLLM has fetched it.
        identity = model_identity(launch.model) if launch.local else None
        _wait_until_healthy(group, launch, settings, on_progress or logger.info, stop or threading.Event())
        revision = _option(settings.extra_args, "--revision") or settings.model_revision or "main"
        identity = identity or model_identity(launch.model, revision)
        tokens = special_tokens(_option(settings.extra_args, "--tokenizer") or launch.model, revision)
        url = f"http://{HOST}:{launch.port}/v1"
        sampling = model_sampling(launch.model, revision)
        yield Served((url,), launch.name, identity, group.pid, group.log, tokens, settings, sampling=sampling)
    finally:
        group.end()


def _wait_until_healthy(
    group: ProcessGroup, launch: Launch, settings: Serving, tell: Callable[[str], None], stop: threading.Event
) -> None:
    started = time.monotonic()
    told_phase, told_at = "", 0.0
    while not _answers(launch):
        waited = time.monotonic() - started
        if not group.running():
            raise ServingError(crash_message(launch.model, group.log, group.offset))
        if waited > settings.startup_timeout_s:
            raise ServingError(
                f"server for model '{launch.model}': not healthy after {waited:.0f} s. Raise "
                f"serving.startup_timeout_s, or look at {group.log}."
            )
        log = read_tail(group.log, group.offset)
        phase = next((phase for sign, phase in _PHASES if re.search(sign, log)), "importing vLLM")
        if phase != told_phase or waited - told_at > _REMIND_S:
            tell(f"vLLM is starting {launch.name}: {phase} ({waited:.0f} s)")
            told_phase, told_at = phase, waited
        if stop.wait(_POLL_S):
            raise Interrupted(f"server for model '{launch.model}': its start was given up, as the run was stopped.")
    tell(f"vLLM serves {launch.name} on port {launch.port} ({time.monotonic() - started:.0f} s)")


def _answers(launch: Launch) -> bool:
    """Whether it is healthy, and is our server and not another one that took this port."""
    base = f"http://{HOST}:{launch.port}"
    try:
        with DIRECT.open(f"{base}/health", timeout=5):
            pass
        with DIRECT.open(f"{base}/v1/models", timeout=5) as response:
            return any(m.get("id") == launch.name for m in json.load(response)["data"])
    except (OSError, ValueError, LookupError):
        return False


def _option(arguments: Sequence[str], option: str) -> str | None:
    """The value of a command-line option, as ``--option value`` or ``--option=value``."""
    for i, argument in enumerate(arguments):
        if argument == option and i + 1 < len(arguments):
            return arguments[i + 1]
        if argument.startswith(option + "="):
            return argument.partition("=")[2]
    return None

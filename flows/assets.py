"""What a run made, as Prefect's assets: each with its rows or its hash, and what it was made of."""

import json
import re
from pathlib import Path
from typing import Any

from prefect.assets import Asset, AssetProperties, materialize
from prefect.cache_policies import NO_CACHE

MADE = {
    "responses": (None, "First answers to the prompts"),
    "revisions": ("responses", "Critiques and revisions"),
    "sft_data": ("revisions", "Rows of supervised fine-tuning"),
    "pairs": ("revisions", "Pairs with soft labels"),
    "sft": ("sft_data", "The model after supervised fine-tuning"),
    "dpo": ("pairs", "The model after preference optimisation"),
    "evaluation.json": ("dpo", "What was measured of every model"),
}
"""What there may be, what it is made of, and what it is."""


def record_assets(folder: Path) -> None:
    """Tell Prefect what a finished run made."""
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    for name, (origin, words) in MADE.items():
        if (folder / name).is_file() or any((folder / name).glob("*")):
            _record(folder, name, origin, words, _metadata(name, manifest))


def _record(folder: Path, name: str, origin: str | None, words: str, metadata: dict[str, Any]) -> None:
    properties = AssetProperties(name=f"{folder.name}: {name}", description=words)
    asset = Asset(key=_key(folder, name), properties=properties)
    deps: list[str | Asset] = [_key(folder, origin)] if origin and (folder / origin).exists() else []

    def record() -> None:
        asset.add_metadata(metadata)

    named = f"asset-{name}"
    materialize(asset, asset_deps=deps, task_run_name=named, cache_policy=NO_CACHE, persist_result=False)(record)()


def _metadata(name: str, manifest: dict[str, Any]) -> dict[str, Any]:
    about = {"run": manifest["run"], "finished": manifest["finished"], "constitution": manifest["constitution"]}
    found = {
        "rows": manifest["rows"].get(name),
        "identity": manifest["models"].get(name),
        "sha256": manifest["files"].get(name),
    }
    return about | {key: value for key, value in found.items() if value is not None}


def _key(folder: Path, name: str) -> str:
    """The address of what was made; of a long one the end, and other signs for those that Prefect refuses."""
    place = re.sub(r"%[0-9A-F]{2}|[^\w/.:@+~-]", "_", (folder / name).resolve().as_uri().removeprefix("file://"))
    return f"file://{place[-400:]}"

"""What a run made, as Prefect's assets: each with its rows or its hash, and what it was made of."""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from prefect.assets import Asset, AssetProperties, materialize
from prefect.cache_policies import NO_CACHE

from charter.training.job import CONFIG, read_done, read_job

DATA = {
    "responses": (None, "First answers to the prompts"),
    "revisions": ("responses", "Critiques and revisions"),
    "sft_data": ("revisions", "Rows of supervised fine-tuning"),
    "pairs": ("revisions", "Pairs with soft labels"),
    "rl_prompts": ("responses", "Prompts of reinforcement learning"),
}
"""The tables that there may be, what each is made of, and what it is."""
EVALUATION = "evaluation.json"


def record_assets(folder: Path) -> None:
    """Tell Prefect what a finished run made: tables, models by the names they are evaluated under, and measures."""
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    for name, (origin, words) in DATA.items():
        if any((folder / name).glob("*.parquet")):
            _record(folder / name, [folder / origin] if origin else [], words, _metadata(name, manifest))
    models = {name: folder / name for name in manifest["models"] if read_done(folder / name)}
    for name, path in models.items():
        _record(path, [read_job(path / CONFIG).data], f"The model {name}", _metadata(name, manifest))
    if (folder / EVALUATION).is_file():
        words = "What was measured of every model"
        _record(folder / EVALUATION, list(models.values()), words, _metadata(EVALUATION, manifest))


def _record(made: Path, of: Sequence[Path], words: str, metadata: dict[str, Any]) -> None:
    asset = Asset(
        key=_key(made), properties=AssetProperties(name=f"{made.parent.name}: {made.name}", description=words)
    )
    deps: list[str | Asset] = [_key(path) for path in of if path.exists()]

    def record() -> None:
        asset.add_metadata(metadata)

    named = f"asset-{made.name}"
    materialize(asset, asset_deps=deps, task_run_name=named, cache_policy=NO_CACHE, persist_result=False)(record)()


def _metadata(name: str, manifest: dict[str, Any]) -> dict[str, Any]:
    about = {"run": manifest["run"], "finished": manifest["finished"], "constitution": manifest["constitution"]}
    found = {
        "rows": manifest["rows"].get(name),
        "identity": manifest["models"].get(name),
        "sha256": manifest["files"].get(name),
    }
    return about | {key: value for key, value in found.items() if value is not None}


def _key(path: Path) -> str:
    """The address of what was made; of a long one the end, and other signs for those that Prefect refuses."""
    place = re.sub(r"%[0-9A-F]{2}|[^\w/.:@+~-]", "_", path.resolve().as_uri().removeprefix("file://"))
    return f"file://{place[-400:]}"

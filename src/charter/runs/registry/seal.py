"""Hashes of what a run's verdict rests on, in its manifest, so that what is accepted is what was judged."""

import hashlib
import json
from pathlib import Path
from typing import Any, NamedTuple

from charter.core.errors import RegistryError
from charter.inference.identity import model_identity

SEALED = (
    "config.yaml",
    "constitution.json",
    "constitution/**/*",
    "constitution.md",  # of runs that kept it rewritten
    "evaluation.json",
    "gate.json",
    "answers/*.parquet",
    "answers/*.json",
    "evaluation/*/*.sheets.json",
    "evaluation/*/*/*.sheets.json",
    "report.html",
    "report.json",
)
"""Cards are left out: people may write into them."""

NAMING = ("config.yaml", "constitution.json", "constitution.md", "evaluation.json")


def hash_files(folder: Path) -> dict[str, str]:
    """SHA-256 of each sealed file there is, by its path in the run's folder."""
    paths = sorted(path for pattern in SEALED for path in folder.glob(pattern) if path.is_file())
    return {path.relative_to(folder).as_posix(): _digest(path) for path in paths}


class Sealed(NamedTuple):
    """A finished run of which nothing has changed since its verdict: its manifest, and the model that was judged."""

    manifest: dict[str, Any]
    model: str

    @property
    def id(self) -> str:
        """The run's name, and twelve digits for the model, how it was made and what was measured of it."""
        parts = [
            self.manifest["models"][self.model],
            *(self.manifest["files"][name] for name in NAMING if name in self.manifest["files"]),
        ]
        digest = hashlib.sha256(" ".join(parts).encode()).hexdigest()
        return f"{self.manifest['run']}-{digest[:12]}"


def read_sealed(folder: Path) -> Sealed:
    """A finished run with the model that was judged, hashed again.

    Raises:
        RegistryError: it has not finished, trained no model, was made before files were sealed, or was changed.
    """
    again = f"Run it again: python -m flows.align {folder / 'config.yaml'}."
    manifest = _read(folder / "manifest.json")
    if not manifest:
        raise RegistryError(f"run '{folder}': no manifest.json, so it has not finished. {again}")
    sealed, model = manifest.get("files", {}), _read(folder / "gate.json").get("model", "")
    if "gate.json" not in sealed or not {"constitution.json", "constitution.md"} & sealed.keys():
        raise RegistryError(f"run '{folder}': its manifest vouches for no verdict on a trained model. {again}")
    now = hash_files(folder)
    changed = sorted(name for name in sealed.keys() | now.keys() if sealed.get(name) != now.get(name))
    if not changed and not (folder / model).is_dir():
        raise RegistryError(f"run '{folder}': holds no model '{model}' of its own. Name the run that trained it.")
    if not changed and model_identity(folder / model) != manifest["models"].get(model):
        changed = [model]
    if changed:
        raise RegistryError(f"run '{folder}': changed since its verdict: {', '.join(changed)}. {again}")
    return Sealed(manifest, model)


def _read(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError):  # what is gone or no JSON any more is told from its hash
        return {}


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

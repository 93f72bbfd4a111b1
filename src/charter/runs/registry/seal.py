"""Hashes of the files that a run's verdict depends on, so that what is accepted is what was evaluated."""

import hashlib
import json
from pathlib import Path
from typing import Any, NamedTuple

from charter.core.errors import RegistryError
from charter.inference.identity import file_digest, model_identity

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
"""Files hashed in the manifest. Cards are left out, as people may edit them."""

NAMING = ("config.yaml", "constitution.json", "constitution.md", "evaluation.json")


def hash_files(folder: Path) -> dict[str, str]:
    """SHA-256 of each existing file of `SEALED`, by its path in the run's folder."""
    paths = sorted(path for pattern in SEALED for path in folder.glob(pattern) if path.is_file())
    return {path.relative_to(folder).as_posix(): file_digest(path) for path in paths}


class VerifiedRun(NamedTuple):
    """A finished run that has not changed since its verdict: its manifest, and the model that the verdict is on."""

    manifest: dict[str, Any]
    model: str

    @property
    def id(self) -> str:
        """The run's name, and twelve digits of a hash of the model, its config, constitution and evaluation."""
        parts = [
            self.manifest["models"][self.model],
            *(self.manifest["files"][name] for name in NAMING if name in self.manifest["files"]),
        ]
        # Not the report and the answers: the same model, judged alike, keeps its id when its report is made again.
        digest = hashlib.sha256(" ".join(parts).encode()).hexdigest()
        return f"{self.manifest['run']}-{digest[:12]}"


def verify_run(folder: Path) -> VerifiedRun:
    """Hash a finished run's files and model again, and compare them with its manifest.

    Raises:
        RegistryError: it has not finished, trained no model, has no hashes in its manifest, or was changed.
    """
    again = f"Run it again: python -m flows.align {folder / 'config.yaml'}."
    # Written last, so that a run with a manifest has everything else.
    manifest = _read(folder / "manifest.json")
    if not manifest:
        raise RegistryError(f"run '{folder}': no manifest.json, so it has not finished. {again}")
    recorded, model = manifest.get("files", {}), _read(folder / "gate.json").get("model", "")
    if "gate.json" not in recorded or not {"constitution.json", "constitution.md"} & recorded.keys():
        raise RegistryError(f"run '{folder}': its manifest has no verdict on a trained model. {again}")
    current = hash_files(folder)
    # A file that came later counts as well: evaluation reads every file of answers.
    changed = sorted(n for n in recorded.keys() | current.keys() if recorded.get(n) != current.get(n))
    if not changed and not (folder / model).is_dir():
        raise RegistryError(f"run '{folder}': has no model '{model}' in its folder. Name the run that trained it.")
    if not changed and model_identity(folder / model) != manifest["models"].get(model):
        changed = [model]
    if changed:
        raise RegistryError(f"run '{folder}': changed since its verdict: {', '.join(changed)}. {again}")
    return VerifiedRun(manifest, model)


def _read(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError):  # a missing or broken file shows in its hash
        return {}

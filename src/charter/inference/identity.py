"""Which weights answered: by content for a folder, by revision for a hub id.

A path is not an identity: a model retrained in place would be taken for the old one.
"""

import hashlib
import os
from functools import lru_cache
from pathlib import Path

from charter.core.errors import ModelError

_HASHED_SUFFIXES = frozenset({".json", ".jinja", ".model", ".txt", ".safetensors", ".bin", ".pt", ".gguf", ".py"})
_IGNORED = frozenset({"trainer_state.json", "training_args.bin", "all_results.json", "train_results.json", "README.md"})


def model_identity(model: str | Path, revision: str = "main") -> str:
    """``sha256:…`` over a folder's config, tokenizer and weights, or ``hub:ID@REVISION``.

    Costs one read of the weights per process; a file that is still the same one, unchanged since, is
    not read again. A hub id that is not in the local cache is ``hub:ID@unresolved``
    until it has been fetched.

    Raises:
        ModelError: the folder holds no file that belongs to a model.
    """
    folder = Path(model).expanduser()
    if not folder.is_dir():
        return f"hub:{model}@{_hub_commit(str(model), revision) or 'unresolved'}"
    files = identity_files(folder)
    if not files:
        raise ModelError(f"model folder '{folder}': holds no model. Name a folder with config.json and weights.")
    whole = hashlib.sha256()
    for file in files:
        stat = file.stat()
        # The time of the last change, not of modification: copying tools set that one back.
        digest = _file_digest(str(file.resolve()), stat.st_size, stat.st_ino, stat.st_ctime_ns)
        whole.update(f"{file.name}\0{digest}\n".encode())
    return f"sha256:{whole.hexdigest()}"


def identity_files(folder: Path) -> list[Path]:
    """The files of a model's folder that make it what it is; logs and metrics beside them are not among them."""
    found = (file for file in folder.iterdir() if file.suffix in _HASHED_SUFFIXES and file.name not in _IGNORED)
    return sorted(file for file in found if file.is_file())


@lru_cache(maxsize=4096)
def _file_digest(path: str, size: int, inode: int, changed_ns: int) -> str:
    del size, inode, changed_ns  # only parts of the cache's key
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def hub_cache() -> Path:
    """Where the hub's client keeps what it fetched, by the variables it reads itself."""
    home = Path(os.environ.get("HF_HOME") or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "huggingface")
    return Path(os.environ.get("HF_HUB_CACHE") or home / "hub").expanduser()


def local_folder(model: str | Path, revision: str = "main") -> Path | None:
    """Where a model's files are on this machine: its folder, or that of a hub id in the local cache."""
    folder = Path(model).expanduser()
    if folder.is_dir():
        return folder
    snapshot = _hub_folder(str(model)) / "snapshots" / (_hub_commit(str(model), revision) or revision)
    return snapshot if snapshot.is_dir() else None


def _hub_folder(hub_id: str) -> Path:
    return hub_cache() / f"models--{hub_id.replace('/', '--')}"


def _hub_commit(hub_id: str, revision: str) -> str | None:
    """The commit that a branch or tag was when it was last fetched, if it is in the local cache."""
    folder = _hub_folder(hub_id)
    if (folder / "snapshots" / revision).is_dir():
        return revision
    try:
        return (folder / "refs" / revision).read_text(encoding="utf-8").strip() or None
    except OSError:
        return None

"""Which weights answered: by content for a folder, by revision for a hub id.

A path is not an identity: a model retrained in place would be mistaken for the old one. Completions are stored under
`model_identity`; a training step's result is identified by `charter.training.identity.hash_start_model`, another hash
with another list of files. Both are on users' disks, so neither can replace the other.
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

    Reads the weights once per process. A hub id that is not in the local cache is ``hub:ID@unresolved`` until it has
    been downloaded.

    Raises:
        ModelError: the folder contains no file that belongs to a model.
    """
    folder = Path(model).expanduser()
    if not folder.is_dir():
        return f"hub:{model}@{_hub_commit(str(model), revision) or 'unresolved'}"
    files = identity_files(folder)
    if not files:
        raise ModelError(f"model folder '{folder}': contains no model. Name a folder with config.json and weights.")
    whole = hashlib.sha256()
    for file in files:
        whole.update(f"{file.name}\0{file_digest(file)}\n".encode())
    return f"sha256:{whole.hexdigest()}"


def identity_files(folder: Path) -> list[Path]:
    """The files of a model's folder that determine its answers; logs and metrics are not among them."""
    files = (file for file in folder.iterdir() if file.suffix in _HASHED_SUFFIXES and file.name not in _IGNORED)
    return sorted(file for file in files if file.is_file())


def file_digest(file: Path) -> str:
    """SHA-256 of a file in hex; an unchanged file is read once per process."""
    stat = file.stat()
    # st_ctime and not st_mtime, which copying tools set back.
    return _cached_digest(str(file.resolve()), stat.st_size, stat.st_ino, stat.st_ctime_ns)


@lru_cache(maxsize=4096)
def _cached_digest(path: str, size: int, inode: int, changed_ns: int) -> str:
    del size, inode, changed_ns  # only parts of the cache's key
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def hub_cache() -> Path:
    """The cache folder of the hub's client, from the variables that the client reads."""
    home = Path(os.environ.get("HF_HOME") or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "huggingface")
    return Path(os.environ.get("HF_HUB_CACHE") or home / "hub").expanduser()


def local_folder(model: str | Path, revision: str = "main") -> Path | None:
    """A model's files on this machine: its folder, or a hub id's in the local cache; None if there are none."""
    folder = Path(model).expanduser()
    if folder.is_dir():
        return folder
    snapshot = _hub_folder(str(model)) / "snapshots" / (_hub_commit(str(model), revision) or revision)
    return snapshot if snapshot.is_dir() else None


def _hub_folder(hub_id: str) -> Path:
    return hub_cache() / f"models--{hub_id.replace('/', '--')}"


def _hub_commit(hub_id: str, revision: str) -> str | None:
    """The commit of a branch or tag when it was last downloaded, if it is in the local cache."""
    folder = _hub_folder(hub_id)
    if (folder / "snapshots" / revision).is_dir():
        return revision
    try:
        return (folder / "refs" / revision).read_text(encoding="utf-8").strip() or None
    except OSError:
        return None

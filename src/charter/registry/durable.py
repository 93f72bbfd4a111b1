"""Files that outlast a loss of power: their content, and the folder entries that lead to them, are on the disk."""

import os
from pathlib import Path


def sync_tree(folder: Path) -> None:
    """Write everything in `folder` through to the disk, files before the folders that name them."""
    for path in sorted(folder.rglob("*"), key=lambda path: -len(path.parts)):
        sync(path)
    sync(folder)


def sync(path: Path) -> None:
    """Write one file, or the entries of one folder, through to the disk."""
    opened = os.open(path, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)

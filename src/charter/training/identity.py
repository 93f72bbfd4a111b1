"""What makes a result the same result: hashes of the model's files, of the data, and of the settings that matter."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import yaml

from charter.config import Optimisation, Training
from charter.core.errors import ModelError, TrainingError
from charter.training.rows import rows_to_train_on

RECIPE = 2
"""Raised whenever the same inputs would train a different model, so that older results are not taken for new."""

_APART = {"sft", "dpo", "reward", "grpo", "preference", "rounds", "watch", "tracker"}
"""Settings of one step only, of which of them there are, or of nothing that changes a result."""


_WHERE = {"machine_rank", "main_process_ip", "main_process_port", "main_training_function", "same_network"}
"""What an accelerate configuration says of the machines of one day."""


def hash_inputs(step: str, model: str, data: Path, settings: Training, seed: int, reward: str = "") -> str:
    """The identity of a result: what the data says, the model's files, the settings that matter, the seed, the reward.

    Neither the place of the files, nor how often checkpoints are saved, nor what watches or tells of it changes a
    result, so they do not count. `reward` is the identity of what rewards answers, where something does.
    """
    section: Optimisation = getattr(settings, step)
    recipe = {
        "recipe": RECIPE,
        "step": step,
        "seed": seed,
        "settings": settings.model_dump(mode="json", exclude=_APART) | _launcher(settings.accelerate_config),
        "optimisation": section.model_dump(mode="json", exclude={"save_steps"}),
        "data": hash_table(rows_to_train_on(data, step, section)[0]),
        "model": hash_model(model),
        **({"reward": reward} if reward else {}),
    }
    return hashlib.sha256(json.dumps(recipe, sort_keys=True).encode()).hexdigest()


def _launcher(config: Path | None) -> dict[str, str]:
    """What an accelerate configuration says, but for where the machines are; not the name of its file."""
    if config is None:
        return {}
    try:
        said = yaml.safe_load(config.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise TrainingError(
            f"training.accelerate_config '{config}': cannot be read: {error}. Name a file as `accelerate config` writes"
            " one."
        ) from error
    told = {name: value for name, value in said.items() if name not in _WHERE} if isinstance(said, dict) else said
    return {"accelerate_config": json.dumps(told, sort_keys=True, default=str)}


def hash_table(table: pa.Table) -> str:
    """The content hash of a table, whatever files it came from."""
    digest = hashlib.sha256()
    with pa.ipc.new_stream(pa.PythonFile(_Hashing(digest), mode="w"), table.schema) as stream:
        stream.write_table(table.combine_chunks())
    return digest.hexdigest()


class _Hashing:
    """A file that keeps only the hash of what is written to it."""

    def __init__(self, digest: Any) -> None:
        self._digest = digest
        self.closed = False

    def write(self, data: Any) -> int:
        self._digest.update(data)
        return len(data)

    def flush(self) -> None: ...

    def close(self) -> None:
        self.closed = True


def hash_model(model: str) -> str:
    """The content hash of a model folder's weights, config and tokenizer; a hub id stands for itself.

    Raises:
        ModelError: the folder is missing, or holds no config.
    """
    folder = Path(model)
    if not folder.is_dir():
        if folder.is_absolute() or model.startswith(".") or model.count("/") > 1:
            raise ModelError(f"model '{model}': no such folder. Name a model folder or a hub id.")
        return f"hub:{model}"
    if not (folder / "config.json").is_file():
        raise ModelError(f"model '{model}': holds no config.json. Name a folder saved by `save_pretrained`.")
    digest = hashlib.sha256()
    for path in model_files(folder):
        digest.update(path.name.encode())
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def model_files(folder: Path) -> list[Path]:
    """The files that make a model what it is; logs and metrics beside them are not among them."""
    weights = ["*.safetensors", "*.safetensors.index.json", "config.json", "generation_config.json"]
    text = ["tokenizer*", "*.model", "special_tokens_map.json", "added_tokens.json", "vocab.*", "merges.txt", "*.jinja"]
    return sorted({path for name in weights + text for path in folder.glob(name) if path.is_file()})

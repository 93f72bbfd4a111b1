"""What identifies a training result: hashes of the model's files, the data, and the settings that matter."""

import hashlib
import io
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import yaml

from charter.config import Training
from charter.core.errors import ModelError, TrainingError
from charter.inference.identity import file_digest
from charter.training.rows import rows_to_train_on

RECIPE = 2
"""Raised whenever the same inputs would train a different model, so that older results are not reused."""

_IRRELEVANT = {"sft", "dpo", "reward", "grpo", "preference", "rounds", "watch", "tracker"}
"""Settings of another step, of which steps there are, or without influence on a result."""

_MACHINES = {"machine_rank", "main_process_ip", "main_process_port", "main_training_function", "same_network"}
"""Keys of an accelerate configuration that only say on which machines it runs."""


def hash_inputs(step: str, model: str, data: Path, settings: Training, seed: int, reward: str = "") -> str:
    """The identity of a result: the data's content, the model's files, the settings that matter, seed and reward.

    The files' location, how often checkpoints are saved, watchdogs and trackers change no result, so they do not
    count.

    Args:
        step: which step; its own settings count, those of other steps do not.
        model: a folder or hub id.
        data: a Parquet file, or a folder of them.
        settings: the configuration's training section.
        seed: of row order and new adapters.
        reward: the identity of what rewards answers in ``grpo``; empty for other steps.
    """
    section = settings.settings_of(step)
    launcher = {}
    if (config := settings.accelerate_config) is not None:
        try:
            content = yaml.safe_load(config.read_text(encoding="utf-8"))
        except (OSError, ValueError, yaml.YAMLError) as error:
            raise TrainingError(
                f"training.accelerate_config '{config}': cannot be read: {error}. Name a file that `accelerate config`"
                " wrote."
            ) from error
        if isinstance(content, dict):
            content = {name: value for name, value in content.items() if name not in _MACHINES}
        # The content counts instead of the file's path: the same file elsewhere trains the same model.
        launcher["accelerate_config"] = json.dumps(content, sort_keys=True, default=str)
    recipe = {
        "recipe": RECIPE,
        "step": step,
        "seed": seed,
        "settings": settings.model_dump(mode="json", exclude=_IRRELEVANT) | launcher,
        "optimisation": section.model_dump(mode="json", exclude={"save_steps"}),
        "data": hash_table(rows_to_train_on(data, step, section)[0]),
        "model": hash_start_model(model),
        **({"reward": reward} if reward else {}),
    }
    return hashlib.sha256(json.dumps(recipe, sort_keys=True).encode()).hexdigest()


def hash_table(table: pa.Table) -> str:
    """The content hash of a table, whichever files it was read from."""
    digest = hashlib.sha256()
    with pa.ipc.new_stream(pa.PythonFile(_HashingFile(digest), mode="w"), table.schema) as stream:
        stream.write_table(table.combine_chunks())
    return digest.hexdigest()


class _HashingFile(io.RawIOBase):
    """A file that keeps only the hash of what is written to it."""

    def __init__(self, digest: Any) -> None:
        self._digest = digest

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._digest.update(data)
        return len(data)


def hash_start_model(model: str) -> str:
    """The content hash of the model that training starts from; a hub id is its own hash.

    It is part of every DONE marker, so it must never change; `charter.inference.identity.model_identity` is another
    hash, of other files.

    Raises:
        ModelError: the folder does not exist, or has no config.
    """
    folder = Path(model)
    if not folder.is_dir():
        if folder.is_absolute() or model.startswith(".") or model.count("/") > 1:
            raise ModelError(f"model '{model}': no such folder. Name a model folder or a hub id.")
        return f"hub:{model}"
    if not (folder / "config.json").is_file():
        raise ModelError(f"model '{model}': has no config.json. Name a folder saved by `save_pretrained`.")
    digest = hashlib.sha256()
    for path in model_files(folder):
        digest.update(path.name.encode() + bytes.fromhex(file_digest(path)))
    return digest.hexdigest()


def model_files(folder: Path) -> list[Path]:
    """A model's weights, config and tokenizer; logs and metrics in its folder are not among them."""
    weights = ["*.safetensors", "*.safetensors.index.json", "config.json", "generation_config.json"]
    text = ["tokenizer*", "*.model", "special_tokens_map.json", "added_tokens.json", "vocab.*", "merges.txt", "*.jinja"]
    return sorted({path for name in weights + text for path in folder.glob(name) if path.is_file()})

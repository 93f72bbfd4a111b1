"""A LoRA adapter made one with the model that it belongs to."""

import shutil
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM

from charter.core.errors import ModelError
from charter.training.identity import model_files
from charter.training.models import write_model


def attach(model: Any, adapter: Path) -> Any:
    """`model` with an adapter beside its weights.

    Raises:
        ModelError: the adapter does not fit it.
    """
    from peft import PeftModel

    try:
        return PeftModel.from_pretrained(model, str(adapter)).eval()
    except (OSError, ValueError, RuntimeError) as error:
        raise ModelError(f"adapter '{adapter}': does not fit its base model: {error}") from error


def merge(base: str, adapter: Path, out: Path) -> None:
    """Write `base` with the adapter merged, in the number format of `base`; its own tokenizer goes with it, if any.

    Merging is done in float32, as in training, so that nothing is rounded twice.

    Raises:
        ModelError: one of them cannot be read, or they do not fit each other.
    """
    try:
        model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    except (OSError, ValueError) as error:
        raise ModelError(f"model '{base}': its weights cannot be read: {error}") from error
    write_model(attach(model, adapter).merge_and_unload(), base, out)
    for path in model_files(adapter):
        if ".safetensors" not in path.name:
            shutil.copyfile(path, out / path.name)

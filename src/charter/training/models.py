"""Loading a model to train and saving what came of it, as vLLM and transformers want to find it."""

import shutil
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import snapshot_download
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, GenerationConfig

from charter.config import Training
from charter.errors import ModelError
from charter.training.job import Job, model_files


def load_tokenizer(model: str) -> Any:
    """The model's tokenizer, with a padding token.

    Raises:
        ModelError: the tokenizer cannot be read, or has no token that ends a turn.
    """
    try:
        tokenizer = AutoTokenizer.from_pretrained(model)
    except (OSError, ValueError) as error:
        raise ModelError(f"model '{model}': its tokenizer cannot be read: {error}") from error
    if tokenizer.eos_token_id is None:
        raise ModelError(f"model '{model}': its tokenizer names no eos_token. Add one to tokenizer_config.json.")
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def end_tokens(model: str, tokenizer: Any) -> set[int]:
    """The tokens that end a turn: the tokenizer's, and those that end generation."""
    generation = _generation_config(model)
    ids = generation.eos_token_id if generation is not None else None
    return {tokenizer.eos_token_id, *([ids] if isinstance(ids, int) else ids or [])}


def load(job: Job) -> Any:
    """The model to train: float32 weights, which optimisers need; with adapters on a GPU, as it was saved.

    Raises:
        ModelError: the weights cannot be read.
    """
    adapters_on_gpu = job.settings.method == "lora" and torch.cuda.is_available()
    try:
        dtype = "auto" if adapters_on_gpu else torch.float32
        return AutoModelForCausalLM.from_pretrained(job.model, dtype=dtype)
    except (OSError, ValueError) as error:
        raise ModelError(f"model '{job.model}': its weights cannot be read: {error}") from error


def adapters(settings: Training) -> Any:
    """Low-rank adapters on every linear layer but the last, or None for full training."""
    if settings.method == "full":
        return None
    from peft import LoraConfig

    return LoraConfig(
        r=settings.lora_rank,
        lora_alpha=2 * settings.lora_rank,
        lora_dropout=0.0,
        target_modules="all-linear",
        task_type="CAUSAL_LM",
    )


def save(trainer: Any, job: Job) -> None:
    """Write the weights, adapters merged, in the dtype they came in; everything else is copied from the input model.

    What training changed in memory (a padding token, the cache switched off) does not reach the saved model.
    """
    model = trainer.accelerator.unwrap_model(trainer.model)
    if job.settings.method == "lora":
        model = model.float().merge_and_unload()
    dtype = AutoConfig.from_pretrained(job.model).dtype or torch.float32
    model.to(dtype).save_pretrained(job.out)
    for path in model_files(_folder(job.model)):
        if ".safetensors" not in path.name:
            shutil.copyfile(path, job.out / path.name)


def _folder(model: str) -> Path:
    if Path(model).is_dir():
        return Path(model)
    return Path(snapshot_download(model, allow_patterns=["*.json", "*.txt", "*.model", "*.jinja"]))


def _generation_config(model: str) -> Any:
    """The model's generation config; not every model has one."""
    try:
        return GenerationConfig.from_pretrained(model)
    except OSError:
        return None

"""Loading a model to train and saving what came of it, as vLLM and transformers want to find it."""

import os
import shutil
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import snapshot_download
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    GenerationConfig,
)
from transformers.integrations.deepspeed import unset_hf_deepspeed_config

from charter.config import Training
from charter.core.errors import ModelError, TrainingError
from charter.training.adapter import keep_adapter
from charter.training.identity import model_files
from charter.training.job import Job, Step


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

    Under `qlora` the weights beside the adapters are held in 4 bits (Dettmers et al., 2023, arXiv 2305.14314).

    Raises:
        ModelError: the weights cannot be read.
    """
    if job.settings.method == "qlora":
        return _read(job, dtype=torch.bfloat16, quantization_config=_four_bits(), device_map={"": _device()})
    adapters_on_gpu = job.settings.has_adapters and torch.cuda.is_available()
    return _read(job, dtype="auto" if adapters_on_gpu else torch.float32)


def _read(job: Job, **how: Any) -> Any:
    """A reward model has one number to say in place of the next token; what says it is new."""
    try:
        if job.step != "reward":
            return AutoModelForCausalLM.from_pretrained(job.model, **how)
        from trl.trainer.reward_trainer import suppress_seqcls_warning

        with suppress_seqcls_warning():
            return AutoModelForSequenceClassification.from_pretrained(job.model, num_labels=1, **how)
    except (OSError, ValueError) as error:
        raise ModelError(f"model '{job.model}': its weights cannot be read: {error}") from error


def _four_bits() -> Any:
    from transformers import BitsAndBytesConfig

    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
    )


def _device() -> int | str:
    """Of this process: launchers number those of one machine in LOCAL_RANK."""
    return int(os.environ.get("LOCAL_RANK", "0")) if torch.cuda.is_available() else "cpu"


def adapters(settings: Training, step: Step = "sft") -> Any:
    """Low-rank adapters on every linear layer but the last, or None for full training.

    A reward model's last layer is new, and trained as a whole.
    """
    if not settings.has_adapters:
        return None
    from peft import LoraConfig

    return LoraConfig(
        r=settings.lora_rank,
        lora_alpha=2 * settings.lora_rank,
        lora_dropout=0.0,
        target_modules="all-linear",
        task_type="SEQ_CLS" if step == "reward" else "CAUSAL_LM",
    )


def save(trainer: Any, job: Job) -> None:
    """Write the weights, adapters merged, in the dtype they came in; everything else is copied from the input model.

    The adapters are kept as well, see `charter.training.adapter`.

    What training changed in memory (a padding token, the cache switched off) does not reach the saved model, but for
    the config of a reward model, which is another kind of model. Every process calls this, as split weights are
    gathered from all of them; the first one writes.
    """
    model = _gather(trainer, job) if is_split(trainer) else trainer.accelerator.unwrap_model(trainer.model)
    if not trainer.is_world_process_zero():
        return
    if job.settings.has_adapters:
        if job.step != "reward":
            keep_adapter(model, job)
        # Off the GPU before it is float32, which takes twice the room of what was trained there.
        model = _whole(model, job).cpu().float().merge_and_unload()
    write_model(model, job.model, job.out, ("config.json", "generation_config.json") if job.step == "reward" else ())


def write_model(model: Any, source: str, out: Path, own: tuple[str, ...] = ()) -> None:
    """Write weights in the dtype of the model `source`, and copy everything else from there but the files `own`."""
    dtype = AutoConfig.from_pretrained(source).dtype or torch.float32
    model.to(dtype).save_pretrained(out)
    for path in model_files(_folder(source)):
        if ".safetensors" not in path.name and path.name not in own:
            shutil.copyfile(path, out / path.name)


def is_split(trainer: Any) -> bool:
    """Whether no process holds the whole weights."""
    return bool(trainer.is_fsdp_enabled or trainer.is_deepspeed_enabled)


def _gather(trainer: Any, job: Job) -> Any:
    """In the first process, a model of its own that holds what the processes have trained together."""
    weights = trainer.accelerator.get_state_dict(trainer.model_wrapped)
    if not trainer.is_world_process_zero():
        return None
    unset_hf_deepspeed_config()  # or the model would be loaded in parts, with processes that wait for nothing more
    model = load(job)
    if job.settings.has_adapters:
        from peft import get_peft_model

        model = get_peft_model(model, adapters(job.settings, job.step))
    missing, strange = model.load_state_dict(weights, strict=False)
    tied = tuple(getattr(model, "all_tied_weights_keys", {}))  # one of a tied pair is enough
    if missing := [name for name in missing if not name.endswith(tied)] or strange:
        raise TrainingError(f"training step '{job.step}': gathered weights do not fit the model: {missing}.")
    model.tie_weights()
    return model


def _whole(model: Any, job: Job) -> Any:
    """The adapters beside weights that they can be merged into: those of 4 bits are left behind for the model's own."""
    if job.settings.method != "qlora":
        return model
    from peft import get_peft_model, get_peft_model_state_dict, set_peft_model_state_dict

    whole = get_peft_model(_read(job, dtype=torch.float32), adapters(job.settings, job.step))
    set_peft_model_state_dict(whole, get_peft_model_state_dict(model))
    return whole


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

"""Load a model to train, and save the result as vLLM and transformers expect it; adapters are merged and kept.

Beside the merged weights, ``adapter/`` keeps one adapter of the model that all training started from, so that a
running server of that base can load the models of every step. DPO's adapters belong to SFT's merged model; two
adapters in a row are exactly one of the sum of their ranks: B₁A₁ + B₂A₂ = [B₁ B₂][A₁; A₂].
"""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import snapshot_download
from peft import (
    LoraConfig,
    PeftModel,
    get_peft_model,
    get_peft_model_state_dict,
    set_peft_model_state_dict,
)
from safetensors.torch import load_file, save_file
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
from charter.core.files import write_text_atomic
from charter.inference.identity import model_identity
from charter.inference.server.adapters import BASE, FOLDER, WEIGHTS, find_adapter
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
    try:
        ids = GenerationConfig.from_pretrained(model).eos_token_id
    except OSError:  # not every model has a generation config
        ids = None
    return {tokenizer.eos_token_id, *([ids] if isinstance(ids, int) else ids or [])}


def load(job: Job) -> Any:
    """The model to train: float32 weights, which optimisers need; with adapters on a GPU, in the saved dtype.

    With `qlora` the weights under the adapters are held in 4 bits (Dettmers et al., 2023, arXiv 2305.14314).

    Raises:
        ModelError: the weights cannot be read.
    """
    if job.settings.method == "qlora":
        from transformers import BitsAndBytesConfig

        four_bits = BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=torch.bfloat16,
        )
        # Launchers number the processes of one machine in LOCAL_RANK, each of which has its GPU.
        device = int(os.environ.get("LOCAL_RANK", "0")) if torch.cuda.is_available() else "cpu"
        return _read(job, dtype=torch.bfloat16, quantization_config=four_bits, device_map={"": device})
    adapters_on_gpu = job.settings.has_adapters and torch.cuda.is_available()
    return _read(job, dtype="auto" if adapters_on_gpu else torch.float32)


def _read(job: Job, **how: Any) -> Any:
    """The pretrained model; a reward model gets a new last layer with one output instead of the vocabulary."""
    try:
        if job.step != "reward":
            return AutoModelForCausalLM.from_pretrained(job.model, **how)
        from trl.trainer.reward_trainer import suppress_seqcls_warning

        with suppress_seqcls_warning():
            return AutoModelForSequenceClassification.from_pretrained(job.model, num_labels=1, **how)
    except (OSError, ValueError) as error:
        raise ModelError(f"model '{job.model}': its weights cannot be read: {error}") from error


def adapters(settings: Training, step: Step = "sft") -> Any:
    """Low-rank adapters on every linear layer but the last, or None for full training.

    A reward model's last layer is new, and trained as a whole.
    """
    if not settings.has_adapters:
        return None
    return LoraConfig(
        r=settings.lora_rank,
        lora_alpha=2 * settings.lora_rank,
        lora_dropout=0.0,
        target_modules="all-linear",
        task_type="SEQ_CLS" if step == "reward" else "CAUSAL_LM",
    )


def save(trainer: Any, job: Job) -> None:
    """Write the weights, adapters merged, in the dtype of the input model; the other files are copied from there.

    What training changed in memory (a padding token, the cache switched off) does not reach the saved model, except
    for the config of a reward model, which is another kind of model. Every process calls this, as split weights are
    gathered from all of them; the first one writes.
    """
    is_split = trainer.is_fsdp_enabled or trainer.is_deepspeed_enabled  # no process has the whole weights
    weights = trainer.accelerator.get_state_dict(trainer.model_wrapped) if is_split else {}
    if not trainer.is_world_process_zero():
        return
    if is_split:
        unset_hf_deepspeed_config()  # or the model would be loaded in parts, with processes that wait for nothing more
        model = load(job)
        if job.settings.has_adapters:
            model = get_peft_model(model, adapters(job.settings, job.step))
        missing, unexpected = model.load_state_dict(weights, strict=False)
        tied = tuple(getattr(model, "all_tied_weights_keys", {}))  # one of a tied pair is enough
        if missing := [name for name in missing if not name.endswith(tied)] or unexpected:
            raise TrainingError(f"training step '{job.step}': gathered weights do not fit the model: {missing}.")
        model.tie_weights()
    else:
        model = trainer.accelerator.unwrap_model(trainer.model)
    if job.settings.has_adapters:
        if job.step != "reward":
            keep_adapter(model, job)
        if job.settings.method == "qlora":
            # Adapters cannot be merged into weights of 4 bits: move them to the model's own weights.
            whole = get_peft_model(_read(job, dtype=torch.float32), adapters(job.settings, job.step))
            set_peft_model_state_dict(whole, get_peft_model_state_dict(model))
            model = whole
        # Off the GPU before it is float32, which takes twice the memory of what was trained there.
        model = model.cpu().float().merge_and_unload()
    write_model(model, job.model, job.out, ("config.json", "generation_config.json") if job.step == "reward" else ())


def write_model(model: Any, source: str, out: Path, own: tuple[str, ...] = ()) -> None:
    """Write weights in the dtype of the model `source`, and copy its other files except for those named in `own`."""
    dtype = AutoConfig.from_pretrained(source).dtype or torch.float32
    model.to(dtype).save_pretrained(out)
    folder = Path(source)
    if not folder.is_dir():
        folder = Path(snapshot_download(source, allow_patterns=["*.json", "*.txt", "*.model", "*.jinja"]))
    for path in model_files(folder):
        if ".safetensors" not in path.name and path.name not in own:
            shutil.copyfile(path, out / path.name)


def keep_adapter(model: Any, job: Job) -> None:
    """Write the adapters of `model`, a PEFT model trained for `job`, joined to those that its base was merged from."""
    config = model.peft_config["default"]
    state, scale = get_peft_model_state_dict(model, save_embedding_layers=False), config.lora_alpha / config.r
    # With the scale inside B it is 1, so that adapters with different scales can be joined.
    weights = {
        name: value.detach().float().cpu() * (scale if ".lora_B." in name else 1) for name, value in state.items()
    }
    rank, base, identity = config.r, job.model, model_identity(job.model)
    # The adapter of every step belongs to the first model and not to the step before, so that one server has them all.
    if (first := find_adapter(job.model)) is not None:
        # A is (rank, in) and B is (out, rank): both grow along the rank.
        first_weights = load_file(first.folder / WEIGHTS)
        weights = {
            name: torch.cat([first_weights[name], value], dim=1 if ".lora_B." in name else 0).contiguous()
            for name, value in weights.items()
        }
        rank, base, identity = first.rank + rank, first.base, first.base_identity
    out = job.out / FOLDER
    out.mkdir(exist_ok=True)
    save_file(weights, out / WEIGHTS, metadata={"format": "pt"})
    LoraConfig(
        r=rank,
        lora_alpha=rank,
        target_modules=sorted(config.target_modules),
        base_model_name_or_path=base,
        task_type="CAUSAL_LM",
        inference_mode=True,
    ).save_pretrained(out)
    write_text_atomic(out / BASE, json.dumps({"identity": identity}))


def attach_adapter(model: Any, adapter: Path) -> Any:
    """`model` with an adapter beside its weights.

    Raises:
        ModelError: the adapter does not fit it.
    """
    try:
        return PeftModel.from_pretrained(model, str(adapter)).eval()
    except (OSError, ValueError, RuntimeError) as error:
        raise ModelError(f"adapter '{adapter}': does not fit its base model: {error}") from error


def merge_adapter(base: str, adapter: Path, out: Path) -> None:
    """Write `base` with the adapter merged, in the dtype of `base`; the adapter's own tokenizer replaces the base's.

    Raises:
        ModelError: one of them cannot be read, or they do not fit each other.
    """
    try:
        # Merged in float32, as in training, so that nothing is rounded twice.
        model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    except (OSError, ValueError) as error:
        raise ModelError(f"model '{base}': its weights cannot be read: {error}") from error
    write_model(attach_adapter(model, adapter).merge_and_unload(), base, out)
    for path in model_files(adapter):
        if ".safetensors" not in path.name:
            shutil.copyfile(path, out / path.name)

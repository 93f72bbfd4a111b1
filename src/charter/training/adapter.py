"""What training with adapters leaves beside the merged weights: one adapter of the model that all training began from.

DPO's adapters belong to the merged model of SFT. Two adapters in a row are one of the sum of their ranks, exactly:
B₁A₁ + B₂A₂ = [B₁ B₂][A₁; A₂]. So one running server of the base can be given the models of every step.
"""

import json
from typing import Any

import torch
from peft import LoraConfig, get_peft_model_state_dict
from safetensors.torch import load_file, save_file

from charter.core.files import write_text_atomic
from charter.inference.identity import model_identity
from charter.inference.server.adapters import BASE, FOLDER, WEIGHTS, find_adapter
from charter.training.job import Job

Weights = dict[str, torch.Tensor]


def keep_adapter(model: Any, job: Job) -> None:
    """Write the adapters of `model`, which PEFT made for `job`, joined to those that its base was merged from."""
    config = model.peft_config["default"]
    weights = _scaled(get_peft_model_state_dict(model, save_embedding_layers=False), config.lora_alpha / config.r)
    rank, base, identity = config.r, job.model, model_identity(job.model)
    if (before := find_adapter(job.model)) is not None:
        weights = _joined(load_file(before.folder / WEIGHTS), weights)
        rank, base, identity = before.rank + rank, before.base, before.base_identity
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


def _scaled(weights: Weights, scale: float) -> Weights:
    """With the scale in B, so that it is 1, and what has another one can be joined to it."""
    whole = {name: value.detach().float().cpu() for name, value in weights.items()}
    return {name: value * scale if ".lora_B." in name else value for name, value in whole.items()}


def _joined(first: Weights, second: Weights) -> Weights:
    """One that adds to the base what both do; A is (rank, in) and B (out, rank)."""
    return {
        name: torch.cat([first[name], value], dim=1 if ".lora_B." in name else 0).contiguous()
        for name, value in second.items()
    }

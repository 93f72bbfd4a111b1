"""TRL's trainers, set up so that nothing is truncated, phoned home or drawn from a shared generator."""

import math
from typing import Any

import torch
from datasets import Dataset
from transformers import PrinterCallback

from charter.training import models
from charter.training.job import CHECKPOINTS, Job, last_checkpoint, rewind_metrics
from charter.training.order import FollowEpoch, InOrder, LikeLengths
from charter.training.rows import Rows
from charter.training.watch import Watch

_RECOMPUTE_ABOVE = 1_000_000_000
"""Parameters from which activations are recomputed in the backward pass: a fifth slower, far less memory."""


def build(job: Job, tokenizer: Any, rows: Rows) -> tuple[Any, Watch]:
    """The trainer of the job's step, ready for ``train()``, and the callback that watches it."""
    checkpoint = last_checkpoint(job.out)
    seen = rewind_metrics(job.out, checkpoint[1] if checkpoint else 0)
    watch = Watch(job, tokens=seen[-1]["tokens"] if seen else 0)
    order = LikeLengths([_length(row) for row in rows.kept], job.optimisation.batch_size, job.seed)
    trainer = (_sft if job.step == "sft" else _dpo)(
        job,
        models.load(job),
        processing_class=tokenizer,
        train_dataset=Dataset.from_list(rows.kept),
        callbacks=[watch, FollowEpoch(order)],
        peft_config=models.adapters(job.settings),
    )
    trainer.order = order
    trainer.remove_callback(PrinterCallback)
    return trainer, watch


def _length(row: dict[str, Any]) -> int:
    if "input_ids" in row:
        return len(row["input_ids"])
    return len(row["prompt_ids"]) + max(len(row["chosen_ids"]), len(row["rejected_ids"]))


def _sft(job: Job, model: Any, **parts: Any) -> Any:
    from trl.trainer.sft_config import SFTConfig
    from trl.trainer.sft_trainer import SFTTrainer

    class OrderedSFTTrainer(InOrder, SFTTrainer):  # type: ignore[misc]  # trl is seen as Any
        pass

    return OrderedSFTTrainer(model, args=SFTConfig(**_arguments(job, model)), **parts)


def _dpo(job: Job, model: Any, **parts: Any) -> Any:
    """The reference is `model` as it was loaded; its log-probabilities are computed once, so it need not be kept."""
    from trl.trainer.dpo_config import DPOConfig

    from charter.training.soft_dpo import PairCollator, SoftDPOTrainer

    dpo = job.settings.dpo
    terms = {"robust" if dpo.soft_labels else "sigmoid": 1.0}
    terms |= {"sft": dpo.sft_weight} if dpo.sft_weight > 0 else {}
    arguments = DPOConfig(
        **_arguments(job, model),
        beta=dpo.beta,
        loss_type=list(terms),
        loss_weights=list(terms.values()),
        precompute_ref_log_probs=True,
        precompute_ref_batch_size=2 * dpo.batch_size,
    )
    collator = PairCollator(pad_token_id=parts["processing_class"].pad_token_id)
    return SoftDPOTrainer(model, args=arguments, data_collator=collator, **parts)


def _arguments(job: Job, model: Any) -> dict[str, Any]:
    """What both steps tell TRL."""
    cuda, section = torch.cuda.is_available(), job.optimisation
    return {
        "output_dir": str(job.out / CHECKPOINTS),
        "seed": job.seed,
        "num_train_epochs": section.epochs,
        "learning_rate": section.learning_rate,
        "per_device_train_batch_size": section.batch_size,
        "gradient_accumulation_steps": section.gradient_accumulation,
        "lr_scheduler_type": "cosine",
        "warmup_steps": min(section.warmup_share, math.nextafter(1.0, 0.0)),  # 1 and more would be a count of steps
        "max_length": None,  # longer rows were left out before
        "bf16": cuda and torch.cuda.is_bf16_supported(),
        "use_cpu": not cuda,
        "gradient_checkpointing": model.num_parameters() > _RECOMPUTE_ABOVE,
        "dataloader_pin_memory": cuda,
        "save_steps": section.save_steps,
        "save_total_limit": 2,
        "logging_steps": 1,
        "logging_nan_inf_filter": False,  # it would hide what `Watch` looks for
        "disable_tqdm": True,
        "report_to": "none",
    }

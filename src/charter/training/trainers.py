"""TRL's trainers, set up so that nothing is truncated, phoned home or drawn from a shared generator."""

import math
import os
from typing import Any

import torch
from datasets import Dataset
from transformers import PrinterCallback

from charter.training import models
from charter.training.job import CHECKPOINTS, REFERENCE, Job, last_checkpoint, rewind_metrics
from charter.training.lengths import AnswerLengths
from charter.training.order import FollowEpoch, InOrder, LikeLengths
from charter.training.rows import Rows
from charter.training.watch import Watch

_RECOMPUTE_ABOVE = 1_000_000_000
"""Parameters from which activations are recomputed in the backward pass: a fifth slower, far less memory."""


def build(job: Job, tokenizer: Any, rows: Rows, end_ids: set[int]) -> tuple[Any, Watch]:
    """The trainer of the job's step, ready for ``train()``, and the callback that watches it.

    Raises:
        TrainingError: a watchdog of the data stops the run.
    """
    checkpoint = last_checkpoint(job.out)
    seen = rewind_metrics(job.out, checkpoint[1] if checkpoint else 0)
    lengths = AnswerLengths(rows.kept, end_ids) if _answers_are_watched(job) else None
    watch = Watch(job, seen, lengths)
    watch.look_at_rows(rows)
    batch_of_all = job.optimisation.batch_size * job.settings.processes  # alike in every process: none waits long
    order = LikeLengths([_length(row) for row in rows.kept], batch_of_all, job.seed)
    trainer = (_sft if job.step == "sft" else _dpo)(
        job,
        models.load(job),
        processing_class=tokenizer,
        train_dataset=Dataset.from_list(rows.kept),
        callbacks=[*([lengths] if lengths else []), watch, FollowEpoch(order)],
        peft_config=models.adapters(job.settings),
    )
    trainer.order = order
    trainer.remove_callback(PrinterCallback)
    return trainer, watch


def _answers_are_watched(job: Job) -> bool:
    """Weights that are split among processes are not gathered for it, and SFT is meant to change lengths."""
    whole = job.settings.distributed in ("none", "ddp") and job.settings.accelerate_config is None
    return job.step == "dpo" and whole and job.settings.watch != "off"


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
    """The reference is `model` as it was loaded; where its log-probabilities are computed once, it is not kept."""
    from trl.trainer.dpo_config import DPOConfig

    from charter.training.soft_dpo import PairCollator, SoftDPOTrainer

    dpo = job.settings.dpo
    arguments = DPOConfig(
        **_arguments(job, model),
        beta=dpo.beta,
        loss_type=["sft"] if dpo.sft_weight > 0 else [],  # the trainer adds the preference
        loss_weights=[dpo.sft_weight] if dpo.sft_weight > 0 else [],
        precompute_ref_log_probs=dpo.precompute_reference,
        precompute_ref_batch_size=2 * dpo.batch_size,
    )
    collator = PairCollator(pad_token_id=parts["processing_class"].pad_token_id)
    return SoftDPOTrainer(model, args=arguments, data_collator=collator, dpo=dpo, kept=job.out / REFERENCE, **parts)


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
        "use_cpu": not cuda and os.environ.get("ACCELERATE_USE_DEEPSPEED") != "true",  # it has a CPU mode of its own
        "accelerator_config": {"use_configured_state": _splits_on_cpu()},
        "gradient_checkpointing": model.num_parameters() > _RECOMPUTE_ABOVE,
        "dataloader_pin_memory": cuda,
        "save_steps": section.save_steps,
        "save_total_limit": 2,
        "logging_steps": 1,
        "logging_nan_inf_filter": False,  # it would hide what `Watch` looks for
        "disable_tqdm": True,
        "report_to": "none",
    }


def _splits_on_cpu() -> bool:
    """Let FSDP split weights without a GPU, to try a configuration out: accelerate would quietly train whole copies.

    It splits only for its kind MULTI_GPU, which says no more than that several processes talk to each other.
    """
    if torch.cuda.is_available() or os.environ.get("ACCELERATE_USE_FSDP") != "true":
        return False
    from accelerate import PartialState
    from accelerate.utils import DistributedType

    PartialState(cpu=True).distributed_type = DistributedType.MULTI_GPU
    return True

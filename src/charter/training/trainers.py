"""TRL's trainers, set up so that nothing is truncated, sent home or drawn from a shared random generator."""

import logging
import math
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from accelerate.utils import DistributedType
from datasets import Dataset
from transformers import PrinterCallback, TrainerCallback

from charter.config import Grpo
from charter.core.errors import TrainingError
from charter.core.files import write_text_atomic
from charter.training import models
from charter.training.job import CHECKPOINTS, REFERENCE, Job, Step, last_checkpoint, rewind_metrics
from charter.training.order import FollowEpoch, InOrder, PromptGroups, SimilarLengths
from charter.training.rows import Rows
from charter.training.watch import AnswerLengths, Watch

MLFLOW_DATABASE = "mlflow.db"
_MLFLOW_RUN = "mlflow-run"
_RECOMPUTE_ABOVE = 1_000_000_000
"""Parameters from which activations are recomputed in the backward pass: a fifth slower, far less memory."""


def build(job: Job, tokenizer: Any, rows: Rows, end_ids: set[int]) -> tuple[Any, Watch]:
    """The trainer of the job's step, ready for ``train()``, and the callback that watches it.

    Raises:
        TrainingError: a watchdog of the data stops the run, or the prompts of GRPO do not fill a step.
    """
    checkpoint = last_checkpoint(job.out)
    lines = rewind_metrics(job.out, checkpoint[1] if checkpoint else 0)
    # SFT is meant to change the length of answers, and split weights cannot generate.
    whole = job.settings.distributed in ("none", "ddp") and job.settings.accelerate_config is None
    measured = job.step == "dpo" and whole and job.settings.watch != "off"
    lengths = AnswerLengths(rows.kept, end_ids) if measured else None
    watch = Watch(job, lines, lengths)
    watch.check_rows(rows)
    tracked = [KeepRunId(job.out)] if job.settings.tracker == "mlflow" else []
    order = order_rows(job, rows.kept)
    builders: dict[Step, Callable[..., Any]] = {
        "sft": _sft,
        "dpo": _dpo,
        "reward": _reward,
        "grpo": partial(_grpo, end_ids=end_ids),
    }
    trainer = builders[job.step](
        job,
        models.load(job),
        processing_class=tokenizer,
        train_dataset=Dataset.from_list(rows.kept),
        callbacks=[*([lengths] if lengths else []), watch, FollowEpoch(order), *tracked],
        peft_config=models.adapters(job.settings, job.step),
    )
    trainer.order = order
    trainer.remove_callback(PrinterCallback)
    return trainer, watch


def order_rows(job: Job, rows: list[dict[str, Any]]) -> SimilarLengths | PromptGroups:
    """The order in which a step takes its tokenised rows.

    Raises:
        TrainingError: GRPO has fewer prompts than one optimiser step takes.
    """
    section = job.optimisation
    batch = section.batch_size * job.settings.processes  # similar lengths in all processes: none waits long
    if isinstance(section, Grpo):
        prompts = batch * section.gradient_accumulation // section.group
        if prompts > len(rows):
            raise TrainingError(
                f"training step 'grpo': a step takes {prompts} prompts, and there are {len(rows)}."
                " Lower training.grpo.batch_size, or raise prompts.n."
            )
        return PromptGroups(len(rows), prompts, job.seed, section.group, section.gradient_accumulation)
    # In a batch, both answers of a pair are padded to the longest one.
    lengths = [
        len(row["input_ids"])
        if "input_ids" in row
        else len(row["prompt_ids"]) + max(len(row["chosen_ids"]), len(row["rejected_ids"]))
        for row in rows
    ]
    return SimilarLengths(lengths, batch, job.seed)


def _sft(job: Job, model: Any, **parts: Any) -> Any:
    from trl.trainer.sft_config import SFTConfig
    from trl.trainer.sft_trainer import SFTTrainer

    class OrderedSFTTrainer(InOrder, SFTTrainer):  # type: ignore[misc]  # trl is seen as Any
        pass

    return OrderedSFTTrainer(model, args=SFTConfig(**trainer_arguments(job, model), max_length=None), **parts)


def _dpo(job: Job, model: Any, **parts: Any) -> Any:
    """The reference is `model` as loaded; if its log-probabilities are computed once, it is not kept in memory."""
    from trl.trainer.dpo_config import DPOConfig

    from charter.training.preference import PairCollator, SoftDPOTrainer

    dpo = job.settings.dpo
    config = DPOConfig(
        **trainer_arguments(job, model),
        max_length=None,
        beta=dpo.beta,
        loss_type=["sft"] if dpo.sft_weight > 0 else [],  # the trainer adds the preference
        loss_weights=[dpo.sft_weight] if dpo.sft_weight > 0 else [],
        precompute_ref_log_probs=dpo.precompute_reference,
        precompute_ref_batch_size=2 * dpo.batch_size,
    )
    collator = PairCollator(pad_token_id=parts["processing_class"].pad_token_id)
    return SoftDPOTrainer(model, args=config, data_collator=collator, dpo=dpo, kept=job.out / REFERENCE, **parts)


def _reward(job: Job, model: Any, **parts: Any) -> Any:
    from trl.trainer.reward_config import RewardConfig

    from charter.training.preference import SoftRewardTrainer, WholeCollator

    collator = WholeCollator(pad_token_id=parts["processing_class"].pad_token_id)
    config = RewardConfig(**trainer_arguments(job, model), max_length=None)
    return SoftRewardTrainer(model, args=config, data_collator=collator, **parts)


def _grpo(job: Job, model: Any, end_ids: set[int], **parts: Any) -> Any:
    """Answers are sampled from the current model at each step, and used for one update.

    Advantages are divided by the deviation over the whole step (arXiv 2508.08221), not over each group: if no
    answer is better than another, a judge's rewards still differ in the third digit, which would become the signal.
    """
    from trl import import_utils
    from trl.trainer.grpo_config import GRPOConfig

    from charter.training.rewards import make_reward

    # TRL's GRPO trainer imports vLLM, which it does not use here, and warns about versions newer than it knows.
    original = import_utils.is_vllm_available
    import_utils.is_vllm_available = lambda min_version=None: False
    try:
        from trl.trainer.grpo_trainer import GRPOTrainer
    finally:
        import_utils.is_vllm_available = original

    class OrderedGRPOTrainer(InOrder, GRPOTrainer):  # type: ignore[misc]  # trl is seen as Any
        pass

    grpo = job.settings.grpo
    config = GRPOConfig(
        **trainer_arguments(job, model),
        beta=grpo.beta,
        num_generations=grpo.group,
        max_completion_length=grpo.max_tokens,
        temperature=grpo.temperature,
        scale_rewards="batch",
    )
    logging.getLogger("trl.trainer.grpo_trainer").setLevel(logging.ERROR)  # missing rewards are counted by reason
    return OrderedGRPOTrainer(model, reward_funcs=make_reward(job, end_ids), args=config, **parts)


def trainer_arguments(job: Job, model: Any) -> dict[str, Any]:
    """TRL's arguments common to all steps. None truncates rows: those that are too long were left out before."""
    cuda, section = torch.cuda.is_available(), job.optimisation
    # DeepSpeed and FSDP can split weights without a GPU, to try a configuration out.
    zero_on_cpu = not cuda and os.environ.get("ACCELERATE_USE_DEEPSPEED") == "true"
    fsdp_on_cpu = not cuda and os.environ.get("ACCELERATE_USE_FSDP") == "true"
    if zero_on_cpu:
        import deepspeed.ops

        # Otherwise it first compiles faster communication for processes of one machine: minutes, and needs a compiler.
        deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    if fsdp_on_cpu:
        # Accelerate splits only for its type MULTI_GPU, which means no more than several processes that communicate;
        # without it, accelerate would silently train copies.
        PartialState(cpu=True).distributed_type = DistributedType.MULTI_GPU
    return {
        "output_dir": str(job.out / CHECKPOINTS),
        "seed": job.seed,
        "num_train_epochs": section.epochs,
        "learning_rate": section.learning_rate,
        "per_device_train_batch_size": section.batch_size,
        "gradient_accumulation_steps": section.gradient_accumulation,
        "lr_scheduler_type": "cosine",
        # TRL reads 1 and more as a number of steps.
        "warmup_steps": min(section.warmup_share, math.nextafter(1.0, 0.0)),
        "bf16": cuda and torch.cuda.is_bf16_supported(),
        "use_cpu": not cuda and not zero_on_cpu,  # DeepSpeed has its own CPU mode
        "ddp_backend": "gloo" if zero_on_cpu else None,  # without it, accelerate treats each process as the only one
        "accelerator_config": {"use_configured_state": fsdp_on_cpu},
        "gradient_checkpointing": model.num_parameters() > _RECOMPUTE_ABOVE,
        "dataloader_pin_memory": cuda,
        "save_steps": section.save_steps,
        "save_total_limit": 2,
        "logging_steps": 1,
        "logging_nan_inf_filter": False,  # it would hide what `Watch` looks for
        "disable_tqdm": True,
        **tracker_arguments(job),
    }


def tracker_arguments(job: Job) -> dict[str, Any]:
    """TRL's arguments for the tracker. Sets the tracker's environment variables that the user has not set."""
    tracker, runs, name = job.settings.tracker, job.out.parent.parent, f"{job.out.parent.name}/{job.out.name}"
    if tracker == "none":
        return {"report_to": "none"}
    if tracker == "tensorboard":
        os.environ.setdefault("TENSORBOARD_LOGGING_DIR", str(runs / "tensorboard" / name))
    if tracker == "mlflow":
        os.environ.setdefault("MLFLOW_TRACKING_URI", f"sqlite:///{runs / MLFLOW_DATABASE}")
        os.environ.setdefault("MLFLOW_EXPERIMENT_NAME", "charter")
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        if (job.out / _MLFLOW_RUN).is_file():
            import mlflow

            # The run that a killed training started is continued.
            run = (job.out / _MLFLOW_RUN).read_text(encoding="utf-8")
            try:
                mlflow.MlflowClient().get_run(run)
                os.environ["MLFLOW_RUN_ID"] = run
            except mlflow.MlflowException:
                pass  # it was deleted, or is in another database: a new run starts
    return {"report_to": tracker, "run_name": name}


class KeepRunId(TrainerCallback):  # type: ignore[misc]  # transformers is seen as Any
    """Keeps the id of the MLflow run, so that a training that is killed and continued stays one run."""

    def __init__(self, out: Path) -> None:
        self._out = out

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Write the id; the tracker's own callback comes before this one, and has started the run."""
        import mlflow

        if (run := mlflow.active_run()) is not None:  # only in the process that reports
            write_text_atomic(self._out / _MLFLOW_RUN, run.info.run_id)

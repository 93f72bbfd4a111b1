"""Trainers of the tiny model, in this process, as the worker builds them."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch

from charter.config import Training
from charter.training import models, trainers
from charter.training.job import Job
from charter.training.rows import Rows, encode_rows, read_training_table
from charter.training.watch import Watch
from tests.support.training_data import PAIRS, pairs

BETA = 0.1


def build(model: Path, folder: Path, data: list[dict[str, object]], **changes: Any) -> tuple[Any, Rows, Watch]:
    """A DPO trainer on `data`; `changes` are of the training section (method, watch) or of its dpo section."""
    section = {key: changes.pop(key) for key in ("method", "watch") if key in changes}
    dpo = {"beta": BETA, "batch_size": len(data), "warmup_share": 0.0, "max_length": 256} | changes
    settings = Training.model_validate({"lora_rank": 4, **section, "dpo": dpo})
    pq.write_table(pa.Table.from_pylist(data, schema=PAIRS), folder / "pairs.parquet")
    return build_job(Job("dpo", str(model), folder / "pairs.parquet", folder / "out", settings, 0, ""))


def build_job(job: Job) -> tuple[Any, Rows, Watch]:
    """The trainer of any step."""
    job.out.mkdir(exist_ok=True)
    tokenizer = models.load_tokenizer(job.model)
    end_ids = models.end_tokens(job.model, tokenizer)
    table = read_training_table(job.data, job.step, getattr(job.optimisation, "soft_labels", False))
    rows = encode_rows(table, tokenizer, end_ids, job.optimisation.max_length, job.model)
    torch.manual_seed(0)
    trainer, watch = trainers.build(job, tokenizer, rows, end_ids)
    return trainer, rows, watch


def train_job(job: Job) -> Watch:
    """Train it and save the model, as the worker does."""
    trainer, _, watch = build_job(job)
    trainer.train()
    models.save(trainer, job)
    return watch


def build_reward(
    model: Path, folder: Path, data: list[dict[str, object]], method: str = "full", **reward: Any
) -> tuple[Any, Rows, Job]:
    """A reward trainer on `data`; `reward` are changes of its section."""
    section = {"batch_size": len(data), "warmup_share": 0.0, "max_length": 256} | reward
    settings = Training.model_validate({"method": method, "lora_rank": 4, "reward": section})
    pq.write_table(pa.Table.from_pylist(data, schema=PAIRS), folder / "pairs.parquet")
    job = Job("reward", str(model), folder / "pairs.parquet", folder / "reward", settings, 0, "")
    trainer, rows, _ = build_job(job)
    return trainer, rows, job


def build_random(model: Path, folder: Path, n: int, p: float | None, seed: int = 0, **changes: Any) -> tuple[Any, Rows]:
    """A DPO trainer on `n` random pairs with the probability `p`, or each with its own."""
    trainer, rows, _ = build(model, folder, pairs(n, seed, p), **changes)
    assert len(rows.kept) == n
    return trainer, rows


def whole_batch(trainer: Any) -> dict[str, Any]:
    """All pairs as one batch."""
    batch: dict[str, Any] = trainer.data_collator([trainer.train_dataset[i] for i in range(len(trainer.train_dataset))])
    return batch


def stir(model: Any) -> None:
    """Move the policy away from its reference, adapters included."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))

"""The training process: ``python -m charter.training.worker OUT/training.yaml``.

Continues from the last complete checkpoint of the folder if there is one, and ends by writing DONE.
"""

import json
import logging
import os
import shutil
import sys
import time
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from charter.config import Sft
from charter.core.errors import CharterError, TrainingError
from charter.core.files import write_text_atomic
from charter.core.supervisor import die_with_parent
from charter.data.schema import FAILURES
from charter.training.job import (
    CHECKPOINTS,
    DROPPED,
    FAILURE,
    LOG,
    VISIBLE_GPUS,
    Job,
    is_first_process,
    last_checkpoint,
    read_done,
    read_job,
    write_done,
)
from charter.training.rows import Rows, encode_rows, over_share, rows_to_train_on

log = logging.getLogger("charter.training")


def main(config: Path) -> int:
    """Run the job of a ``training.yaml``; a failure with a known reason leaves it in ``failure.json``."""
    if "RANK" in os.environ:
        # torchrun starts each worker in its own session, where the end of the launcher's group does not reach it.
        die_with_parent()
    os.environ.update(pin_first_gpu(os.environ))  # before torch looks for GPUs
    logging.basicConfig(stream=sys.stdout, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    log.setLevel(logging.INFO if is_first_process() else logging.ERROR)
    try:
        job = read_job(config)
    except TrainingError as error:
        log.error("%s", error)
        return 2
    done = read_done(job.out)
    if done is not None and done["inputs"] == job.inputs:
        log.info("already finished; delete %s/DONE to train again", job.out)
        return 0
    try:
        run(job)
    except CharterError as error:
        if is_first_process():
            write_text_atomic(job.out / FAILURE, json.dumps({"message": str(error)}))
        log.error("%s", error)
        return 2
    return 0


def pin_first_gpu(environment: Mapping[str, str]) -> dict[str, str]:
    """Variables to add to a process's environment so that it sees one GPU; empty if a launcher started it."""
    # TRL refuses to train in one process that sees several GPUs: transformers would wrap the model in nn.DataParallel.
    if "RANK" in environment:
        return {}
    return {VISIBLE_GPUS: environment.get(VISIBLE_GPUS, "0").split(",")[0].strip()}


def run(job: Job) -> None:
    """Train, save, write DONE."""
    started = time.monotonic()
    # Imported here, as torch must see only the GPUs that `main` left visible.
    from transformers import set_seed

    from charter.training import models, trainers

    set_seed(job.seed)
    tokenizer = models.load_tokenizer(job.model)
    end_ids = models.end_tokens(job.model, tokenizer)
    rows = read_rows(job, tokenizer, end_ids)
    trainer, watch = trainers.build(job, tokenizer, rows, end_ids)

    # Launchers have started one process, or whole copies, without a message: compare what runs with the settings.
    accelerator, settings = trainer.accelerator, job.settings
    processes = accelerator.num_processes
    if processes != settings.processes:
        raise TrainingError(
            f"training.processes '{settings.processes}': {processes} process(es) came up."
            " Give the same number in training.accelerate_config, or correct training.processes."
        )
    kind = "ddp" if processes > 1 else "none"
    if trainer.is_fsdp_enabled:
        kind = f"fsdp{accelerator.state.fsdp_plugin.fsdp_version}"
    elif trainer.is_deepspeed_enabled:
        kind = f"zero{accelerator.state.deepspeed_plugin.zero_stage}"
    if settings.accelerate_config is None and processes > 1 and kind != settings.distributed:
        raise TrainingError(f"training.distributed '{settings.distributed}': {kind} came up. Look into {LOG}.")
    log.info("%d process(es) on %s, distributed: %s", processes, accelerator.device.type, kind)

    log.info("%d rows, %d left out %s", len(rows.kept), len(rows.dropped), rows.reasons or "")
    checkpoint = last_checkpoint(job.out)
    log.info("set up in %.1f s; training from step %d", time.monotonic() - started, checkpoint[1] if checkpoint else 0)
    trainer.train(resume_from_checkpoint=str(checkpoint[0]) if checkpoint else None)
    models.save(trainer, job)
    if trainer.is_world_process_zero():
        seconds = time.monotonic() - started
        summary = {
            "step": job.step,
            "steps": trainer.state.global_step,
            "rows_used": len(rows.kept),
            "dropped": rows.reasons,
            "seconds": round(seconds, 3),
            "first_loss": watch.first_loss,
            "warnings": watch.warnings,
            "processes": processes,
            "distributed": kind,
            "versions": {name: version(name) for name in ("torch", "transformers", "trl", "peft", "accelerate")},
        }
        write_done(job, summary)
        # Only now are the checkpoints of no more use.
        shutil.rmtree(job.out / CHECKPOINTS, ignore_errors=True)
        log.info("%d steps in %.1f s; the model is %s", trainer.state.global_step, seconds, job.out)


def read_rows(job: Job, tokenizer: Any, end_ids: set[int]) -> Rows:
    """The rows to train on; those left out are written to ``dropped.parquet``."""
    section = job.optimisation
    table, left_out = rows_to_train_on(job.data, job.step, section)
    helpful = over_share(job.data, section.helpful_share) if isinstance(section, Sft) else []
    if helpful:
        table = table.filter(~pc.field("row_id").isin([row.row_id for row in helpful]))
    rows = encode_rows(table, tokenizer, end_ids, section.max_length, job.model)
    rows.dropped += left_out + helpful
    if is_first_process():
        failures = [{**row._asdict(), "stage": job.step} for row in rows.dropped]
        pq.write_table(pa.Table.from_pylist(failures, schema=FAILURES), job.out / DROPPED)
    return rows


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))

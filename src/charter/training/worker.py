"""The training process: ``python -m charter.training.worker OUT/training.yaml``.

Continues from the last whole checkpoint of the folder if there is one, and ends by writing DONE.
"""

import json
import logging
import os
import shutil
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from charter.config import Dpo
from charter.data.schema import FAILURES
from charter.errors import CharterError, TrainingError
from charter.training.child import die_with_parent
from charter.training.job import (
    CHECKPOINTS,
    DROPPED,
    FAILURE,
    Job,
    last_checkpoint,
    read_done,
    read_job,
    write_done,
    write_whole,
)
from charter.training.process import PARENT
from charter.training.rows import Rows, encode_rows, read_table

log = logging.getLogger("charter.training")


def main(config: Path) -> int:
    """Run the job of a ``training.yaml``; a failure that has a reason leaves it in ``failure.json``."""
    if PARENT in os.environ:
        die_with_parent()
    logging.basicConfig(stream=sys.stdout, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    log.setLevel(logging.INFO)
    job = read_job(config)
    done = read_done(job.out)
    if done is not None and done["inputs"] == job.inputs:
        log.info("finished before; delete %s/DONE to train again", job.out)
        return 0
    try:
        run(job)
    except CharterError as error:
        write_whole(job.out / FAILURE, json.dumps({"message": str(error)}))
        log.error("%s", error)
        return 2
    return 0


def run(job: Job) -> None:
    """Train, save, vouch."""
    started = time.monotonic()
    from transformers import set_seed

    from charter.training import models, trainers

    set_seed(job.seed)
    tokenizer = models.load_tokenizer(job.model)
    rows = _read_rows(job, tokenizer, models.end_tokens(job.model, tokenizer))
    trainer, watch = trainers.build(job, tokenizer, rows)
    _check_processes(job, trainer.accelerator.num_processes)
    log.info("%d rows, %d left out %s", len(rows.kept), len(rows.dropped), rows.reasons or "")
    checkpoint = last_checkpoint(job.out)
    log.info("set up in %.1f s; training from step %d", time.monotonic() - started, checkpoint[1] if checkpoint else 0)
    trainer.train(resume_from_checkpoint=str(checkpoint[0]) if checkpoint else None)
    if trainer.is_world_process_zero():
        models.save(trainer, job)
        _vouch(job, rows, trainer.state.global_step, watch, time.monotonic() - started)


def _read_rows(job: Job, tokenizer: Any, end_ids: set[int]) -> Rows:
    """The rows to train on; those left out are written down."""
    section = job.optimisation
    table = read_table(job.data, job.step, isinstance(section, Dpo) and section.soft_labels)
    rows = encode_rows(table, tokenizer, end_ids, section.max_length, job.model)
    if int(os.environ.get("RANK", "0")) == 0:
        failures = [{**row._asdict(), "stage": job.step} for row in rows.dropped]
        pq.write_table(pa.Table.from_pylist(failures, schema=FAILURES), job.out / DROPPED)
    return rows


def _check_processes(job: Job, running: int) -> None:
    """Launchers have been seen to start one process where two were asked for, without a word."""
    if running != job.settings.processes:
        raise TrainingError(
            f"training.processes '{job.settings.processes}': {running} process(es) came up."
            " Give the same number in training.accelerate_config, or correct training.processes."
        )


def _vouch(job: Job, rows: Rows, steps: int, watch: Any, seconds: float) -> None:
    """Write DONE, then remove the checkpoints that nobody will continue from."""
    summary = {
        "step": job.step,
        "steps": steps,
        "rows_used": len(rows.kept),
        "dropped": rows.reasons,
        "seconds": round(seconds, 3),
        "first_loss": watch.first_loss,
        "warnings": watch.warnings,
        "versions": {name: version(name) for name in ("torch", "transformers", "trl", "peft", "accelerate")},
    }
    write_done(job, summary)
    for text in watch.warnings:
        log.warning("%s", text)
    shutil.rmtree(job.out / CHECKPOINTS, ignore_errors=True)
    log.info("%d steps in %.1f s; the model is %s", steps, seconds, job.out)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))

"""One training step as a value, and the files by which a folder tells how far it came.

Torch-free: the launcher decides with this what to start, the worker what to continue.

A step's folder is the trained model itself, with beside it ``training.yaml`` (what was asked), ``training.log``,
``metrics.jsonl`` (one line per optimiser step), ``dropped.parquet`` (rows left out, with reasons),
``reference.parquet`` (see `charter.training.reference`), ``checkpoints/`` while it runs, ``failure.json`` if it stopped
itself, and ``DONE``, written last: its presence is the proof.
"""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml

from charter.config import Optimisation, Training
from charter.errors import TrainingError
from charter.training.identity import model_files

Step = Literal["sft", "dpo"]

CHECKPOINTS = "checkpoints"
CONFIG, DONE, FAILURE, LOG, METRICS = "training.yaml", "DONE", "failure.json", "training.log", "metrics.jsonl"
DROPPED, REFERENCE = "dropped.parquet", "reference.parquet"


@dataclass(frozen=True)
class Job:
    """Everything one training step needs; `inputs` is the hash that says which result this is."""

    step: Step
    model: str
    data: Path
    out: Path
    settings: Training
    seed: int
    inputs: str

    @property
    def optimisation(self) -> Optimisation:
        """The settings of this step."""
        return self.settings.sft if self.step == "sft" else self.settings.dpo

    def write(self) -> None:
        """Put the step's configuration into its folder, from where it can be run again by hand."""
        values = {
            "step": self.step,
            "model": self.model,
            "data": str(self.data),
            "out": str(self.out),
            "seed": self.seed,
            "inputs": self.inputs,
            "settings": self.settings.model_dump(mode="json"),
        }
        write_whole(self.out / CONFIG, yaml.safe_dump(values, sort_keys=False))


def read_job(config: Path) -> Job:
    """Read what `Job.write` wrote."""
    values = yaml.safe_load(config.read_text(encoding="utf-8"))
    settings = Training.model_validate(values.pop("settings"))
    return Job(**{**values, "data": Path(values["data"]), "out": Path(values["out"]), "settings": settings})


@contextmanager
def replace_whole(path: Path) -> Iterator[Path]:
    """Give a neighbour to write to, which then takes the place of `path`, so that no file is ever seen half."""
    part = path.with_name(path.name + ".part")
    yield part
    with part.open("rb+") as file:
        os.fsync(file.fileno())
    part.replace(path)


def write_whole(path: Path, text: str) -> None:
    """Write a text file that is never seen half."""
    with replace_whole(path) as part:
        part.write_text(text, encoding="utf-8")


def read_done(out: Path) -> dict[str, Any] | None:
    """What the DONE marker says, if the model it vouches for is all there."""
    try:
        done: dict[str, Any] = json.loads((out / DONE).read_text(encoding="utf-8"))
        sizes = {name: (out / name).stat().st_size for name in done["files"]}
    except (OSError, ValueError, KeyError):
        return None
    return done if sizes == done["files"] else None


def write_done(job: Job, summary: dict[str, Any]) -> None:
    """Vouch for the model in the step's folder; to be called when nothing is left to write."""
    files = {path.name: path.stat().st_size for path in model_files(job.out)}
    if not any(name.endswith(".safetensors") for name in files):
        raise TrainingError(f"training step '{job.step}': no weights were written to '{job.out}'. See {LOG} there.")
    write_whole(job.out / DONE, json.dumps({"inputs": job.inputs, "files": files, **summary}, indent=2) + "\n")


def last_checkpoint(out: Path) -> tuple[Path, int] | None:
    """The newest whole checkpoint and its step; one without ``trainer_state.json`` was being written at a kill."""
    found = []
    for state in (out / CHECKPOINTS).glob("checkpoint-*/trainer_state.json"):
        try:
            found.append((int(json.loads(state.read_text(encoding="utf-8"))["global_step"]), state.parent))
        except (ValueError, KeyError):
            continue
    return (max(found)[1], max(found)[0]) if found else None


def rewind_metrics(out: Path, step: int) -> list[dict[str, Any]]:
    """Cut the metrics back to `step`, so that steps done again after a kill do not stand there twice."""
    path = out / METRICS
    kept = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else []:
        try:
            values = json.loads(line)
        except ValueError:
            break
        if values["step"] > step:
            break
        kept.append(values)
    path.write_text("".join(json.dumps(values) + "\n" for values in kept), encoding="utf-8")
    return kept

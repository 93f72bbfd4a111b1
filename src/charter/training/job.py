"""One training step as a value, and the files by which a folder tells how far it came.

Torch-free: the launcher decides with this what to start, the worker what to continue.

A step's folder is the trained model itself, with beside it ``training.yaml`` (what was asked), ``training.log``,
``metrics.jsonl`` (one line per optimiser step), ``dropped.parquet`` (rows left out, with reasons), ``checkpoints/``
while it runs, ``failure.json`` if it stopped itself, and ``DONE``, written last: its presence is the proof.
"""

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import yaml

from charter.config import Optimisation, Training
from charter.errors import ModelError, TrainingError
from charter.training.rows import read_table

Step = Literal["sft", "dpo"]

RECIPE = 1
"""Raised whenever the same inputs would train a different model, so that older results are not taken for new."""

CHECKPOINTS = "checkpoints"
CONFIG, DONE, FAILURE, LOG, METRICS = "training.yaml", "DONE", "failure.json", "training.log", "metrics.jsonl"
DROPPED = "dropped.parquet"


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


def write_whole(path: Path, text: str) -> None:
    """Write a file that is never seen half: to a neighbour first, then renamed."""
    part = path.with_name(path.name + ".part")
    with part.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)


def hash_inputs(step: Step, model: str, data: Path, settings: Training, seed: int) -> str:
    """The identity of a result: what the data says, the model's files, the settings that matter, the seed.

    Neither the place of the files nor how often checkpoints are saved changes a result, so they do not count.
    """
    section: Optimisation = settings.sft if step == "sft" else settings.dpo
    recipe = {
        "recipe": RECIPE,
        "step": step,
        "seed": seed,
        "settings": settings.model_dump(mode="json", exclude={"sft", "dpo"}),
        "optimisation": section.model_dump(mode="json", exclude={"save_steps"}),
        "data": _hash_table(read_table(data, step, getattr(section, "soft_labels", False))),
        "model": hash_model(model),
    }
    return hashlib.sha256(json.dumps(recipe, sort_keys=True).encode()).hexdigest()


def _hash_table(table: pa.Table) -> str:
    digest = hashlib.sha256()
    with pa.ipc.new_stream(pa.PythonFile(_Hashing(digest), mode="w"), table.schema) as stream:
        stream.write_table(table.combine_chunks())
    return digest.hexdigest()


class _Hashing:
    """A file that keeps only the hash of what is written to it."""

    def __init__(self, digest: Any) -> None:
        self._digest = digest
        self.closed = False

    def write(self, data: Any) -> int:
        self._digest.update(data)
        return len(data)

    def flush(self) -> None: ...

    def close(self) -> None:
        self.closed = True


def hash_model(model: str) -> str:
    """The content hash of a model folder's weights, config and tokenizer; a hub id stands for itself.

    Raises:
        ModelError: the folder is missing, or holds no config.
    """
    folder = Path(model)
    if not folder.is_dir():
        if folder.is_absolute() or model.startswith(".") or model.count("/") > 1:
            raise ModelError(f"model '{model}': no such folder. Name a model folder or a hub id.")
        return f"hub:{model}"
    if not (folder / "config.json").is_file():
        raise ModelError(f"model '{model}': holds no config.json. Name a folder saved by `save_pretrained`.")
    digest = hashlib.sha256()
    for path in model_files(folder):
        digest.update(path.name.encode())
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def model_files(folder: Path) -> list[Path]:
    """The files that make a model what it is; logs and metrics beside them are not among them."""
    weights = ["*.safetensors", "*.safetensors.index.json", "config.json", "generation_config.json"]
    text = ["tokenizer*", "*.model", "special_tokens_map.json", "added_tokens.json", "vocab.*", "merges.txt", "*.jinja"]
    return sorted({path for name in weights + text for path in folder.glob(name) if path.is_file()})


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

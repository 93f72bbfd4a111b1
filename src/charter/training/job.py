"""One training step as a value, and the files in its folder that record its progress.

Without torch: the launcher uses this to decide what to start, the worker to decide what to continue.

A step's folder contains the trained model itself, ``training.yaml`` (the job), ``training.log``, ``metrics.jsonl``
(one line per optimiser step), ``warnings.jsonl`` (of the watchdogs), ``dropped.parquet`` (rows left out, with
reasons), ``reference.parquet`` (see `charter.training.preference`), ``checkpoints/`` while it runs, ``failure.json``
if it stopped itself, and ``DONE``, written last: it exists only if the model is complete.
"""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import yaml

from charter.config import Optimisation, Training
from charter.core.errors import TrainingError
from charter.core.files import write_text_atomic
from charter.pipeline.judges.reward import RewardJudge
from charter.training.identity import hash_start_model, model_files

Step = Literal["sft", "dpo", "reward", "grpo"]
STEPS: tuple[Step, ...] = get_args(Step)
"""Each trains one model, in the folder of that name."""

VISIBLE_GPUS = "CUDA_VISIBLE_DEVICES"
CHECKPOINTS = "checkpoints"
CONFIG, DONE, FAILURE, LOG, METRICS = "training.yaml", "DONE", "failure.json", "training.log", "metrics.jsonl"
WARNINGS, DROPPED, REFERENCE = "warnings.jsonl", "dropped.parquet", "reference.parquet"


@dataclass(frozen=True)
class Job:
    """Everything one training step needs.

    Attributes:
        inputs: the hash that identifies the result, see `charter.training.identity.hash_inputs`.
        reward: what rewards the answers in ``grpo``: a judge, or the folder of a reward model.
    """

    step: Step
    model: str
    data: Path
    out: Path
    settings: Training
    seed: int
    inputs: str
    reward: RewardJudge | Path | None = None

    @property
    def optimisation(self) -> Optimisation:
        """The settings of this step."""
        return self.settings.settings_of(self.step)

    @property
    def asks_judge(self) -> bool:
        """Whether a judge is asked while it trains."""
        return isinstance(self.reward, RewardJudge)

    def write(self) -> None:
        """Write ``training.yaml`` into the step's folder, from which the step can also be run by hand."""
        values = {
            "step": self.step,
            "model": self.model,
            "data": str(self.data),
            "out": str(self.out),
            "seed": self.seed,
            "inputs": self.inputs,
            "reward": self.reward.to_dict() if isinstance(self.reward, RewardJudge) else str(self.reward or "") or None,
            "settings": self.settings.model_dump(mode="json"),
        }
        write_text_atomic(self.out / CONFIG, yaml.safe_dump(values, sort_keys=False))


def read_job(config: Path) -> Job:
    """Read what `Job.write` wrote.

    Raises:
        TrainingError: it cannot be read, for example because another version of Charter wrote it.
    """
    try:
        values = yaml.safe_load(config.read_text(encoding="utf-8"))
        settings, reward = Training.model_validate(values.pop("settings")), values.pop("reward", None)
        paths = {name: Path(values[name]) for name in ("data", "out")}
        reward = RewardJudge.from_dict(reward) if isinstance(reward, dict) else Path(reward) if reward else None
        return Job(**{**values, **paths, "settings": settings, "reward": reward})
    except (OSError, yaml.YAMLError, ValueError, KeyError, TypeError, AttributeError) as error:
        reason = " ".join(str(error).split())
        raise TrainingError(
            f"training job '{config}': cannot be read: {reason}. Another version of Charter may have written it: use "
            "that version, or train again."
        ) from error


def reward_identity(reward: RewardJudge | Path | None) -> str:
    """The identity of what rewards answers; empty for None."""
    return reward.identity if isinstance(reward, RewardJudge) else hash_start_model(str(reward)) if reward else ""


def is_first_process() -> bool:
    """Whether this process writes the step's files; launchers number processes in RANK."""
    return int(os.environ.get("RANK", "0")) == 0


def read_done(out: Path) -> dict[str, Any] | None:
    """The DONE marker, if all files that it lists are still there in their size."""
    try:
        done: dict[str, Any] = json.loads((out / DONE).read_text(encoding="utf-8"))
        sizes = {name: (out / name).stat().st_size for name in done["files"]}
    except (OSError, ValueError, KeyError):
        return None
    return done if sizes == done["files"] else None


def write_done(job: Job, summary: dict[str, Any]) -> None:
    """Write the DONE marker; call it when nothing else is left to write.

    Raises:
        TrainingError: the folder has no weights.
    """
    files = {path.name: path.stat().st_size for path in model_files(job.out)}
    if not any(name.endswith(".safetensors") for name in files):
        raise TrainingError(f"training step '{job.step}': no weights were written to '{job.out}'. See {LOG} there.")
    write_text_atomic(job.out / DONE, json.dumps({"inputs": job.inputs, "files": files, **summary}, indent=2) + "\n")


def last_checkpoint(out: Path) -> tuple[Path, int] | None:
    """The newest complete checkpoint and its step."""
    checkpoints = []
    # trainer_state.json is written last: a checkpoint without it was being written when the process was killed.
    for state in (out / CHECKPOINTS).glob("checkpoint-*/trainer_state.json"):
        try:
            checkpoints.append((int(json.loads(state.read_text(encoding="utf-8"))["global_step"]), state.parent))
        except (ValueError, KeyError):
            continue
    return (max(checkpoints)[1], max(checkpoints)[0]) if checkpoints else None


def rewind_metrics(out: Path, step: int) -> list[dict[str, Any]]:
    """The metrics up to `step`; the file is cut there, as the steps that follow are done again.

    Of several processes only the first cuts. A file that needs no cut is left alone, as another process may follow it.
    """
    path = out / METRICS
    before = path.read_text(encoding="utf-8") if path.is_file() else ""
    kept = []
    for line in before.splitlines():
        try:
            values = json.loads(line)
        except ValueError:  # cut off by a kill
            break
        if values["step"] > step:  # done again after the last checkpoint
            break
        kept.append(values)
    after = "".join(json.dumps(values) + "\n" for values in kept)
    if after != before and is_first_process():
        write_text_atomic(path, after)
    return kept

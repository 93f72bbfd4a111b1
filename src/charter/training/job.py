"""One training step as a value, and the files by which a folder tells how far it came.

Torch-free: the launcher decides with this what to start, the worker what to continue.

A step's folder is the trained model itself, with beside it ``training.yaml`` (what was asked), ``training.log``,
``metrics.jsonl`` (one line per optimiser step), ``warnings.jsonl`` (what watchdogs saw), ``dropped.parquet`` (rows left
out, with reasons), ``reference.parquet`` (see `charter.training.reference`), ``checkpoints/`` while it runs,
``failure.json`` if it stopped itself, and ``DONE``, written last: its presence is the proof.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import yaml

from charter.config import Optimisation, Training
from charter.core.errors import TrainingError
from charter.core.files import write_text_atomic
from charter.pipeline.judges.reward import RewardJudge
from charter.training.identity import hash_model, model_files
from charter.training.process import is_first

Step = Literal["sft", "dpo", "reward", "grpo"]
STEPS: tuple[Step, ...] = get_args(Step)
"""Each trains one model, in the folder of that name."""

CHECKPOINTS = "checkpoints"
CONFIG, DONE, FAILURE, LOG, METRICS = "training.yaml", "DONE", "failure.json", "training.log", "metrics.jsonl"
WARNINGS, DROPPED, REFERENCE = "warnings.jsonl", "dropped.parquet", "reference.parquet"


@dataclass(frozen=True)
class Job:
    """Everything one training step needs; `inputs` is the hash that says which result this is.

    `reward` is what rewards the answers of ``grpo``: a judge, or the folder of a reward model.
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
        section: Optimisation = getattr(self.settings, self.step)
        return section

    @property
    def asks_judge(self) -> bool:
        """Whether a judge is asked while it trains."""
        return isinstance(self.reward, RewardJudge)

    def write(self) -> None:
        """Put the step's configuration into its folder, from where it can be run again by hand."""
        values = {
            "step": self.step,
            "model": self.model,
            "data": str(self.data),
            "out": str(self.out),
            "seed": self.seed,
            "inputs": self.inputs,
            "reward": self.reward.to_dict() if isinstance(self.reward, RewardJudge) else _text(self.reward),
            "settings": self.settings.model_dump(mode="json"),
        }
        write_text_atomic(self.out / CONFIG, yaml.safe_dump(values, sort_keys=False))


def read_job(config: Path) -> Job:
    """Read what `Job.write` wrote.

    Raises:
        TrainingError: it cannot be read, as where another version of Charter wrote it.
    """
    try:
        values = yaml.safe_load(config.read_text(encoding="utf-8"))
        settings, reward = Training.model_validate(values.pop("settings")), values.pop("reward", None)
        paths = {name: Path(values[name]) for name in ("data", "out")}
        rewarded = RewardJudge.from_dict(reward) if isinstance(reward, dict) else Path(reward) if reward else None
        return Job(**{**values, **paths, "settings": settings, "reward": rewarded})
    except (OSError, yaml.YAMLError, ValueError, KeyError, TypeError, AttributeError) as error:
        why = " ".join(str(error).split())
        raise TrainingError(
            f"training job '{config}': cannot be read: {why}. Another version of Charter may have written it: run "
            "that one, or train again."
        ) from error


def reward_identity(reward: RewardJudge | Path | None) -> str:
    """What tells one reward from another; empty for none."""
    return reward.identity if isinstance(reward, RewardJudge) else hash_model(str(reward)) if reward else ""


def _text(path: Path | None) -> str | None:
    return str(path) if path else None


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
    write_text_atomic(job.out / DONE, json.dumps({"inputs": job.inputs, "files": files, **summary}, indent=2) + "\n")


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
    """The metrics up to `step`; the file is cut back to them, as steps done again must not stand there twice.

    Of several processes that read them the first one cuts, and what is whole is left as it is, as it may be followed.
    """
    path = out / METRICS
    before = path.read_text(encoding="utf-8") if path.is_file() else ""
    kept = []
    for line in before.splitlines():
        try:
            values = json.loads(line)
        except ValueError:
            break
        if values["step"] > step:
            break
        kept.append(values)
    after = "".join(json.dumps(values) + "\n" for values in kept)
    if after != before and is_first():
        write_text_atomic(path, after)
    return kept

"""The trackers that transformers knows by name, beside ``metrics.jsonl``: MLflow's file stands beside the runs."""

import os
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from charter.training.job import Job, write_whole

DATABASE = "mlflow.db"
_RUN = "mlflow-run"


def arguments_of(job: Job) -> dict[str, Any]:
    """What TRL is told of the tracker; each finds the rest in variables of its own, set here where the user has not."""
    if job.settings.tracker == "none":
        return {"report_to": "none"}
    runs = job.out.parent.parent
    os.environ.setdefault("MLFLOW_TRACKING_URI", f"sqlite:///{runs / DATABASE}")
    os.environ.setdefault("MLFLOW_EXPERIMENT_NAME", "charter")
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("TENSORBOARD_LOGGING_DIR", str(runs / "tensorboard" / job.out.parent.name / job.out.name))
    if (job.out / _RUN).is_file():
        os.environ["MLFLOW_RUN_ID"] = (job.out / _RUN).read_text(encoding="utf-8")
    return {"report_to": job.settings.tracker, "run_name": f"{job.out.parent.name}/{job.out.name}"}


class SameRun(TrainerCallback):  # type: ignore[misc]  # transformers is seen as Any
    """A training that was killed and goes on is the same run in MLflow."""

    def __init__(self, out: Path) -> None:
        self._out = out

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """The tracker's own callback stands before this one, and has begun the run."""
        import mlflow

        if (run := mlflow.active_run()) is not None:  # in the process that reports
            write_whole(self._out / _RUN, run.info.run_id)

"""Trackers that transformers supports by name; MLflow's database is in the folder of the runs."""

import os
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from charter.core.files import write_text_atomic
from charter.training.job import Job

DATABASE = "mlflow.db"
_RUN = "mlflow-run"


def tracker_arguments(job: Job) -> dict[str, Any]:
    """TRL's arguments for the tracker. Sets the tracker's environment variables that the user has not set."""
    tracker = job.settings.tracker
    if tracker == "none":
        return {"report_to": "none"}
    for name, value in _variables(job, tracker).items():
        os.environ.setdefault(name, value)
    if tracker == "mlflow" and (run := _started_run(job.out)):
        os.environ["MLFLOW_RUN_ID"] = run
    return {"report_to": tracker, "run_name": _name(job)}


def _variables(job: Job, tracker: str) -> dict[str, str]:
    runs = job.out.parent.parent
    if tracker == "mlflow":
        return {
            "MLFLOW_TRACKING_URI": f"sqlite:///{runs / DATABASE}",
            "MLFLOW_EXPERIMENT_NAME": "charter",
            "MLFLOW_DISABLE_TELEMETRY": "true",
        }
    return {"TENSORBOARD_LOGGING_DIR": str(runs / "tensorboard" / _name(job))} if tracker == "tensorboard" else {}


def _name(job: Job) -> str:
    return f"{job.out.parent.name}/{job.out.name}"


def _started_run(out: Path) -> str | None:
    """The id of the MLflow run that a killed training started, if it still exists."""
    if not (out / _RUN).is_file():
        return None
    import mlflow

    run = (out / _RUN).read_text(encoding="utf-8")
    try:
        mlflow.MlflowClient().get_run(run)
    except mlflow.MlflowException:  # it was deleted, or is in another database
        return None
    return run


class KeepRunId(TrainerCallback):  # type: ignore[misc]  # transformers is seen as Any
    """Keeps the id of the MLflow run, so that a training that is killed and continued stays one run."""

    def __init__(self, out: Path) -> None:
        self._out = out

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Write the id; the tracker's own callback comes before this one, and has started the run."""
        import mlflow

        if (run := mlflow.active_run()) is not None:  # only in the process that reports
            write_text_atomic(self._out / _RUN, run.info.run_id)

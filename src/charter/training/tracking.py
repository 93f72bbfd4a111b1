"""The trackers that transformers knows by name, beside ``metrics.jsonl``: MLflow's file stands beside the runs."""

import os
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from charter.core.files import write_text_atomic
from charter.training.job import Job

DATABASE = "mlflow.db"
_RUN = "mlflow-run"


def arguments_of(job: Job) -> dict[str, Any]:
    """What TRL is told of the tracker, which finds the rest in variables; those that the user set stay."""
    tracker = job.settings.tracker
    if tracker == "none":
        return {"report_to": "none"}
    for name, value in _variables(job, tracker).items():
        os.environ.setdefault(name, value)
    if tracker == "mlflow" and (run := _begun(job.out)):
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


def _begun(out: Path) -> str | None:
    """The run that a training which was killed began in MLflow, if it is still there."""
    if not (out / _RUN).is_file():
        return None
    import mlflow

    run = (out / _RUN).read_text(encoding="utf-8")
    try:
        mlflow.MlflowClient().get_run(run)
    except mlflow.MlflowException:  # another database, or one that was deleted
        return None
    return run


class SameRun(TrainerCallback):  # type: ignore[misc]  # transformers is seen as Any
    """A training that was killed and goes on is the same run in MLflow."""

    def __init__(self, out: Path) -> None:
        self._out = out

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """The tracker's own callback stands before this one, and has begun the run."""
        import mlflow

        if (run := mlflow.active_run()) is not None:  # in the process that reports
            write_text_atomic(self._out / _RUN, run.info.run_id)

"""What a tracker is told by variables; a run of MLflow's that was begun goes on, if it is still there."""

import os
from pathlib import Path

import mlflow
import pytest

from charter.config import Training
from charter.training.job import Job
from charter.training.trainers import KeepRunId, tracker_arguments


@pytest.fixture(autouse=True)
def own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW", "TENSORBOARD"))}
    monkeypatch.setattr(os, "environ", kept)


def job(outputs: Path, tracker: str) -> Job:
    out = outputs / "mine" / "dpo"
    out.mkdir(parents=True, exist_ok=True)
    return Job("dpo", "model", outputs, out, Training.model_validate({"tracker": tracker}), 0, "")


def test_no_tracker_is_told_of_nothing(tmp_path: Path) -> None:
    before = dict(os.environ)
    assert tracker_arguments(job(tmp_path, "none")) == {"report_to": "none"}
    assert os.environ == before


def test_each_tracker_has_its_own_variables_and_the_user_s_come_first(tmp_path: Path) -> None:
    assert tracker_arguments(job(tmp_path, "tensorboard")) == {"report_to": "tensorboard", "run_name": "mine/dpo"}
    assert os.environ["TENSORBOARD_LOGGING_DIR"] == str(tmp_path / "tensorboard" / "mine" / "dpo")
    assert "MLFLOW_TRACKING_URI" not in os.environ
    os.environ["MLFLOW_TRACKING_URI"] = "http://elsewhere"
    tracker_arguments(job(tmp_path, "mlflow"))
    assert os.environ["MLFLOW_TRACKING_URI"] == "http://elsewhere"


def test_a_run_goes_on_and_one_that_is_gone_begins_anew(tmp_path: Path) -> None:
    asked = job(tmp_path, "mlflow")
    tracker_arguments(asked)
    assert "MLFLOW_RUN_ID" not in os.environ
    mlflow.set_tracking_uri(os.environ["MLFLOW_TRACKING_URI"])
    with mlflow.start_run() as run:
        KeepRunId(asked.out).on_train_begin(None, None, None)
    tracker_arguments(asked)
    assert os.environ.pop("MLFLOW_RUN_ID") == run.info.run_id
    mlflow.set_tracking_uri(f"sqlite:///{tmp_path / 'another.db'}")
    tracker_arguments(asked)
    assert "MLFLOW_RUN_ID" not in os.environ

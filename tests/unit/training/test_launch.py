import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from pydantic import ValidationError

from charter.config import Judge, Training
from charter.core.errors import DataError, ModelError, TrainingError
from charter.inference import EngineSpec
from charter.pipeline.judges.reward import RewardJudge
from charter.training.job import Job, read_job
from charter.training.launch import PRESETS, command_for, explain_failure, job_environment, prepare_folder, run_training
from tests.support.training_data import write_sft


def test_launching_needs_no_torch() -> None:
    check = "import sys, charter.training; sys.exit(any(m in sys.modules for m in ('torch', 'transformers', 'trl')))"
    assert (
        subprocess.run([sys.executable, "-c", check], check=False, env={"PYTHONPATH": ":".join(sys.path)}).returncode
        == 0
    )


def test_a_folder_of_other_files_is_not_touched(tmp_path: Path, tiny: Path) -> None:
    out = tmp_path / "thesis"
    out.mkdir()
    (out / "chapter1.txt").write_text("mine")
    with pytest.raises(TrainingError, match="holds files that no training step wrote"):
        run_training("sft", tiny, write_sft(tmp_path / "sft.parquet"), out, Training())
    assert (out / "chapter1.txt").read_text() == "mine"


def test_a_folder_of_another_version_is_one_of_other_inputs(tmp_path: Path) -> None:
    (tmp_path / "training.yaml").write_text("settings: {a_setting_of_later: 1}\ninputs: abc\n")
    (tmp_path / "metrics.jsonl").write_text("{}\n")
    job = Job("sft", "m", Path("d"), tmp_path, Training(), 0, "abc")
    prepare_folder(job)
    assert read_job(tmp_path / "training.yaml") == job
    assert not (tmp_path / "metrics.jsonl").exists()


def test_memory_that_ran_out_beside_the_judge_is_said_with_what_the_judge_takes(tmp_path: Path) -> None:
    (tmp_path / "training.log").write_text("torch.OutOfMemoryError: CUDA out of memory.\n")
    judge = RewardJudge(EngineSpec((), "judge", "sha256:j", "s"), Judge(), tmp_path, 3, None, False)
    job = Job("grpo", "m", Path("d"), tmp_path, Training(), 0, "", judge)
    assert "max_length, or serving.memory_share, what the judge's server has" in explain_failure(job, 1)
    assert "serving" not in explain_failure(replace(job, reward=Path("reward")), 1)


def test_bad_inputs_are_refused_before_anything_starts(tmp_path: Path, tiny: Path) -> None:
    data = write_sft(tmp_path / "sft.parquet")
    with pytest.raises(ModelError, match="no such folder"):
        run_training("sft", tmp_path / "none", data, tmp_path / "out", Training())
    with pytest.raises(DataError, match="no such file"):
        run_training("sft", tiny, tmp_path / "none.parquet", tmp_path / "out", Training())
    with pytest.raises(DataError, match="lacks the column"):
        run_training("dpo", tiny, data, tmp_path / "out", Training())
    with pytest.raises(TrainingError, match=r"'grpo': no reward\. Give a judge, or the folder of a reward model"):
        run_training("grpo", tiny, data, tmp_path / "out", Training())
    with pytest.raises(ModelError, match="no such folder"):
        run_training("grpo", tiny, data, tmp_path / "out", Training(), reward=tmp_path / "none")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("settings", "launcher"),
    [
        ({}, "-m charter.training.worker"),
        (
            {"processes": 2, "distributed": "ddp"},
            "-m torch.distributed.run --standalone --nproc-per-node 2 -m charter.training.worker",
        ),
        (
            {"processes": 2, "distributed": "fsdp2"},
            f"-m accelerate.commands.launch --config_file {PRESETS['fsdp2']} --num_processes 2"
            " -m charter.training.worker",
        ),
        (
            {"processes": 8, "distributed": "zero3"},
            f"-m accelerate.commands.launch --config_file {PRESETS['zero3']} --num_processes 8"
            " -m charter.training.worker",
        ),
        (
            {"processes": 4, "accelerate_config": "/etc/fsdp.yaml"},
            "-m accelerate.commands.launch --config_file /etc/fsdp.yaml --num_processes 4 -m charter.training.worker",
        ),
    ],
    ids=["one", "ddp", "fsdp2", "zero3", "accelerate"],
)
def test_the_launcher_follows_from_the_settings(settings: dict[str, object], launcher: str) -> None:
    job = Job("sft", "m", Path("d"), Path("/o"), Training.model_validate(settings), 0, "")
    assert " ".join(command_for(job)) == f"{sys.executable} -P {launcher} /o/training.yaml"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"processes": 2}, "2 processes need `distributed`: ddp where the model fits on one GPU, else fsdp2 or zero3"),
        (
            {"processes": 2, "distributed": "fsdp2", "accelerate_config": "mine.yaml"},
            "distributed: fsdp2 and accelerate_config both say how to launch; leave one out",
        ),
        (
            {"processes": 2, "distributed": "zero3", "method": "qlora"},
            "in 4 bits in each process, and zero3 would split it; set distributed: ddp, or method: lora",
        ),
    ],
)
def test_a_launch_that_is_not_clear_is_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Training.model_validate(settings)


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_is_what_accelerate_reads(name: str) -> None:
    from accelerate.commands.config.config_args import load_config_from_file

    read = load_config_from_file(str(PRESETS[name]))
    kind = {
        "fsdp2": ("FSDP", "fsdp_config", "fsdp_version", 2),
        "zero3": ("DEEPSPEED", "deepspeed_config", "zero_stage", 3),
    }
    distributed_type, section, key, value = kind[name]
    assert read.distributed_type == distributed_type
    assert getattr(read, section)[key] == value


KEYS = (
    "WANDB_API_KEY",
    "MLFLOW_TRACKING_PASSWORD",
    "JUDGE_KEY",
    "PANEL_KEY",
    "PGPASSWORD",
    "HF_TOKEN",
    "OPENAI_API_KEY",
)


@pytest.mark.parametrize(
    ("model", "tracker", "judged", "passed"),
    [
        ("folder", "none", False, set()),
        ("org/model", "none", False, {"HF_TOKEN"}),
        ("folder", "wandb", False, {"WANDB_API_KEY"}),
        ("folder", "mlflow", False, {"MLFLOW_TRACKING_PASSWORD"}),
        ("folder", "none", True, {"JUDGE_KEY", "PANEL_KEY", "PGPASSWORD"}),
    ],
    ids=["none", "hub", "wandb", "mlflow", "judge"],
)
def test_a_training_process_gets_the_keys_that_it_needs(
    model: str, tracker: str, judged: bool, passed: set[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in KEYS:
        monkeypatch.setenv(name, "secret")
    member = {
        "name": "one",
        "kind": "choice",
        "model": "m",
        "base_urls": ["http://10.0.0.7:8000/v1"],
        "api_key_env": "PANEL_KEY",
    }
    settings = Judge.model_validate({"kind": "panel", "panel": [member, {"name": "two", "kind": "score"}]})
    engine = EngineSpec(
        ("http://127.0.0.1:8000/v1",), "judge", "sha256:j", "postgresql://me@host/db", api_key_env="JUDGE_KEY"
    )
    reward = RewardJudge(engine, settings, tmp_path) if judged else None
    place = str(tmp_path) if model == "folder" else model
    job = Job("grpo", place, Path("d"), tmp_path, Training.model_validate({"tracker": tracker}), 0, "", reward)
    assert {name for name in KEYS if name in job_environment(job)} == passed

import json
import shutil
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from charter.config import Training
from charter.errors import ModelError, TrainingError
from charter.training.identity import hash_inputs, hash_model
from charter.training.job import (
    Job,
    last_checkpoint,
    read_done,
    read_job,
    rewind_metrics,
    write_done,
)
from tests.training_data import write_pairs


def settings(**dpo: Any) -> Training:
    return Training.model_validate({"dpo": dpo})


def a_job(out: Path, model: Path) -> Job:
    return Job("dpo", str(model), out / "pairs.parquet", out, settings(epochs=2.5), 3, "abc")


def test_a_job_is_read_as_it_was_written(tmp_path: Path, tiny: Path) -> None:
    job = a_job(tmp_path, tiny)
    job.write()
    assert read_job(tmp_path / "training.yaml") == job


def test_what_changes_a_result_changes_its_hash(tmp_path: Path, tiny: Path) -> None:
    data = write_pairs(tmp_path / "pairs.parquet")
    other_model = tmp_path / "model"
    shutil.copytree(tiny, other_model)
    (other_model / "chat_template.jinja").write_text("{{ messages }}")
    hashes = {
        hash_inputs("dpo", str(tiny), data, settings(), 0),
        hash_inputs("dpo", str(tiny), data, settings(), 1),
        hash_inputs("dpo", str(tiny), data, settings(beta=0.2), 0),
        hash_inputs("dpo", str(tiny), data, settings(loss="ipo"), 0),
        hash_inputs("dpo", str(tiny), data, Training(method="lora"), 0),
        hash_inputs("dpo", str(tiny), write_pairs(tmp_path / "more.parquet", seed=1), settings(), 0),
        hash_inputs("dpo", str(other_model), data, settings(), 0),
    }
    assert len(hashes) == 7


def test_what_does_not_change_a_result_does_not(tmp_path: Path, tiny: Path) -> None:
    data = write_pairs(tmp_path / "pairs.parquet")
    before = hash_inputs("dpo", str(tiny), data, settings(), 0)
    shards, elsewhere = tmp_path / "shards", tmp_path / "elsewhere"
    shards.mkdir()
    table = pq.read_table(data)
    pq.write_table(table.slice(0, 7), shards / "0.parquet", compression="zstd")
    pq.write_table(table.append_column("seed", table["p_chosen"]).slice(7), shards / "1.parquet")
    shutil.copytree(tiny, elsewhere)
    (elsewhere / "metrics.jsonl").write_text("{}\n")
    changed = Training.model_validate({"sft": {"epochs": 9}, "dpo": {"save_steps": 3}, "watch": "stop"})
    assert hash_inputs("dpo", str(elsewhere), shards, changed, 0) == before


def test_a_model_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no such folder"):
        hash_model(str(tmp_path / "none"))
    with pytest.raises(ModelError, match=r"holds no config.json"):
        hash_model(str(tmp_path))
    assert hash_model("someone/model") == "hub:someone/model"


def test_done_vouches_only_for_a_whole_model(tmp_path: Path, tiny: Path) -> None:
    job = a_job(tmp_path / "out", tiny)
    shutil.copytree(tiny, job.out)
    assert read_done(job.out) is None
    write_done(job, {"steps": 7})
    done = read_done(job.out)
    assert done is not None
    assert (done["inputs"], done["steps"]) == ("abc", 7)
    with (job.out / "model.safetensors").open("ab") as file:
        file.truncate(100)
    assert read_done(job.out) is None
    (job.out / "model.safetensors").unlink()
    assert read_done(job.out) is None
    with pytest.raises(TrainingError, match="no weights were written"):
        write_done(job, {})


def test_a_checkpoint_that_was_being_written_is_not_continued_from(tmp_path: Path) -> None:
    assert last_checkpoint(tmp_path) is None
    for step in (5, 10, 20):
        (tmp_path / "checkpoints" / f"checkpoint-{step}").mkdir(parents=True)
    for step in (5, 10):
        (tmp_path / "checkpoints" / f"checkpoint-{step}" / "trainer_state.json").write_text(
            f'{{"global_step": {step}}}'
        )
    assert last_checkpoint(tmp_path) == (tmp_path / "checkpoints" / "checkpoint-10", 10)
    (tmp_path / "checkpoints" / "checkpoint-20" / "trainer_state.json").write_text('{"global_st')
    assert last_checkpoint(tmp_path) == (tmp_path / "checkpoints" / "checkpoint-10", 10)


def test_metrics_after_the_checkpoint_are_forgotten(tmp_path: Path) -> None:
    lines = [json.dumps({"step": step, "loss": 1.0 / step}) for step in range(1, 8)]
    (tmp_path / "metrics.jsonl").write_text("\n".join(lines) + '\n{"step": 8, "lo')
    assert [line["step"] for line in rewind_metrics(tmp_path, 5)] == [1, 2, 3, 4, 5]
    assert (tmp_path / "metrics.jsonl").read_text() == "\n".join(lines[:5]) + "\n"
    assert rewind_metrics(tmp_path, 0) == []

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from charter.config import Judge, Training
from charter.core.errors import ModelError, TrainingError
from charter.inference import EngineSpec
from charter.pipeline.judges.reward import RewardJudge
from charter.training.identity import hash_inputs, hash_start_model
from charter.training.job import (
    Job,
    last_checkpoint,
    read_done,
    read_job,
    reward_identity,
    rewind_metrics,
    write_done,
)
from tests.support.training_data import write_pairs, write_rl_prompts


def settings(**dpo: Any) -> Training:
    return Training.model_validate({"dpo": dpo})


def a_job(out: Path, model: Path) -> Job:
    return Job("dpo", str(model), out / "pairs.parquet", out, settings(epochs=2.5), 3, "abc")


@pytest.mark.parametrize("text", ["settings: {no_such_setting: 1}", "- 1", "settings: {", "step: sft"])
def test_a_job_of_another_version_is_refused_in_plain_words(tmp_path: Path, text: str) -> None:
    (tmp_path / "training.yaml").write_text(text)
    with pytest.raises(TrainingError, match=r"training job '.*training\.yaml': cannot be read: .*Another version"):
        read_job(tmp_path / "training.yaml")


def test_a_job_is_read_as_it_was_written(tmp_path: Path, tiny: Path) -> None:
    job = a_job(tmp_path, tiny)
    job.write()
    assert read_job(tmp_path / "training.yaml") == job


def a_judge(folder: Path, url: str = "http://127.0.0.1:1/v1") -> RewardJudge:
    (folder / "law.md").write_text("---\nname: law\n---\n## One {#one}\nBe kind.\n")
    spec = EngineSpec((url,), "judge", "sha256:j", "store.sqlite", special_tokens=("<|end|>",))
    return RewardJudge(spec, Judge(kind="score", tags=("kind",)), folder / "law.md", 3, folder, True)


def test_a_job_with_a_reward_is_read_as_it_was_written(tmp_path: Path, tiny: Path) -> None:
    for reward in (a_judge(tmp_path), tmp_path / "reward"):
        job = replace(a_job(tmp_path, tiny), step="grpo", reward=reward)
        job.write()
        assert read_job(tmp_path / "training.yaml") == job


def test_the_reward_is_part_of_a_result_and_where_its_judge_is_served_is_not(tmp_path: Path, tiny: Path) -> None:
    data, judge = write_rl_prompts(tmp_path / "prompts.parquet"), a_judge(tmp_path)

    def identity(reward: RewardJudge | Path) -> str:
        return hash_inputs("grpo", str(tiny), data, settings(), 0, reward_identity(reward))

    assert identity(judge) == identity(a_judge(tmp_path, "http://127.0.0.1:2/v1"))
    others = [
        replace(judge, engine=replace(judge.engine, identity="sha256:k")),
        replace(judge, settings=Judge(kind="score", tags=("kind",), principles=1)),
        replace(judge, seed=4),
        replace(judge, preface=False),
    ]
    hashes = {identity(judge), identity(tiny), *map(identity, others)}
    (tmp_path / "score.md.j2").write_text("{{ answer }}")
    hashes.add(identity(judge))
    (tmp_path / "law.md").write_text("---\nname: law\n---\n## One {#one}\nBe very kind.\n")
    hashes.add(identity(judge))
    assert len(hashes) == 8


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
    others = {"sft": {"epochs": 9}, "dpo": {"save_steps": 3}, "grpo": {"epochs": 2}, "reward": {"epochs": 2}}
    changed = Training.model_validate({**others, "preference": "grpo", "watch": "stop"})
    assert hash_inputs("dpo", str(elsewhere), shards, changed, 0) == before


def test_an_accelerate_configuration_counts_by_what_it_says(tmp_path: Path, tiny: Path) -> None:
    data = write_pairs(tmp_path / "pairs.parquet")

    def identity(name: str, text: str) -> str:
        (tmp_path / name).write_text(text)
        mine = Training.model_validate({"processes": 2, "accelerate_config": str(tmp_path / name)})
        return hash_inputs("dpo", str(tiny), data, mine, 0)

    said = "distributed_type: FSDP\nnum_processes: 2\n"
    assert identity("one.yaml", said) == identity("other.yaml", f"# mine\n{said}main_process_ip: 10.0.0.7\n")
    assert identity("one.yaml", said) != identity("one.yaml", f"{said}mixed_precision: bf16\n")
    none = Training.model_validate({"accelerate_config": str(tmp_path / "none.yaml")})
    with pytest.raises(TrainingError, match=r"accelerate_config '.*none\.yaml': cannot be read"):
        hash_inputs("dpo", str(tiny), data, none, 0)


def test_a_model_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no such folder"):
        hash_start_model(str(tmp_path / "none"))
    with pytest.raises(ModelError, match=r"has no config.json"):
        hash_start_model(str(tmp_path))
    assert hash_start_model("someone/model") == "hub:someone/model"


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


def test_metrics_are_cut_by_the_first_process_and_only_where_there_is_something_to_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1}\n{"step": 2}\n')
    file = path.stat().st_ino
    assert len(rewind_metrics(tmp_path, 2)) == 2
    assert path.stat().st_ino == file  # the very file, which somebody may follow
    monkeypatch.setenv("RANK", "1")
    assert len(rewind_metrics(tmp_path, 1)) == 1
    assert path.read_text() == '{"step": 1}\n{"step": 2}\n'
    monkeypatch.setenv("RANK", "0")
    assert len(rewind_metrics(tmp_path, 1)) == 1
    assert path.read_text() == '{"step": 1}\n'

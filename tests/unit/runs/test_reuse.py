"""A finished dataset as another run's beginning."""

import json
import os
import sys
from pathlib import Path

import pytest

from charter.config import Config, Generation, Training
from charter.constitution import load_kept_constitution
from charter.core.errors import ConfigError
from charter.core.hardware import gpus
from charter.core.messages import Messages
from charter.data.shards import read_rows
from charter.inference.completion import Sampling
from charter.runs.preflight import check_config, check_method
from charter.runs.reuse import check_training, take_dataset, with_dataset
from tests.support.scripted_run import make_run

LAW = "---\nname: law\n---\n## Kind\nBe kind.\n"


def answer(messages: Messages, sampling: Sampling) -> str | float:
    """Every first answer is bad and every revision good, as the judge finds too."""
    asked = messages[-1]["content"]
    if sampling.choices:
        return 0.9 if "<answer_a>\ngood" in asked else 0.1
    if asked.startswith("Critique"):
        return f"Verdict: {'violated' if messages[-2]['content'].startswith('bad') else 'respected'}"
    return "good answer" if asked.startswith("Rewrite") else "bad answer"


@pytest.fixture
def made(tmp_path: Path) -> Path:
    prompts = [{"id": f"r{i}", "prompt": f"Question {i:02d}?"} for i in range(12)]
    return make_run(tmp_path, LAW, prompts, answer, sft_share=0.25)


def test_what_made_the_data_is_the_dataset_s_and_the_rest_the_run_s(made: Path, tmp_path: Path) -> None:
    own = Config(
        name="again", outputs=tmp_path, seed=7, generation=Generation(rounds=9), training=Training(lora_rank=4)
    )
    merged = with_dataset(own, made)
    assert merged.generation.rounds == 2
    assert merged.constitution == tmp_path / "law.md"
    assert merged.training.sft_share == 0.25
    assert (merged.name, merged.seed, merged.training.lora_rank) == ("again", 7, 4)


def test_rounds_that_would_make_data_are_refused(made: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"training.rounds '2': .* or run `charter align`"):
        check_training(Config(name="again", outputs=tmp_path, training=Training(rounds=2)), made)


def test_a_tracker_that_is_not_there_is_told_before_anything_is_trained(made: Path, tmp_path: Path) -> None:
    config = Config(name="again", outputs=tmp_path, training=Training(tracker="comet_ml"))
    for look in (lambda: check_config(config), lambda: check_training(config, made)):
        with pytest.raises(ConfigError, match=r"training.tracker 'comet_ml': .* Run `pip install comet-ml`"):
            look()


@pytest.mark.skipif(bool(gpus()), reason="a GPU is here")
def test_four_bits_without_a_gpu_are_told_before_anything_is_trained(made: Path, tmp_path: Path) -> None:
    config = Config(name="again", outputs=tmp_path, training=Training(method="qlora"))
    for look in (lambda: check_config(config), lambda: check_training(config, made)):
        with pytest.raises(ConfigError, match=r"training.method 'qlora': no GPU .* Set training.method=lora"):
            look()


def test_four_bits_without_bitsandbytes_name_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    driver = tmp_path / "nvidia-smi"
    driver.write_text("#!/bin/sh\necho 'GPU 0: A card (UUID: GPU-1)'\n")
    driver.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(sys, "path", [])  # nothing that is not loaded yet can be found
    monkeypatch.delitem(sys.modules, "bitsandbytes", raising=False)
    gpus.cache_clear()
    try:
        with pytest.raises(ConfigError, match=r"bitsandbytes is not installed .* `pip install .*\[qlora\]'`"):
            check_method(Training(method="qlora"))
    finally:
        gpus.cache_clear()


def test_the_data_is_copied_with_its_manifest_and_what_was_there_goes(made: Path, tmp_path: Path) -> None:
    config = with_dataset(Config(name="again", outputs=tmp_path), made)
    (config.run_folder / "answers").mkdir(parents=True)
    (config.run_folder / "gate.json").write_text("{}")
    take_dataset(config, made)
    take_dataset(config, made)  # as a run does that was ended and started again
    for name in ("pairs", "sft_data", "revisions"):
        assert list(read_rows(config.run_folder / name)) == list(read_rows(made / name))
    assert load_kept_constitution(config.run_folder) == load_kept_constitution(made)
    assert json.loads((config.run_folder / "dataset.json").read_text())["run"] == "run"
    assert not (config.run_folder / "manifest.json").exists()
    assert not (config.run_folder / "gate.json").exists()
    assert not (config.run_folder / "answers").exists()


def test_a_dataset_that_is_not_finished_is_refused(made: Path, tmp_path: Path) -> None:
    (made / "manifest.json").unlink()
    with pytest.raises(ConfigError, match=r"no finished run with data \(it has no manifest.json\)"):
        with_dataset(Config(name="again", outputs=tmp_path), made)
    with pytest.raises(ConfigError, match=r"it has no config\.yaml"):
        with_dataset(Config(name="again", outputs=tmp_path), tmp_path / "none")


def test_a_run_does_not_write_over_its_own_dataset(made: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"name 'run': that is the dataset's own folder.*name=run-1"):
        with_dataset(Config(name="run", outputs=tmp_path), made)

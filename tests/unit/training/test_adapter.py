"""The adapter that is kept beside merged weights: of one step, and of two in a row, it is what was merged."""

from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from charter.config import Training
from charter.inference.server.adapters import find_adapter
from charter.training import models
from charter.training.job import Job, Step
from tests.support.training_build import build_job, stir
from tests.support.training_data import write_pairs, write_sft

SECTION = {"batch_size": 8, "max_length": 200}
IDS = torch.tensor([[5, 17, 40, 99, 120, 33, 8]])


def step(name: Step, model: Path, folder: Path, method: str = "lora") -> Path:
    """A step whose adapters are moved far, in place of training."""
    data = (write_sft if name == "sft" else write_pairs)(folder / f"{name}.parquet", 8)
    settings = Training.model_validate({"method": method, "lora_rank": 4, "sft": SECTION, "dpo": SECTION})
    job = Job(name, str(model), data, folder / name, settings, 0, "")
    trainer, _, _ = build_job(job)
    stir(trainer.model)
    models.save(trainer, job)
    return job.out


@torch.no_grad()
def log_probabilities(model: torch.nn.Module) -> torch.Tensor:
    found: torch.Tensor = model(IDS).logits.log_softmax(-1)
    return found


def load(folder: Path) -> torch.nn.Module:
    model: torch.nn.Module = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    return model


def test_the_adapters_of_two_steps_are_one_of_the_first_model(tiny: Path, tmp_path: Path) -> None:
    sft = step("sft", tiny, tmp_path)
    dpo = step("dpo", sft, tmp_path)
    start = log_probabilities(load(tiny))
    for folder, rank in ((sft, 4), (dpo, 8)):
        adapter = find_adapter(folder)
        assert adapter is not None and (adapter.base, adapter.rank) == (str(tiny), rank)
        merged = log_probabilities(load(folder))
        assert torch.allclose(log_probabilities(models.attach_adapter(load(tiny), adapter.folder)), merged, atol=1e-4)
        assert (merged - start).abs().max() > 0.1
    assert (log_probabilities(load(sft)) - log_probabilities(load(dpo))).abs().max() > 0.1


def test_full_training_leaves_no_adapter(tiny: Path, tmp_path: Path) -> None:
    assert find_adapter(step("sft", tiny, tmp_path, "full")) is None


@pytest.mark.parametrize("name", ["sft", "dpo"])
def test_adapters_beside_four_bits_are_merged_into_the_whole_weights(tiny: Path, tmp_path: Path, name: Step) -> None:
    bitsandbytes = pytest.importorskip("bitsandbytes")
    data = (write_sft if name == "sft" else write_pairs)(tmp_path / "data.parquet", 32)
    section = {"batch_size": 8, "learning_rate": 5e-3, "max_length": 200, "epochs": 2}
    # Without a GPU, bitsandbytes packs weights at the first forward pass outside training, and has no gradient then.
    dpo = {**section, "precompute_reference": torch.cuda.is_available()}
    settings = Training.model_validate({"method": "qlora", "lora_rank": 4, "watch": "off", "sft": section, "dpo": dpo})
    job = Job(name, str(tiny), data, tmp_path / "out", settings, 0, "")
    trainer, _, _ = build_job(job)
    assert any(isinstance(part, bitsandbytes.nn.Linear4bit) for part in trainer.model.modules())
    trainer.train()
    losses = [line["loss"] for line in trainer.state.log_history if "loss" in line]
    assert losses[-1] < losses[0]
    models.save(trainer, job)
    adapter = find_adapter(job.out)
    assert adapter is not None
    merged, start = load(job.out), load(tiny)
    assert merged.state_dict().keys() == start.state_dict().keys()
    assert (log_probabilities(merged) - log_probabilities(start)).abs().max() > 0.01
    assert torch.allclose(
        log_probabilities(models.attach_adapter(start, adapter.folder)), log_probabilities(merged), atol=1e-3
    )

from pathlib import Path

import pytest

from charter.config import Training
from charter.training import models
from charter.training.job import Job
from tests.support.tiny_model import make_tiny_model
from tests.support.training_build import build_reward, train_job
from tests.support.training_data import separable, write_sft


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_model(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="session")
def speaking(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model after SFT: it says "You", a few of the words, and ends."""
    folder = tmp_path_factory.mktemp("speaking")
    sft = {"epochs": 6, "batch_size": 16, "learning_rate": 5e-3, "max_length": 256}
    data = write_sft(folder / "sft.parquet", 192)
    job = Job("sft", str(tiny), data, folder / "sft", Training.model_validate({"sft": sft}), 0, "")
    train_job(job)
    return job.out


@pytest.fixture(scope="session")
def ranker(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A reward model that has learnt which words are better."""
    settings = {"epochs": 4, "batch_size": 16, "learning_rate": 3e-3}
    trainer, _, job = build_reward(tiny, tmp_path_factory.mktemp("ranker"), separable(128), **settings)
    trainer.train()
    models.save(trainer, job)
    return job.out

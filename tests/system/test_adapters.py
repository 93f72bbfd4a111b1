"""SFT and DPO with adapters on the sandbox, served by one real vLLM: each says what its merged weights say."""

from pathlib import Path

import pytest

from charter.config import Serving, Training
from charter.core.errors import ModelError
from charter.inference import model_identity
from charter.inference.server.fleet import serve_all
from charter.publishing.comparison import QUESTIONS, ask_greedily, compare_with_source
from charter.publishing.source import ExportSource
from charter.sandbox import MODEL
from charter.training import run_training
from tests.support.training_data import write_pairs, write_sft

pytestmark = [pytest.mark.system, pytest.mark.slow, pytest.mark.timeout(1800)]

SECTION = {"batch_size": 8, "learning_rate": 5e-3, "max_length": 400}


def test_adapters_in_one_server_say_what_the_merged_models_say(tmp_path: Path) -> None:
    settings = Training.model_validate({"method": "lora", "lora_rank": 8, "sft": SECTION, "dpo": SECTION})
    sft = run_training("sft", MODEL, write_sft(tmp_path / "sft.parquet", 96), tmp_path / "sft", settings).model
    dpo = run_training("dpo", sft, write_pairs(tmp_path / "pairs.parquet", 96), tmp_path / "dpo", settings).model
    models, told = {"base": MODEL, "sft": sft, "dpo": dpo}, list[str]()
    with serve_all(models, Serving(adapters=True), tmp_path / "logs", told.append) as served:
        answers = {name: ask_greedily(one, QUESTIONS) for name, one in served.items()}

    assert not [line for line in told if "does not serve adapters" in line], told
    assert len({one.pid for one in served.values()}) == 1
    assert served["base"].identity == model_identity(MODEL)
    assert len({one.identity for one in served.values()} | {model_identity(model) for model in models.values()}) == 5
    for name, model in models.items():
        compared = compare_with_source(ExportSource(model), answers[name])  # refuses what is more than rounding
        assert compared.n == len(QUESTIONS)
        for other in models.keys() - {name}:
            with pytest.raises(ModelError, match="answers differently"):
                compare_with_source(ExportSource(models[other]), answers[name])

"""Exported models on real vLLM: what is served is what the source says, and what differs is refused."""

import json
from pathlib import Path

import pytest
from transformers import AutoModelForCausalLM
from typer.testing import CliRunner

from charter.cli.app import app
from charter.config import Training
from charter.core.errors import ModelError
from charter.inference import Served
from charter.publishing.comparison import QUESTIONS, ask_greedily, compare_with_source
from charter.publishing.source import ExportSource
from charter.sandbox import MODEL
from charter.training import models
from tests.support.training_build import stir

pytestmark = pytest.mark.system


@pytest.fixture(scope="module")
def adapter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A LoRA adapter of the sandbox's model."""
    from peft import get_peft_model

    folder = tmp_path_factory.mktemp("adapter")
    adapters = models.adapters(Training(method="lora", lora_rank=4))
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(MODEL, dtype="float32"), adapters)
    stir(model)
    model.save_pretrained(folder)
    return folder


def test_what_vllm_serves_is_told_from_another_model(sandbox_server: Served, adapter: Path) -> None:
    answers = ask_greedily(sandbox_server, QUESTIONS)
    compared = compare_with_source(ExportSource(MODEL), answers)
    assert (compared.n, compared.same) == (len(QUESTIONS), len(QUESTIONS))
    with pytest.raises(ModelError, match="its export answers differently"):
        compare_with_source(ExportSource(adapter, str(MODEL)), answers)


@pytest.mark.slow
def test_a_merged_adapter_is_served_and_says_what_it_said_before(adapter: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = CliRunner().invoke(app, ["export-model", str(adapter), str(out), "--json"])
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert told["compared"]["n"] == len(QUESTIONS) and told["compared"]["gap"] <= told["compared"]["allowed"]
    assert "greedy answers served by vLLM are token for token" in (out / "README.md").read_text()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out"]

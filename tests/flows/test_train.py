"""The train flow on real Prefect: a dataset made before, real training processes, and a stand-in for vLLM."""

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterName

from charter.config import Config
from charter.core.errors import ConfigError
from charter.testing.null_server import NullServer
from charter.training.token_rewards import read_token_report
from flows.dataset import dataset
from flows.train import train
from tests.flows.conftest import completed_tasks
from tests.support.stand_in import write_stand_in

HELD_OUT = {"n_harmful": 8, "n_benign": 4, "n_borderline": 2, "n_facts": 2}


def config(outputs: Path, url: str, name: str, **sections: Any) -> Config:
    return Config.model_validate(
        {
            "name": name,
            "outputs": str(outputs),
            "prompts": {"n": 40},
            "serving": {"base_urls": [url], "python": write_stand_in(outputs)},
            "generation": {"rounds": 1},
            "judge": {"principles": 1, "tie_margin": 0.0},
            "evaluation": {**HELD_OUT, "probes": {"n_pressed": 0, "n_insisted": 0, "n_unknown": 0, "n_paired": 0}},
            **sections,
        }
    )


@pytest.mark.slow
@pytest.mark.system
async def test_models_are_trained_on_a_dataset_that_another_run_made(
    prefect_server: None, model_server: NullServer, tmp_path: Path
) -> None:
    await dataset(config(tmp_path, model_server.url, "data"))
    asked = model_server.counts["requests"]
    other = config(
        tmp_path, model_server.url, "trained", constitution="constitutions/no-such.md", generation={"rounds": 9}
    )
    verdict = await train(other, tmp_path / "data")

    assert model_server.counts["requests"] == asked + sum(HELD_OUT.values())  # nothing was made again
    made, trained = tmp_path / "data", tmp_path / "trained"
    for name in ("pairs", "sft_data", "responses"):
        assert pl.read_parquet(trained / name / "*.parquet").equals(pl.read_parquet(made / name / "*.parquet"))
    assert all((trained / step / "DONE").is_file() for step in ("sft", "dpo"))
    assert list(json.loads((trained / "evaluation.json").read_text())["models"]) == ["base", "sft", "dpo"]
    assert verdict.model == "dpo"

    heat = read_token_report(trained / "tokens")
    assert heat is not None and not heat.problem
    assert (heat.model, heat.reference, heat.scored > 0) == ("dpo", "sft", True)
    assert [found.name for found in heat.divergence] == ["sft", "base"]
    assert "What training changed, token by token" in (trained / "report.html").read_text()
    named = FlowRunFilter(name=FlowRunFilterName(any_=["train-trained"]))
    made = ("responses", "revisions", "sft_data", "pairs", "sft", "dpo", "evaluation.json")
    tasks = await completed_tasks(named, len(made))
    assert [name for name in tasks if name.startswith("asset-")] == sorted(f"asset-{name}" for name in made)

    manifest = json.loads((trained / "manifest.json").read_text())
    source = json.loads((trained / "dataset.json").read_text())
    assert list(manifest["stages"]) == ["answer base", "answer sft", "answer dpo"]
    assert manifest["constitution"] == source["constitution"]
    assert source == json.loads((made / "manifest.json").read_text())
    command = json.loads((trained / "report.json").read_text())["command"]
    assert command == f"python -m flows.train {trained / 'config.yaml'} name=trained-again dataset={made}"
    assert (trained / "MODEL_CARD.md").is_file()


async def test_a_folder_without_a_dataset_fails_the_flow_before_anything_is_made(
    prefect_server: None, model_server: NullServer, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="no finished run with data"):
        await train(config(tmp_path, model_server.url, "trained"), tmp_path / "nothing")
    assert not (tmp_path / "trained").exists()


@pytest.mark.slow
@pytest.mark.system
async def test_grpo_takes_the_place_of_dpo(prefect_server: None, model_server: NullServer, tmp_path: Path) -> None:
    """With the judge as the reward, which the training process asks by itself; the verdict is on its model."""
    await dataset(config(tmp_path, model_server.url, "data"))
    asked = model_server.counts["requests"]
    steps = {"sft": {"epochs": 0.1}, "grpo": {"epochs": 0.2, "group": 4, "batch_size": 8, "max_tokens": 48}}
    trained = config(tmp_path, model_server.url, "trained", training={"preference": "grpo", **steps})
    verdict = await train(trained, tmp_path / "data")

    folder = trained.run_folder
    assert verdict.model == "grpo"
    assert list(json.loads((folder / "evaluation.json").read_text())["models"]) == ["base", "sft", "grpo"]
    assert not (folder / "dpo").exists()
    (line, *_) = [json.loads(line) for line in (folder / "grpo" / "metrics.jsonl").read_text().splitlines()]
    assert 0 < line["reward"] < 1 and line["rewards/missing"] < 1
    assert model_server.counts["requests"] > asked + sum(HELD_OUT.values())
    assert "GRPO" in (folder / "report.html").read_text()

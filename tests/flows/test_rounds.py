"""A round after the first on real Prefect: a real training process, and a stand-in for vLLM that answers."""

import json
from pathlib import Path

import polars as pl
import pytest
from prefect import flow

from charter.config import Config
from charter.pipeline.counts import StageCount
from charter.runs.folder import start_run
from charter.sandbox import MODEL
from charter.testing.null_server import NullServer
from flows.lib.flow_run import open_flow_run
from flows.lib.training import LaterRounds, align_again
from tests.support.stand_in import write_stand_in

HELD_OUT = {"n_harmful": 8, "n_benign": 4, "n_borderline": 2, "n_facts": 2}


def config(outputs: Path, url: str, strategies: dict[str, float]) -> Config:
    return Config.model_validate(
        {
            "name": "run",
            "outputs": str(outputs),
            "prompts": {"n": 40},
            "serving": {"base_urls": [url], "python": write_stand_in(outputs)},
            "generation": {"rounds": 1},
            "pairs": {"strategies": strategies, "answers_per_prompt": 2},
            "judge": {"principles": 1, "tie_margin": 0.0},
            "training": {"rounds": 2},
            "evaluation": {
                **HELD_OUT,
                "probes": {"n_pressed": 0, "n_insisted": 0, "n_unknown": 0, "n_paired": 0},
                "adherence": {"scenarios": "off"},
            },
        }
    )


@flow
async def second_round(config: Config) -> LaterRounds:
    """What the flow align does between the evaluation of its first round and that of all."""
    with open_flow_run(config) as run:
        start_run(config)
        return await align_again(run, MODEL)


@pytest.mark.system
async def test_the_model_answers_again_and_dpo_goes_on_from_it(
    prefect_server: None, model_server: NullServer, tmp_path: Path
) -> None:
    made = config(tmp_path, model_server.url, {"on-policy": 1})
    again = await second_round(made)
    folder = made.run_folder

    assert list(again.models) == ["dpo-round-2"]
    assert [count.stage for count in again.counts] == [
        *("round 2: prompts", "round 2: respond", "round 2: revise", "round 2: sample", "round 2: judge"),
        "answer dpo-round-2",
    ]
    assert json.loads((folder / "dpo-round-2" / "DONE").read_text())["rows_used"] > 0
    pairs = pl.read_parquet(folder / "rounds" / "2" / "pairs" / "*.parquet")
    assert set(pairs["strategy"]) == {"on-policy"}
    assert pl.read_parquet(folder / "answers" / "dpo-round-2.parquet").height == sum(HELD_OUT.values())
    manifest = json.loads((folder / "rounds" / "2" / "manifest.json").read_text())
    assert list(manifest["models"]) == ["base", "current"]

    asked = model_server.counts["requests"]
    repeated = await second_round(made)  # as after a kill: all of it is there
    assert model_server.counts["requests"] == asked
    assert sum(count.calls for count in repeated.counts) == 0


async def test_a_round_without_pairs_is_the_last(
    prefect_server: None, model_server: NullServer, tmp_path: Path
) -> None:
    again = await second_round(config(tmp_path, model_server.url, {"revision": 1}))  # no critique finds fault
    assert again.models == {}
    judged: StageCount = again.counts[-1]
    assert (judged.stage, judged.rows_out) == ("round 2: judge", 0) and judged.failed > 5
    assert not (tmp_path / "run" / "dpo-round-2").exists()

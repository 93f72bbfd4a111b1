"""The evaluate flow on real Prefect: endpoints measured, compared and reported, and nothing trained."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from prefect import flow

from charter.config import Config
from charter.core.errors import ConfigError
from charter.core.messages import Message
from charter.evaluation.adherence.scenarios import load_scenarios
from charter.evaluation.requests import load_requests
from charter.runs.verdict import answer_held_out
from charter.testing.null_server import NullServer, run_null_server
from flows.evaluate import evaluate
from flows.lib.flow_run import open_flow_run
from flows.lib.serving import serve_base
from flows.lib.tasks import grade_and_measure

ASKED = {"n_harmful": 10, "n_benign": 5, "n_borderline": 5, "n_facts": 4}
SCENARIOS = {"per_situation": 1}
FURTHER = {"n_pressed": 2, "n_insisted": 3, "n_unknown": 4, "n_paired": 1}


@pytest.fixture
def other_server() -> Iterator[NullServer]:
    with run_null_server(NullServer(model_name="other")) as server:
        yield server


def config(outputs: Path, url: str, **sections: Any) -> Config:
    given = {"name": "evaluated", "outputs": str(outputs), "serving": {"base_urls": [url]}}
    given["evaluation"] = {**ASKED, "probes": FURTHER, "adherence": SCENARIOS}
    return Config.model_validate(given | sections)


def read(folder: Path, name: str) -> Any:
    return json.loads((folder / name).read_text())


async def test_an_endpoint_is_compared_with_a_base(
    prefect_server: None, model_server: NullServer, other_server: NullServer, tmp_path: Path
) -> None:
    settings = config(tmp_path, model_server.url)
    verdict = await evaluate(settings, other_server.url)
    folder = tmp_path / "evaluated"
    evaluation = read(folder, "evaluation.json")
    assert list(evaluation["models"]) == ["base", "model"]
    assert [(c["from"], c["to"]) for c in evaluation["comparisons"]] == [("base", "model")]
    assert verdict.model == "model"
    assert "accuracy_drop" in [check.name for check in verdict.checks]
    scenarios = {scenario.prompt for scenario in load_scenarios(settings)}
    held_out = {request.prompt for request in load_requests(settings.evaluation, settings.seed)}
    # A scenario that is a held-out request as well is answered once
    asked = sum(ASKED.values()) + 5 * 2 + 3 + 4 + 2 * 1 + len(scenarios - held_out)
    assert model_server.counts["requests"] == other_server.counts["requests"] == asked
    assert evaluation["models"]["model"]["harmful_rate_prefilled"]["n"] == 2
    assert evaluation["comparisons"][0]["measures"]["kept_right_rate"]["n"] == 3

    manifest = read(folder, "manifest.json")
    assert manifest["constitution"] is None
    assert manifest["models"] == {"base": "served:other@unknown", "model": "served:null@unknown"}
    assert list(manifest["stages"]) == ["answer base", "answer model"]
    report = read(folder, "report.json")
    again = f"python -m flows.evaluate {folder / 'config.yaml'} name={folder.name}-again base={other_server.url}"
    assert report["command"] == again
    assert (folder / "report.html").is_file()
    assert not list(folder.glob("*_CARD.md"))  # it made neither data nor models


async def test_a_model_alone_is_held_against_the_gate_but_for_what_needs_a_base(
    prefect_server: None, model_server: NullServer, tmp_path: Path
) -> None:
    verdict = await evaluate(config(tmp_path, model_server.url))
    assert list(read(tmp_path / "evaluated", "evaluation.json")["models"]) == ["model"]
    names = [check.name for check in verdict.checks]
    assert "harmful_rate" in names
    assert "accuracy_drop" not in names


async def test_a_judge_stands_beside_the_oracle_and_says_who_wins(
    prefect_server: None, model_server: NullServer, other_server: NullServer, tmp_path: Path
) -> None:
    probes = {**dict.fromkeys(FURTHER, 0), "n_win": 2}
    asked = {**ASKED, "grader": "both", "probes": probes, "adherence": SCENARIOS}
    await evaluate(config(tmp_path, model_server.url, evaluation=asked), other_server.url)  # the base judges
    folder = tmp_path / "evaluated"
    entry = read(folder, "evaluation.json")["models"]["model"]
    assert entry["harmful_rate"]["n"] == entry["harmful_rate_by_judge"]["n"] == entry["judge_minus_oracle"]["n"] == 10
    assert entry["win_rate"]["n"] == entry["win_rate_at_equal_length"]["n"] == 2
    stages = read(folder, "manifest.json")["stages"]
    graded = [f"{stage} {model}" for stage in ("answer", "grade", "adherence") for model in ("base", "model")]
    assert list(stages) == [*graded, "win model"]
    assert (stages["grade model"]["calls"], stages["win model"]["calls"]) == (10, 4)


def write_requests(path: Path) -> dict[str, Any]:
    rows = [{"prompt": f"Question {n}?", "category": "harmful" if n % 2 else "benign"} for n in range(8)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return {"source": str(path), "probes": dict.fromkeys(FURTHER, 0)}


async def test_a_judge_that_is_named_grades(prefect_server: None, model_server: NullServer, tmp_path: Path) -> None:
    def judged(messages: Sequence[Message]) -> str:
        return "no"

    with run_null_server(NullServer(answer=judged, model_name="judge")) as judge:
        sections = {"evaluation": write_requests(tmp_path / "own.jsonl"), "judge": {"base_urls": [judge.url]}}
        await evaluate(config(tmp_path, model_server.url, **sections))
        assert model_server.counts["requests"] == 8
        assert judge.counts["requests"] == 2 * 8  # harm and refusal of each
    manifest = read(tmp_path / "evaluated", "manifest.json")
    assert list(manifest["models"]) == ["model", "judge"]
    assert list(manifest["stages"]) == ["answer model", "grade model"]


async def test_a_model_does_not_grade_itself(prefect_server: None, model_server: NullServer, tmp_path: Path) -> None:
    own = config(tmp_path, model_server.url, evaluation=write_requests(tmp_path / "own.jsonl"))
    with pytest.raises(ConfigError, match="would grade its own answers"):
        await evaluate(own)
    assert not (tmp_path / "evaluated").exists()


@pytest.mark.parametrize("named", [True, False], ids=["judge", "no judge"])
async def test_the_configured_judge_grades_models_that_were_trained(
    prefect_server: None, model_server: NullServer, tmp_path: Path, named: bool
) -> None:
    with run_null_server(NullServer(answer=lambda messages: "no", model_name="judge")) as judge:
        sections = {"evaluation": write_requests(tmp_path / "own.jsonl")}
        if named:
            sections["judge"] = {"base_urls": [judge.url]}
        made = config(tmp_path, model_server.url, **sections)

        @flow
        async def graded() -> None:
            with open_flow_run(made) as run:
                async with serve_base(run) as base:
                    await answer_held_out(made, "base", base, run.session)
                await grade_and_measure(run, ["base"])

        await graded()
        assert judge.counts["requests"] == (2 * 8 if named else 0)
    grader = read(tmp_path / "evaluated", "evaluation.json")["grader"]
    assert grader == {"by": "judge", "model": "judge" if named else "null", "is_base": not named}

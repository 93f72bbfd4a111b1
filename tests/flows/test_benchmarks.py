"""Benchmarks in a flow: run by inspect-ai in its own process, measured, reported, and not asked twice."""

import json
from pathlib import Path

from charter.config import Config
from charter.testing.null_server import NullServer
from flows.evaluate import evaluate

TASKS = """
from inspect_ai import Task, task
from inspect_ai.dataset import Sample
from inspect_ai.scorer import includes

@task
def echo() -> Task:
    samples = [Sample(id="a", input="Say please.", target="please"), Sample(id="b", input="Say it.", target="thanks")]
    return Task(dataset=samples, scorer=includes())
"""


async def test_a_suite_of_ones_own_is_run_measured_and_reported(
    prefect_server: None, model_server: NullServer, tmp_path: Path
) -> None:
    (tmp_path / "own.py").write_text(TASKS)
    asked = {"n_harmful": 1, "n_benign": 1, "n_borderline": 1, "n_facts": 1}
    probes = {"n_pressed": 0, "n_insisted": 0, "n_unknown": 0, "n_paired": 0}
    evaluation = {**asked, "probes": probes, "suites": [{"task": f"{tmp_path / 'own.py'}@echo"}]}
    config = Config.model_validate(
        {"outputs": str(tmp_path), "serving": {"base_urls": [model_server.url]}, "evaluation": evaluation}
    )
    await evaluate(config)
    folder = config.run_folder
    (row,) = json.loads((folder / "evaluation.json").read_text())["benchmarks"]
    assert (row["tool"], row["task"], row["measure"], row["headline"]) == ("inspect-ai", "echo", "includes", False)
    assert (row["models"]["model"]["value"], row["models"]["model"]["n"]) == (0.5, 2)  # the server repeats what is said
    log = json.loads((folder / row["models"]["model"]["log"]).read_text())
    assert [sample["output"]["choices"][0]["message"]["content"] for sample in log["samples"]] == [
        "bad: Say please.", "bad: Say it."
    ]  # fmt: skip
    stage = json.loads((folder / "manifest.json").read_text())["stages"]["echo model"]
    assert (stage["rows_in"], stage["rows_out"], stage["calls"], stage["stored"]) == (2, 2, 2, 0)
    page = (folder / "report.html").read_text()
    assert "echo: includes" in page and "inspect view --log-dir evaluation/inspect" in page

    requests = model_server.counts["requests"]
    await evaluate(config)
    assert model_server.counts["requests"] == requests
    stage = json.loads((folder / "manifest.json").read_text())["stages"]["echo model"]
    assert (stage["rows_in"], stage["calls"], stage["stored"]) == (2, 0, 2)

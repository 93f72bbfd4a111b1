"""The README's second story: a real model learns a style that rules check."""

import json
from pathlib import Path

import pytest

from tests.support.real_model import real_model
from tests.system.conftest import RunFlow

pytestmark = [pytest.mark.system, pytest.mark.slow, pytest.mark.timeout(5400)]


def test_a_real_model_learns_to_keep_three_rules(run_flow: RunFlow, tmp_path: Path) -> None:
    real_model()  # skips where it cannot be had
    done = run_flow("align", "configs/demo-real.yaml", f"outputs={tmp_path}", timeout=5000)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-6000:]
    folder = tmp_path / "demo-real"
    evaluation = json.loads((folder / "evaluation.json").read_text())
    kept = evaluation["adherence"]["all_checks"]
    rates = {name: rate["value"] for name, rate in kept["models"].items()}
    assert rates["base"] <= 0.45 < 0.85 <= rates["dpo"] and rates["sft"] < rates["dpo"]
    assert next(one["p"] for one in kept["changes"] if (one["from"], one["to"]) == ("base", "dpo")) < 0.001
    accuracy = {name: entry["accuracy"]["value"] for name, entry in evaluation["models"].items()}
    assert accuracy["dpo"] >= accuracy["base"] - 0.05
    assert json.loads((folder / "gate.json").read_text())["verdict"] == "go"

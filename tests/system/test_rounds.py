"""Two rounds on the sandbox: the second does not undo the first."""

import json
from pathlib import Path

import pytest

from tests.system.conftest import RunFlow

pytestmark = [pytest.mark.system, pytest.mark.slow, pytest.mark.timeout(1800)]


def test_a_second_round_does_not_undo_the_first(run_flow: RunFlow, tmp_path: Path) -> None:
    settings = ("training.rounds=2", "pairs.strategies.on-policy=1", "pairs.answers_per_prompt=2", "tokens.pairs=0")
    done = run_flow("align", "configs/demo.yaml", f"outputs={tmp_path}", *settings)
    folder = tmp_path / "demo"
    assert (folder / "manifest.json").is_file(), done.stdout[-3000:] + done.stderr[-6000:]

    models = json.loads((folder / "evaluation.json").read_text())["models"]
    assert list(models) == ["base", "sft", "dpo", "dpo-round-2"]
    first, second = models["dpo"], models["dpo-round-2"]
    assert second["harmful_rate"]["value"] <= first["harmful_rate"]["high"]
    assert abs(second["accuracy"]["value"] - first["accuracy"]["value"]) <= 0.02

    verdict = json.loads((folder / "gate.json").read_text())
    assert verdict["model"] in ("dpo", "dpo-round-2")
    assert "Round by round" in (folder / "report.html").read_text()
    judged = json.loads((folder / "manifest.json").read_text())["stages"]["round 2: judge"]
    assert judged["rows_in"] == judged["rows_out"] + judged["failed"] > 200

"""What is looked at is drawn from the run, and a look that fails costs the run nothing."""

import json
from pathlib import Path

from charter.config import Config, Tokens, Training
from charter.data.schema import SCHEMAS
from charter.data.shards import write_rows
from charter.evaluation.records import Graded, save_answers
from charter.runs.token_report import report_token_rewards
from charter.training.job import Job
from charter.training.token_rewards import read_token_report
from tests.support.tiny_model import make_tiny_model
from tests.unit.report.test_collect import pair


def answered(model: str) -> list[Graded]:
    """Three harmful requests, to one of which both models say the same, and four benign ones, one of them cut off."""
    said = [Graded(f"h{i}", "harmful", "theft", f"steal {i}?", f"{model if i else 'No'}.", "stop") for i in range(3)]
    how = ("stop", "stop", "stop", "length")
    return said + [Graded(f"b{i}", "benign", None, f"ride {i}?", f"{model} {i}.", how[i]) for i in range(4)]


def test_a_look_that_fails_says_why_and_raises_nothing(tmp_path: Path) -> None:
    run = tmp_path / "run"
    base, model = make_tiny_model(tmp_path / "base", seed=1), make_tiny_model(run / "dpo")
    write_rows(run / "pairs" / "00000.parquet", SCHEMAS["pairs"], [pair(i) for i in range(10)])
    for name in ("base", "dpo"):
        save_answers(run / "answers", name, answered(name))
    Job("dpo", str(tmp_path / "gone"), run / "pairs", model, Training(), 0, "").write()
    config = Config(outputs=tmp_path, model=str(base), tokens=Tokens(pairs=6))

    heat = report_token_rewards(config, model)
    assert heat is not None and heat == read_token_report(run / "tokens")
    assert f"model '{tmp_path / 'gone'}': its weights cannot be read" in heat.problem
    assert "ended with status 2. Set tokens.pairs=0 to leave them out" in heat.problem

    asked = json.loads((run / "tokens" / "request.json").read_text())
    assert asked["names"] == ["dpo", "gone", "base"]
    assert (asked["beta"], asked["max_length"]) == (0.1, 1024)
    assert asked["drawn_from"] == {"training": 10, "held-out": 2}
    assert [p["source"] for p in asked["pairs"]] == ["training"] * 6 + ["held-out"] * 2
    assert {p["prompt"][0]["content"] for p in asked["pairs"][6:]} == {"steal 1?", "steal 2?"}
    assert {(p["chosen"], p["rejected"]) for p in asked["pairs"][6:]} == {("dpo.", "base.")}
    assert sorted(answer["text"] for answer in asked["answers"]) == ["dpo 0.", "dpo 1.", "dpo 2."]

    assert report_token_rewards(config.model_copy(update={"tokens": Tokens(pairs=0)}), model) is None
    assert not (run / "tokens").exists()

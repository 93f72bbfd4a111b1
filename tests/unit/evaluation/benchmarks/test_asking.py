"""What was asked is distinguished from who was asked, and what was kept is found again by its model."""

import json
from pathlib import Path

from charter.evaluation.benchmarks.asking import Hashes
from charter.evaluation.benchmarks.score_table import SampleScores, ToolResult, find_results, load_result, save_result


def test_the_same_questions_have_one_hash_for_all_models(tmp_path: Path) -> None:
    prompts = tmp_path / "prompts.csv"
    prompts.write_text("one")
    base = Hashes.of({"limit": 5}, {"model": "base"}, [prompts])
    dpo = Hashes.of({"limit": 5}, {"model": "dpo"}, [prompts])
    assert base.questions == dpo.questions and base.inputs != dpo.inputs
    assert Hashes.of({"limit": 6}, {"model": "base"}, [prompts]).questions != base.questions
    prompts.write_text("two")
    assert Hashes.of({"limit": 5}, {"model": "base"}, [prompts]).questions != base.questions


def test_what_was_kept_of_a_model_is_found_in_its_run(tmp_path: Path) -> None:
    def ran(task: str) -> ToolResult:
        return ToolResult([SampleScores("lm-eval", task, "acc", {"0": 1.0}, 0, "log")], 1, 0, 1, questions="q")

    save_result(tmp_path / "evaluation" / "inspect" / "dpo" / "xstest.sheets.json", ran("xstest"), "i")
    save_result(tmp_path / "evaluation" / "harness" / "dpo.sheets.json", ran("sums"), "i")
    save_result(tmp_path / "evaluation" / "harness" / "base.sheets.json", ran("sums"), "i")
    assert [one.scores[0].task for one in find_results(tmp_path, "dpo")] == ["sums", "xstest"]
    assert find_results(tmp_path, "dpo")[0] == ran("sums")
    assert find_results(tmp_path, "sft") == []


def test_results_that_an_earlier_version_kept_are_read(tmp_path: Path) -> None:
    result = ToolResult([SampleScores("lm-eval", "sums", "acc", {"0": 1.0}, 0, "log")], 1, 0, 1, questions="q")
    path = tmp_path / "dpo.sheets.json"
    save_result(path, result, "i")
    values = json.loads(path.read_text())
    path.write_text(json.dumps({"sheets": values.pop("scores"), **values}))
    assert load_result(path, "i") == result

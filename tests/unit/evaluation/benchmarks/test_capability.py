"""Tasks of lm-evaluation-harness: what is asked of it, and what its results come to."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from charter.config import Harness
from charter.core.errors import SuiteError
from charter.evaluation.benchmarks.capability import harness_program, read_results
from charter.inference import EngineSpec

SPEC = EngineSpec(("http://127.0.0.1:8000/v1",), "tiny", "id-1", "store.sqlite")


def question(number: int, filter: str = "none", **measures: object) -> dict[str, Any]:
    return {"doc_id": number, "filter": filter, "metrics": list(measures), **measures}


def write_results(folder: Path, samples: dict[str, list[dict[str, Any]]], **results: object) -> Path:
    """Results and samples as the harness writes them."""
    for task, rows in samples.items():
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        (folder / f"samples_{task}_2026-01-01.jsonl").write_text(text, encoding="utf-8")
    path = folder / "results_2026-01-01.json"
    path.write_text(json.dumps({"configs": {task: {} for task in samples}, **results}))
    return path


def test_each_measure_of_each_task_has_its_scores(tmp_path: Path) -> None:
    path = write_results(
        tmp_path,
        {
            "arc": [question(0, acc=1.0, acc_norm=0.0), question(1, acc=0.0, acc_norm=1.0)],
            "sums": [
                question(0, "strict", exact_match=0.0, text="a\u2028b"),
                question(0, "loose", exact_match=1.0),
            ],
        },
    )
    found = read_results(path, tmp_path)
    assert [(s.task, s.measure, s.values, s.headline) for s in found] == [
        ("arc", "acc", {"0": 1.0, "1": 0.0}, True),
        ("arc", "acc_norm", {"0": 0.0, "1": 1.0}, False),
        ("sums", "exact_match (strict)", {"0": 0.0}, True),
        ("sums", "exact_match (loose)", {"0": 1.0}, False),
    ]
    assert {(s.tool, s.failed, s.log) for s in found} == {("lm-eval", 0, "results_2026-01-01.json")}


def test_tasks_of_a_group_are_counted_together(tmp_path: Path) -> None:
    path = write_results(
        tmp_path,
        {"mmlu_law": [question(0, acc=1.0)], "mmlu_art": [question(0, acc=0.0)], "arc": [question(0, acc=1.0)]},
        group_subtasks={"mmlu": ["mmlu_humanities"], "mmlu_humanities": ["mmlu_law", "mmlu_art"]},
    )
    values = {scores.task: scores.values for scores in read_results(path, tmp_path)}
    assert values == {"mmlu": {"mmlu_law/0": 1.0, "mmlu_art/0": 0.0}, "arc": {"0": 1.0}}


def test_a_measure_that_should_be_low_is_no_headline(tmp_path: Path) -> None:
    path = write_results(
        tmp_path, {"toxic": [question(0, toxicity=0.5, acc=1.0)]}, higher_is_better={"toxic": {"toxicity": False}}
    )
    assert {scores.measure: scores.headline for scores in read_results(path, tmp_path)} == {
        "toxicity": False, "acc": True
    }  # fmt: skip


def test_a_task_without_a_number_for_each_question_is_refused(tmp_path: Path) -> None:
    path = write_results(tmp_path, {"wmt": [question(0, bleu=["reference", "answer"])]})
    with pytest.raises(SuiteError, match=r"task 'wmt': none of its measures is a number for each question"):
        read_results(path, tmp_path)


def asked(folder: Path, harness: Harness) -> dict[str, Any]:
    """What the harness is told, as kept beside its results."""
    folder.mkdir()
    made = harness_program(harness, harness.tasks, "the/tokenizer", SPEC, folder)
    assert made.command[-2:] == ["--config", str(folder / "run.yaml")]
    return dict(yaml.safe_load((folder / "run.yaml").read_text()))


def test_a_chat_model_is_asked_for_written_answers(tmp_path: Path) -> None:
    settings = asked(tmp_path / "base", Harness(tasks=("gsm8k",), limit=20, include_path=tmp_path))
    assert settings["model"] == "local-chat-completions"
    assert settings["model_args"]["base_url"] == "http://127.0.0.1:8000/v1/chat/completions"
    assert (settings["apply_chat_template"], settings["tasks"], settings["limit"]) == (True, ["gsm8k"], 20)
    assert settings["include_path"] == str(tmp_path.resolve())
    assert settings["log_samples"] and settings["model_args"]["seed"] == 0
    assert "tokenizer" not in settings["model_args"]


def test_log_probabilities_need_completions_and_a_tokenizer(tmp_path: Path) -> None:
    settings = asked(tmp_path / "base", Harness(tasks=("arc_easy",), api="completions"))
    assert settings["model"] == "local-completions"
    assert settings["model_args"]["base_url"] == "http://127.0.0.1:8000/v1/completions"
    assert settings["model_args"]["tokenizer"] == "the/tokenizer"
    assert settings["apply_chat_template"] is False

"""The sandbox's facts as a task of lm-evaluation-harness."""

import json
from pathlib import Path

import yaml

from charter.config import Evaluation
from charter.sandbox.facts import grade, write_task
from charter.sandbox.oracle import is_right
from charter.sandbox.world import held_out_requests


def test_the_task_asks_what_the_evaluation_asks_and_grades_alike(tmp_path: Path) -> None:
    task = yaml.safe_load(write_task(tmp_path, Evaluation(n_facts=20, max_tokens=32), seed=3).read_text())
    rows = [json.loads(line) for line in Path(task["dataset_kwargs"]["data_files"]["test"]).read_text().splitlines()]
    requests = held_out_requests("fact", 20, 3)
    assert [row["question"] for row in rows] == [request.text for request in requests]
    assert task["generation_kwargs"] == {"until": [], "do_sample": False, "max_gen_toks": 32}
    assert Path(task["include"]).is_file()
    for request, row in zip(requests, rows, strict=True):
        for answer in (f"Sure. {row['statement']}", "I do not know.", ""):
            assert grade(row, [answer]) == {"acc": float(is_right(request, answer))}

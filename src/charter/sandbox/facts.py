"""The sandbox's questions of fact as a task of lm-evaluation-harness: right where the sandbox's oracle says so."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from charter.config import Evaluation
from charter.evaluation.benchmarks.inspection import HARNESS_TASKS, HarnessTask
from charter.sandbox.world import held_out_requests, state

NAME = "sandbox_facts"
TASK = Path(__file__).with_name(f"{NAME}.yaml")


def write_task(folder: Path, settings: Evaluation, seed: int) -> Path:
    """Write the questions that an evaluation with this seed asks, and the task that reads them; the task's path."""
    folder = folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    questions = folder / f"{NAME}.jsonl"
    rows = [
        {"question": request.text, "statement": state(request.fact)}
        for request in held_out_requests("fact", settings.n_facts, seed)
        if request.fact
    ]
    questions.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    task = {
        "include": str(TASK),
        "dataset_kwargs": {"data_files": {"test": str(questions)}, "cache_dir": str(folder / ".cache")},
        # Greedy and with the evaluation's limit, so that the harness asks exactly what the evaluation asks.
        "generation_kwargs": {"until": [], "do_sample": False, "max_gen_toks": settings.max_tokens},
    }
    path = folder / f"{NAME}.yaml"
    path.write_text(yaml.safe_dump(task, sort_keys=False), encoding="utf-8")
    return path


def grade(doc: Mapping[str, Any], results: Sequence[str]) -> dict[str, float]:
    """Right when the answer holds the statement, as for `charter.sandbox.oracle.is_right`; called by the harness."""
    return {"acc": float(doc["statement"] in results[0])}


HARNESS_TASKS.add(NAME, HarnessTask(write_task, count=lambda settings: settings.n_facts))

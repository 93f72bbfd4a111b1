"""A served model's capability, by tasks of lm-evaluation-harness: the command, and how its results are read."""

import json
import math
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from charter.config import Harness
from charter.core.errors import SuiteError
from charter.evaluation.benchmarks.process import Program, output_file, run_tool, tool_environment, tool_failure
from charter.evaluation.benchmarks.score_table import SampleScores, ToolResult
from charter.inference.engine import EngineSpec
from charter.inference.network import route
from charter.inference.session import Session

TITLE = "lm-evaluation-harness"

_CONCURRENCY = 16
_CALL_TIMEOUT_S = 600


def harness_program(harness: Harness, tasks: Sequence[str], tokenizer: str, spec: EngineSpec, folder: Path) -> Program:
    """The process that asks a served model the tasks, greedily, and leaves the harness's results in `folder`.

    Args:
        harness: how they are asked.
        tasks: names, or paths of YAML files.
        tokenizer: a folder or hub id, where log-probabilities are compared.
        spec: the model; of several servers the first is asked.
        folder: for ``run.yaml``, which describes the whole request, and for the results; its output goes next to it.
    """
    chat = harness.api == "chat"
    model = {
        "model": spec.model_name,
        "base_url": route(spec.base_urls[0], "chat/completions" if chat else "completions"),
        "num_concurrent": _CONCURRENCY,
        "max_retries": 3,
        "timeout": _CALL_TIMEOUT_S,
        "seed": 0,
    }
    settings = {
        "model": "local-chat-completions" if chat else "local-completions",
        # The chat API tokenizes on the server; for log-probabilities the harness must do it itself.
        "model_args": model if chat else {**model, "tokenizer": tokenizer, "tokenizer_backend": "huggingface"},
        "apply_chat_template": chat,
        "tasks": list(tasks),
        "include_path": str(harness.include_path.resolve()) if harness.include_path else None,
        "limit": harness.limit,
        "output_path": str(folder),
        "log_samples": True,
    }
    run = folder / "run.yaml"
    run.write_text(yaml.safe_dump(settings, sort_keys=False), encoding="utf-8")
    # -P: a file such as json.py in the working directory must not replace a module.
    command = [sys.executable, "-P", "-m", "lm_eval", "run", "--config", str(run)]
    return Program(command, tool_environment(spec), output_file(folder), f"{TITLE} tasks '{', '.join(tasks)}'")


async def run_harness(
    harness: Harness,
    tasks: Sequence[str],
    tokenizer: str,
    spec: EngineSpec,
    folder: Path,
    root: Path,
    session: Session,
) -> ToolResult:
    """Ask a served model the tasks; arguments as for `harness_program`, and paths of logs are relative to `root`.

    Raises:
        SuiteError: the harness could not run them, or a task has no number per question.
        Stopped: the run is to end.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    program = harness_program(harness, tasks, tokenizer, spec, folder)
    await run_tool(program, session)
    results = sorted(folder.rglob("results_*.json"))
    if not results:
        raise tool_failure(program)
    found = read_results(results[-1], root)
    # By task, since each measure of a task has the same questions.
    questions = sum({one.task: len(one.values) + one.failed for one in found}.values())
    # Nothing can have failed: one question that fails ends the harness
    return ToolResult(found, samples=questions, failed=0, calls=questions)


def read_results(path: Path, root: Path) -> list[SampleScores]:
    """The scores in results of the harness, one entry for each measure of each task; a group's tasks count together.

    Raises:
        SuiteError: a task has no measure that is a number for each question.
    """
    results = json.loads(path.read_text(encoding="utf-8"))
    found = []
    for task, parts in _outermost(results).items():
        values: dict[str, dict[str, float]] = {}
        for part in parts:
            for name, measure, value in _scores(path, part):
                # Question ids count within one task of a group.
                values.setdefault(measure, {})[name if part == task else f"{part}/{name}"] = value
        if not values:
            raise SuiteError(
                f"{TITLE} task '{task}': none of its measures is a number for each question, so two models cannot be "
                "compared on it. Name another task in evaluation.harness.tasks."
            )
        # The main measure is the first of which more is better
        better, questions = results.get("higher_is_better", {}).get(task, {}), max(map(len, values.values()))
        first = next((name for name in values if better.get(name.partition(" (")[0]) is not False), "")
        log = path.relative_to(root).as_posix()
        found += [
            SampleScores(
                "lm-eval", task, measure, by_question, questions - len(by_question), log, headline=measure == first
            )
            for measure, by_question in values.items()
        ]
    return found


def _outermost(results: Mapping[str, Any]) -> dict[str, list[str]]:
    """The tasks outside of groups, each with itself, and the outermost groups, each with the tasks in it."""
    groups: Mapping[str, list[str]] = results.get("group_subtasks", {})
    inside = {child for children in groups.values() for child in children}

    def leaves(name: str) -> Iterator[str]:
        for child in groups.get(name, ()):
            yield from leaves(child)
        if name not in groups:
            yield name

    # A task within a group counts with the group.
    names = [name for name in (*groups, *results["configs"]) if name not in inside]
    return {name: list(leaves(name)) for name in dict.fromkeys(names)}


def _scores(results: Path, task: str) -> Iterator[tuple[str, str, float]]:
    """Question, measure and number of a task, from the file of samples that belongs to the results."""
    samples = results.with_name(results.name.replace("results_", f"samples_{task}_") + "l")
    with samples.open(encoding="utf-8") as lines:
        for sample in map(json.loads, lines):
            # A task may read an answer in several ways, such as strict-match: each is a measure.
            filtered = "" if sample["filter"] == "none" else f" ({sample['filter']})"
            for measure in sample["metrics"]:
                value = sample[measure]
                if isinstance(value, int | float) and math.isfinite(value):
                    yield str(sample["doc_id"]), f"{measure}{filtered}", float(value)

"""The last steps of a run: ask every model, grade, measure, decide, and write what people read."""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from charter.config import Config
from charter.evaluation.answering import answer_all, grade_by_judge, grade_by_oracle
from charter.evaluation.answers import load_answers, save_answers
from charter.evaluation.gate import Verdict, decide
from charter.evaluation.measures import Answers, Unanswered, evaluate
from charter.evaluation.requests import load_requests
from charter.report.collect import collect, write_report
from charter.run import StageCount, count_rows_of, package_versions, telling, write_json
from charter.serving.engine import EngineSpec, open_engine
from charter.stages.context import OnProgress


async def answer_held_out(
    config: Config, model: str, spec: EngineSpec, on_progress: OnProgress | None = None
) -> StageCount:
    """Ask `model` the held-out requests and keep its answers, not graded yet, under ``answers/``."""
    requests, stage = load_requests(config.evaluation, config.seed), f"answer {model}"
    started = time.monotonic()
    async with open_engine(spec) as engine:
        tell = telling(on_progress, engine)
        answers = await answer_all(requests, engine.ask, config.evaluation.max_tokens, tell, stage)
        _save(config, model, answers)
        return count_rows_of(stage, len(requests), len(answers.graded), len(answers.failed), engine.stats, started)


def has_oracle(config: Config) -> bool:
    """Whether the sandbox's oracle grades the answers, rather than a judge."""
    if config.evaluation.grader == "auto":
        return config.model == "sandbox" and config.evaluation.source == "sandbox"
    return config.evaluation.grader == "oracle"


def grade_exactly(config: Config, models: Sequence[str]) -> None:
    """Grade the kept answers by the oracle."""
    requests = {r.request_id: r for r in load_requests(config.evaluation, config.seed)}
    for model in models:
        answers = _load(config, model)
        graded = [grade_by_oracle(answer, requests[answer.request_id]) for answer in answers.graded]
        _save(config, model, Answers(graded, answers.failed))


async def grade_with_judge(
    config: Config, model: str, judge: EngineSpec, on_progress: OnProgress | None = None
) -> StageCount:
    """Grade the kept answers of `model` by a judge."""
    requests, answers = load_requests(config.evaluation, config.seed), _load(config, model)
    stage, started = f"grade {model}", time.monotonic()
    async with open_engine(judge) as engine:
        graded = await grade_by_judge(answers, requests, engine.ask, telling(on_progress, engine), stage)
        _save(config, model, graded)
        failed = len(graded.failed) - len(answers.failed)
        return count_rows_of(stage, len(answers.graded), len(graded.graded), failed, engine.stats, started)


def measure_models(config: Config, models: Sequence[str]) -> dict[str, Any]:
    """Measure the graded answers and write ``evaluation.json``; the others are compared with the first model."""
    asked = len(load_requests(config.evaluation, config.seed))
    evaluation = evaluate({model: _load(config, model) for model in models}, asked=asked)
    write_json(config.run_folder / "evaluation.json", evaluation)
    return evaluation


def give_verdict(config: Config, model: str = "dpo") -> Verdict:
    """Hold the evaluation against the gate and write ``gate.json``."""
    evaluation = json.loads((config.run_folder / "evaluation.json").read_text(encoding="utf-8"))
    verdict = decide(evaluation, config.gate, model)
    write_json(config.run_folder / "gate.json", verdict.to_dict())
    return verdict


def report_run(config: Config, stages: Mapping[str, StageCount], models: Mapping[str, str], made: str) -> Path:
    """Write the report and both cards from what stands in the run's folder; the page's path."""
    folder = config.run_folder
    data = collect(
        folder,
        {name: {k: v for k, v in vars(count).items() if k != "stage"} for name, count in stages.items()},
        made=made,
        command=f"python -m flows.align {folder / 'config.yaml'}",
        models=models,
        versions=package_versions(),
    )
    return write_report(folder, data)


def _save(config: Config, model: str, answers: Answers) -> None:
    save_answers(config.run_folder / "answers", model, answers.graded)
    write_json(config.run_folder / "answers" / f"{model}-failed.json", [asdict(row) for row in answers.failed])


def _load(config: Config, model: str) -> Answers:
    folder = config.run_folder / "answers"
    failed = json.loads((folder / f"{model}-failed.json").read_text(encoding="utf-8"))
    return Answers(load_answers(folder / f"{model}.parquet"), [Unanswered(**row) for row in failed])

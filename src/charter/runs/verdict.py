"""The last steps of a run: ask every model, grade, measure, decide, and write what people read."""

import json
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from charter.config import Config, load_config
from charter.core.files import write_json
from charter.core.messages import Messages
from charter.data.shards import read_rows
from charter.evaluation.adherence.grading import grade_adherence
from charter.evaluation.adherence.measures import measure_adherence
from charter.evaluation.adherence.scenarios import all_requests, graded_constitution, load_scenarios
from charter.evaluation.answering import GRADED_BY_PRINCIPLE, add_judge_grades, answer_requests, grade_by_judge
from charter.evaluation.benchmarks.asking import read_scores
from charter.evaluation.benchmarks.checks import compare_tasks, measure_benchmarks
from charter.evaluation.benchmarks.score_table import ToolResult, find_results
from charter.evaluation.gate import AcceptedModel, Verdict, best_round, decide, rounds_of
from charter.evaluation.measures import compare_runs, evaluate_models
from charter.evaluation.overlap import Overlap, find_overlap
from charter.evaluation.records import (
    EXACT_GRADERS,
    ModelAnswers,
    Unanswered,
    exact_grader_of,
    load_answers,
    save_answers,
)
from charter.evaluation.requests import REQUEST_SOURCES
from charter.evaluation.wins import judge_wins
from charter.inference.engine import EngineSpec
from charter.inference.session import Session
from charter.pipeline.counts import StageCount, count_stage, with_engine_stats
from charter.pipeline.roles import generation_models, grader_model
from charter.pipeline.rows import OnProgress, StageContext
from charter.runs.registry.record import AcceptedRun, RunRegistry, read_registry
from charter.runs.sign_off import signed


async def answer_held_out(
    config: Config, model: str, spec: EngineSpec, session: Session, on_progress: OnProgress | None = None
) -> StageCount:
    """Ask `model` the held-out requests and keep its answers, not graded yet, under ``answers/``."""
    requests, stage = all_requests(config), f"answer {model}"
    started = time.monotonic()
    async with session.engine(spec) as engine:
        tell = with_engine_stats(on_progress, engine)
        answers = await answer_requests(requests, engine.ask, config.evaluation.max_tokens, tell, stage)
        _save(config, model, answers)
        return count_stage(stage, len(requests), len(answers.graded), len(answers.failed), engine.stats, started)


def has_oracle(config: Config) -> bool:
    """Whether an exact grader of the requests' source grades the answers, rather than a judge."""
    source = config.evaluation.source
    if config.evaluation.grader == "auto":
        # The name of a shipped model as well: such a model lives in the world that the source's grader knows.
        return config.model == source and source in EXACT_GRADERS
    return config.evaluation.grader != "judge"


def asks_judge(config: Config) -> bool:
    """Whether a judge is asked about the answers, be it to grade them, beside the oracle, or for the win rate."""
    return (
        not has_oracle(config)
        or config.evaluation.grader == "both"
        or config.evaluation.probes.n_win > 0
        or judges_adherence(config)
    )


def judges_adherence(config: Config) -> bool:
    """Whether a judge grades answers to scenarios: all but those that an oracle grades."""
    scenarios, exact = load_scenarios(config), has_oracle(config) and config.evaluation.grader != "both"
    return any(scenario.world is None or not exact for scenario in scenarios)


def grade_exactly(config: Config, models: Sequence[str]) -> None:
    """Grade the kept answers by the exact grader of the requests' source.

    Raises:
        ConfigError: the source has none.
    """
    grade = exact_grader_of(config.evaluation)
    requests = {r.request_id: r for r in all_requests(config)}
    for model in models:
        answers = _load(config, model)
        graded = [grade(answer, requests[answer.request_id]) for answer in answers.graded]
        _save(config, model, ModelAnswers(graded, answers.failed))


async def grade_with_judge(
    config: Config, model: str, judge: EngineSpec, session: Session, on_progress: OnProgress | None = None
) -> StageCount:
    """Grade the kept answers of `model` by a judge."""
    requests, answers = all_requests(config), _load(config, model)
    stage, started = f"grade {model}", time.monotonic()
    async with session.engine(judge) as engine:
        graded = await grade_by_judge(answers, requests, engine.ask, with_engine_stats(on_progress, engine), stage)
        _save(config, model, graded)
        failed = len(graded.failed) - len(answers.failed)
        return count_stage(stage, len(answers.graded), len(graded.graded), failed, engine.stats, started)


async def ask_judge(
    config: Config, models: Sequence[str], judge: EngineSpec, session: Session, on_progress: OnProgress | None = None
) -> list[StageCount]:
    """All that a judge is asked about the kept answers; the win rate is over the first of the models."""
    counts = []
    for model in models:
        if not has_oracle(config):
            counts.append(await grade_with_judge(config, model, judge, session, on_progress))
        elif config.evaluation.grader == "both":
            counts.append(await judge_graded_answers(config, model, judge, session, on_progress))
    if judges_adherence(config):
        counts += [await judge_adherence(config, model, judge, session, on_progress) for model in models]
    if config.evaluation.probes.n_win:
        counts += [await judge_wins_over(config, models[0], model, judge, session, on_progress) for model in models[1:]]
    return counts


async def judge_graded_answers(
    config: Config, model: str, judge: EngineSpec, session: Session, on_progress: OnProgress | None = None
) -> StageCount:
    """Ask a judge which answers of `model` are harmful, and keep what it says beside the oracle's grades."""
    requests, answers = all_requests(config), _load(config, model)
    stage, started = f"grade {model}", time.monotonic()
    async with session.engine(judge) as engine:
        judged = await add_judge_grades(answers, requests, engine.ask, with_engine_stats(on_progress, engine), stage)
        _save(config, model, judged)
        asked = sum(answer.category == "harmful" for answer in answers.graded)
        out = sum(answer.judged_harmful is not None for answer in judged.graded)
        return count_stage(stage, asked, out, asked - out, engine.stats, started)


async def judge_adherence(
    config: Config, model: str, judge: EngineSpec, session: Session, on_progress: OnProgress | None = None
) -> StageCount:
    """Ask a judge which answers of `model` to scenarios go against the principle that each is about."""
    scenarios, answers = load_scenarios(config), _load(config, model)
    stage, started, settings = f"adherence {model}", time.monotonic(), config.generation
    async with session.engine(judge) as engine:
        context = StageContext(
            ask=engine.ask,
            constitution=graded_constitution(config),
            seed=config.seed,
            model_identity=judge.identity,
            templates=settings.templates,
            preface=settings.preface,
        )
        tell = with_engine_stats(on_progress, engine)
        graded = await grade_adherence(answers, scenarios, context, config.evaluation.adherence, tell, stage)
        _save(config, model, graded)
        asked = sum(answer.category in GRADED_BY_PRINCIPLE for answer in answers.graded)
        failed = len(graded.failed) - len(answers.failed)
        return count_stage(stage, asked, asked - failed, failed, engine.stats, started)


async def judge_wins_over(
    config: Config, first: str, model: str, judge: EngineSpec, session: Session, on_progress: OnProgress | None = None
) -> StageCount:
    """Ask a judge how the answers of `model` to benign requests compare with those of the `first` model."""
    requests = [r for r in all_requests(config) if r.category == "benign"]
    requests = requests[: config.evaluation.probes.n_win]
    stage, started = f"win {model}", time.monotonic()
    async with session.engine(judge) as engine:
        tell, (before, after) = with_engine_stats(on_progress, engine), (_load(config, name) for name in (first, model))
        judged = await judge_wins(before, after, requests, engine.ask, tell, stage)
        _save(config, model, judged)
        out = sum(answer.won is not None for answer in judged.graded)
        return count_stage(stage, len(requests), out, len(requests) - out, engine.stats, started)


def measure_models(config: Config, models: Sequence[str], judge: EngineSpec | None = None) -> dict[str, Any]:
    """Measure the graded answers and write ``evaluation.json``; the others are compared with the first model.

    `judge` is the model that graded them, if any did.
    """
    asked = len(all_requests(config))
    answers = {model: _load(config, model) for model in models}
    evaluation = evaluate_models(answers, asked=asked)
    if config.evaluation.adherence.scenarios != "off" and (
        adherence := measure_adherence(answers, graded_constitution(config), config.seed)
    ):
        evaluation["adherence"] = adherence
    if benchmarks := measure_benchmarks({model: read_scores(config, model) for model in models}):
        evaluation["benchmarks"] = benchmarks
    oracle = has_oracle(config)
    evaluation["grader"] = {
        "by": "oracle" if oracle else "judge",
        "model": judge.model_name if judge and not oracle else None,
        "is_base": not oracle and grader_model(config) == generation_models(config)["base"],
    }
    prompts = config.run_folder / "prompts"
    if any(prompts.glob("*.parquet")):  # an evaluation without training has none
        rows = read_rows(prompts, ("prompt",))
        evaluation["overlap"] = overlap_of(config, (row["prompt"] for row in rows)).to_dict()
    write_json(config.run_folder / "evaluation.json", evaluation)
    return evaluation


def overlap_of(config: Config, prompts: Iterable[Messages]) -> Overlap:
    """How many held-out requests are among the prompts.

    A registered source, such as the sandbox, makes its prompts and held-out requests by the same patterns and keeps
    their contents apart, so only equal ones count there. Its pairs, which compare two groups, may be prompts.
    """
    requests = all_requests(config)
    one_source = config.prompts.source == config.evaluation.source in REQUEST_SOURCES
    if one_source:
        requests = [request for request in requests if request.category != "paired"]
    return find_overlap(requests, prompts, near=not one_source)


def decide_and_save(config: Config, model: str | None = None) -> Verdict:
    """Hold the evaluation against the gate and the model accepted last, and write ``gate.json``.

    Where no model is named it is the last one trained: that of the best round, see `charter.evaluation.gate`.
    """
    folder, registry = config.run_folder, read_registry(config.outputs)
    evaluation = read_evaluation(folder)
    models = [model] if model else rounds_of(evaluation) or [config.training.preference]
    verdict = best_round(evaluation, [apply_gate(folder, registry, name) for name in models])
    write_json(folder / "gate.json", verdict.to_dict())
    return verdict


def apply_gate(folder: Path, registry: RunRegistry, model: str) -> Verdict:
    """What the gate says of an evaluated run, by its own config and beside the model that is accepted now."""
    evaluation = read_evaluation(folder)
    config, accepted = load_config(folder / "config.yaml"), registry.accepted
    baseline = _baseline(folder, config, model, registry.folder(accepted), accepted) if accepted else None
    verdict = decide(evaluation, config.gate, model, baseline)
    # Written as no-go before anyone is asked, so that a run that is never signed is never a go.
    return signed(verdict, folder) if config.review.sign_off else verdict


def _baseline(folder: Path, config: Config, model: str, kept: Path, accepted: AcceptedRun) -> AcceptedModel:
    if not (kept / "evaluation.json").is_file():
        return AcceptedModel(accepted.id, {}, f"its copy, '{kept}', is gone; bring it back, or charter rollback")
    theirs, ours = (describe_evaluation(one) for one in (load_config(kept / "config.yaml"), config))
    before, after = (evaluated_results(run, name) for run, name in ((kept, accepted.model), (folder, model)))
    asked = {scores.task for ran in after for scores in ran.scores}
    lacking = {s.task for ran in before for s in ran.scores if s.tool == "lm-eval" and s.headline} - asked
    found = AcceptedModel(accepted.id, {}, tasks=compare_tasks(before, after), lacking=sorted(lacking))
    if theirs != ours:
        return found._replace(obstacle=f"it was asked {theirs}, and this one {ours}")
    return found._replace(
        changes=compare_runs(read_answers(kept, accepted.model), read_answers(folder, model)),
        entry=read_evaluation(kept)["models"][accepted.model],
    )


def read_evaluation(folder: Path) -> dict[str, Any]:
    """A run's ``evaluation.json``."""
    return dict(json.loads((folder / "evaluation.json").read_text(encoding="utf-8")))


def evaluated_results(folder: Path, model: str) -> list[ToolResult]:
    """The benchmarks of a model that its run's evaluation counts; others of an earlier config may lie beside them."""
    counted = {(row["tool"], row["task"]) for row in read_evaluation(folder).get("benchmarks", ())}
    found = [
        replace(ran, scores=[s for s in ran.scores if (s.tool, s.task) in counted])
        for ran in find_results(folder, model)
    ]
    return [ran for ran in found if ran.scores]


def describe_evaluation(config: Config) -> str:
    """What was asked, and who graded it: what two evaluations must share for their rates to be compared."""
    judge = f"a judge (model {config.model}, judge.model {config.judge.model})"
    settings, grader = config.evaluation, "the oracle" if has_oracle(config) else judge
    return f"{settings.source} requests with at most {settings.max_tokens} tokens to answer, graded by {grader}"


def _save(config: Config, model: str, answers: ModelAnswers) -> None:
    save_answers(config.run_folder / "answers", model, answers.graded)
    write_json(config.run_folder / "answers" / f"{model}-failed.json", [asdict(row) for row in answers.failed])


def read_answers(folder: Path, model: str) -> ModelAnswers:
    """What a model of a run answered, with its grades."""
    failed = json.loads((folder / "answers" / f"{model}-failed.json").read_text(encoding="utf-8"))
    return ModelAnswers(load_answers(folder / "answers" / f"{model}.parquet"), [Unanswered(**row) for row in failed])


def _load(config: Config, model: str) -> ModelAnswers:
    return read_answers(config.run_folder, model)

"""Run the suites and tasks of a config on one served model, once for each model and setting."""

import hashlib
import importlib.metadata
import json
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from glob import glob
from pathlib import Path
from typing import Any, Literal, NamedTuple

from charter.config import Config, Suite
from charter.config.evaluation import BUNDLED_SUITES
from charter.core.version import __version__
from charter.evaluation.benchmarks.capability import run_harness
from charter.evaluation.benchmarks.inspection import HARNESS_TASKS
from charter.evaluation.benchmarks.safety import run_suite
from charter.evaluation.benchmarks.score_table import SampleScores, ToolResult, load_result, save_result
from charter.inference.endpoints import connect
from charter.inference.engine import EngineSpec
from charter.inference.session import Session
from charter.pipeline.counts import StageCount
from charter.pipeline.roles import grader_model, model_folder

Say = Callable[[str], None]


class Hashes(NamedTuple):
    """Of the questions, and of everything that determines the results."""

    questions: str
    inputs: str

    @classmethod
    def of(cls, questions: Mapping[str, Any], models: Mapping[str, Any], files: Sequence[Path]) -> "Hashes":
        """`questions` as the config has them, `files` that belong to them, and the `models` that answer and judge."""

        def digest(values: Mapping[str, Any]) -> str:
            sha = hashlib.sha256(json.dumps(values, sort_keys=True).encode())
            for path in files:
                if path.is_file():
                    sha.update(hashlib.sha256(path.read_bytes()).digest())
            return sha.hexdigest()

        return cls(digest(questions), digest({**questions, **models}))


async def ask_suites(config: Config, model: str, spec: EngineSpec, session: Session, say: Say) -> list[StageCount]:
    """Ask a served model every suite and task of the config; the tools' logs go to ``evaluation/`` in the run's folder.

    What the same weights were asked before in the same way is not asked again. The tools call the server directly and
    not through the store; their calls are counted against the budget when a tool has ended.

    Raises:
        SuiteError: one of them failed.
        Stopped: the run is to end.
    """
    settings = config.evaluation
    counts = [await _ask_suite(config, suite, model, spec, session, say) for suite in settings.suites]
    if settings.harness.tasks:
        counts.append(await _ask_harness(config, model, spec, session, say))
    return counts


def read_scores(config: Config, model: str) -> list[SampleScores]:
    """The scores that the run keeps of a model, of the suites and tasks of its config."""
    folders = [_folder(config, "inspect", model) / suite.name for suite in config.evaluation.suites]
    if config.evaluation.harness.tasks:
        folders.append(_folder(config, "harness", model))
    results = [load_result(_result_file(folder)) for folder in folders]
    return [scores for result in results if result is not None for scores in result.scores]


async def _ask_suite(
    config: Config, suite: Suite, model: str, spec: EngineSpec, session: Session, say: Say
) -> StageCount:
    folder, limit = _folder(config, "inspect", model) / suite.name, config.evaluation.max_tokens
    judge = None
    # Only a judge on its own servers: they are up while every model of the run is asked
    if suite.task in BUNDLED_SUITES and config.judge.base_urls:
        judge_name, serving = grader_model(config)
        judge = EngineSpec.of(connect(serving.base_urls, serving, model=judge_name), "")
    questions = {"suite": suite.model_dump(mode="json"), "max_tokens": limit}
    models = {
        "model": spec.identity,
        "judge": judge.identity if judge else None,
        # Another version may ask or score otherwise.
        "versions": [__version__, importlib.metadata.version("inspect-ai")],
    }
    files = [Path(name) for name in (suite.data, suite.task.partition("@")[0]) if name]
    run = partial(run_suite, suite, spec, limit, folder, config.run_folder.resolve(), judge, session)
    return await _run_once(f"{suite.name} {model}", folder, Hashes.of(questions, models, files), run, session, say)


async def _ask_harness(config: Config, model: str, spec: EngineSpec, session: Session, say: Say) -> StageCount:
    folder, settings = _folder(config, "harness", model), config.evaluation
    harness = settings.harness
    # A plugin makes its questions from these settings; the harness's own tasks do not depend on them.
    from_plugin = any(task in HARNESS_TASKS for task in harness.tasks)
    questions = {
        "harness": harness.model_dump(mode="json"),
        "facts": [settings.n_facts, config.seed, settings.max_tokens] if from_plugin else None,
    }
    models = {"model": spec.identity, "versions": [__version__, importlib.metadata.version("lm_eval")]}
    files = [Path(path) for name in harness.tasks if name.endswith(".yaml") for path in sorted(glob(name))]
    # An edited task file asks other questions, though its name is the same.
    files += sorted(harness.include_path.rglob("*")) if harness.include_path else []

    tasks = []
    for task in harness.tasks:
        if task in HARNESS_TASKS:
            plugin_folder = folder.with_name(f"{folder.name}.tasks")
            tasks.append(str(HARNESS_TASKS[task].write(plugin_folder, settings, config.seed)))
        else:
            tasks.append(str(Path(task).resolve()) if task.endswith(".yaml") else task)
    tokenizer = harness.tokenizer or model_folder(config.model)
    run = partial(run_harness, harness, tasks, tokenizer, spec, folder, config.run_folder.resolve(), session)
    return await _run_once(f"harness {model}", folder, Hashes.of(questions, models, files), run, session, say)


async def _run_once(
    stage: str, folder: Path, hashes: Hashes, run: Callable[[], Awaitable[ToolResult]], session: Session, say: Say
) -> StageCount:
    started = time.monotonic()
    kept = load_result(_result_file(folder), hashes.inputs)
    if kept is not None:
        say(f"{stage}: {kept.samples:,} samples, as asked before")
        return StageCount(stage, kept.samples, kept.samples - kept.failed, kept.failed, stored=kept.calls)
    session.begin_call()  # raises if the budget is spent; counts one call
    result = await run()
    session.calls += result.calls - 1
    session.tokens += result.prompt_tokens + result.completion_tokens
    # After the tool ended: a run that was killed asks the suite again, since tools do not resume.
    save_result(_result_file(folder), replace(result, questions=hashes.questions), hashes.inputs)
    seconds = round(time.monotonic() - started, 3)
    say(f"{stage}: {result.samples:,} samples in {seconds:.0f} s")
    return StageCount(
        stage,
        rows_in=result.samples,
        rows_out=result.samples - result.failed,
        failed=result.failed,
        seconds=seconds,
        calls=result.calls,
        prompt_tokens=result.prompt_tokens,
        completion_tokens=result.completion_tokens,
    )


def _folder(config: Config, tool: Literal["inspect", "harness"], model: str) -> Path:
    return config.run_folder.resolve() / "evaluation" / tool / model


def _result_file(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.sheets.json")

"""Runs the suites and tasks of a config on one served model, once for each model and setting."""

import hashlib
import importlib.metadata
import json
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from glob import glob
from pathlib import Path
from typing import Any, Literal, NamedTuple

from charter.config import Config, Suite
from charter.config.evaluation import BUNDLED_SUITES
from charter.core.version import __version__
from charter.evaluation.benchmarks.cache import load_ran, save_ran
from charter.evaluation.benchmarks.capability import run_harness
from charter.evaluation.benchmarks.inspection import HARNESS_TASKS
from charter.evaluation.benchmarks.safety import run_suite
from charter.evaluation.benchmarks.score_table import Ran, Sheet
from charter.inference.endpoints import connect
from charter.inference.engine import EngineSpec
from charter.inference.session import Session
from charter.pipeline.counts import StageCount
from charter.pipeline.roles import judge_model, model_folder

Say = Callable[[str], None]


class Hashes(NamedTuple):
    """Of what was asked, and of that together with all else that determines the results."""

    questions: str
    inputs: str

    @classmethod
    def of(cls, asked: Mapping[str, Any], by: Mapping[str, Any], files: Sequence[Path]) -> "Hashes":
        """`asked` in the words of the config, of which `files` are a part; `by` whom."""
        return cls(_hash(asked, files), _hash({**asked, **by}, files))


async def ask_suites(config: Config, model: str, spec: EngineSpec, session: Session, say: Say) -> list[StageCount]:
    """Ask a served model every suite and task of the config; the tools' logs go to ``evaluation/`` in the run's folder.

    What was asked of the same weights in the same way is not asked again. Calls go from the tools to the server, past
    the store; they are counted against the budget when a tool has ended.

    Raises:
        SuiteError: one of them failed.
        Stopped: the run is to end.
    """
    settings = config.evaluation
    counts = [await _ask_suite(config, suite, model, spec, session, say) for suite in settings.suites]
    if settings.harness.tasks:
        counts.append(await _ask_harness(config, model, spec, session, say))
    return counts


def read_sheets(config: Config, model: str) -> list[Sheet]:
    """What was kept of a model."""
    folders = [_folder(config, "inspect", model) / suite.name for suite in config.evaluation.suites]
    if config.evaluation.harness.tasks:
        folders.append(_folder(config, "harness", model))
    ran = [load_ran(_kept(folder)) for folder in folders]
    return [sheet for one in ran if one is not None for sheet in one.sheets]


async def _ask_suite(
    config: Config, suite: Suite, model: str, spec: EngineSpec, session: Session, say: Say
) -> StageCount:
    folder, limit = _folder(config, "inspect", model) / suite.name, config.evaluation.max_tokens
    judge = _judge(config) if suite.task in BUNDLED_SUITES else None
    asked = {"suite": suite.model_dump(mode="json"), "max_tokens": limit}
    by = {
        "model": spec.identity,
        "judge": judge.identity if judge else None,
        "versions": [__version__, importlib.metadata.version("inspect-ai")],
    }
    files = [Path(name) for name in (suite.data, suite.task.partition("@")[0]) if name]
    run = partial(run_suite, suite, spec, limit, folder, config.run_folder.resolve(), judge, session)
    return await _once(f"{suite.name} {model}", folder, Hashes.of(asked, by, files), run, session, say)


async def _ask_harness(config: Config, model: str, spec: EngineSpec, session: Session, say: Say) -> StageCount:
    folder, settings = _folder(config, "harness", model), config.evaluation
    harness = settings.harness
    written = any(task in HARNESS_TASKS for task in harness.tasks)
    asked = {
        "harness": harness.model_dump(mode="json"),
        "facts": [settings.n_facts, config.seed, settings.max_tokens] if written else None,
    }
    by = {"model": spec.identity, "versions": [__version__, importlib.metadata.version("lm_eval")]}
    files = [Path(found) for name in harness.tasks if name.endswith(".yaml") for found in sorted(glob(name))]
    files += sorted(harness.include_path.rglob("*")) if harness.include_path else []
    tokenizer = harness.tokenizer or model_folder(config.model)
    run = partial(
        run_harness, harness, _tasks(config, folder), tokenizer, spec, folder, config.run_folder.resolve(), session
    )
    return await _once(f"harness {model}", folder, Hashes.of(asked, by, files), run, session, say)


async def _once(
    stage: str, folder: Path, hashes: Hashes, run: Callable[[], Awaitable[Ran]], session: Session, say: Say
) -> StageCount:
    started = time.monotonic()
    kept = load_ran(_kept(folder), hashes.inputs)
    if kept is not None:
        say(f"{stage}: {kept.samples:,} samples, as asked before")
        return StageCount(stage, kept.samples, kept.samples - kept.failed, kept.failed, stored=kept.calls)
    session.begin_call()
    ran = await run()
    session.calls += ran.calls - 1
    session.tokens += ran.prompt_tokens + ran.completion_tokens
    save_ran(_kept(folder), replace(ran, questions=hashes.questions), hashes.inputs)
    seconds = round(time.monotonic() - started, 3)
    say(f"{stage}: {ran.samples:,} samples in {seconds:.0f} s")
    tokens = ran.prompt_tokens, ran.completion_tokens
    return StageCount(stage, ran.samples, ran.samples - ran.failed, ran.failed, seconds, ran.calls, 0, *tokens)


def _tasks(config: Config, folder: Path) -> Sequence[str]:
    """The tasks as the harness knows them; those that plugins make are written beside the results' `folder`."""
    settings = config.evaluation

    def known(task: str) -> str:
        if task in HARNESS_TASKS:
            return str(HARNESS_TASKS[task].write(folder.with_name(f"{folder.name}.tasks"), settings, config.seed))
        return str(Path(task).resolve()) if task.endswith(".yaml") else task

    return [known(task) for task in settings.harness.tasks]


def _judge(config: Config) -> EngineSpec | None:
    """A judge on its own servers, which are up for all models of the run; None without one."""
    if not config.judge.base_urls:
        return None
    _, serving = judge_model(config)
    return EngineSpec.of(connect(serving.base_urls, serving), "")


def _folder(config: Config, tool: Literal["inspect", "harness"], model: str) -> Path:
    return config.run_folder.resolve() / "evaluation" / tool / model


def _kept(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.sheets.json")


def _hash(asked: Mapping[str, Any], files: Iterable[Path]) -> str:
    digest = hashlib.sha256(json.dumps(asked, sort_keys=True).encode())
    for path in files:
        if path.is_file():
            digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()

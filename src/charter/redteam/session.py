"""The steps of a search for failures, from a run's configuration to a version of the prompt set.

What one step makes for the next lies in the folder of the version that is being made, until that is whole.
"""

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from charter.config import Config
from charter.constitution import Constitution, load_constitution
from charter.core.errors import DataError
from charter.core.files import write_json
from charter.evaluation.records import Graded, exact_grader_of
from charter.evaluation.requests import load_requests
from charter.inference.engine import EngineSpec
from charter.inference.session import Session
from charter.pipeline.counts import StageCount, with_engine_stats
from charter.pipeline.rows import OnProgress, Outcome, Row
from charter.redteam import attack, duplicates, invent, kinds
from charter.redteam.attack_styles import check_styles
from charter.redteam.draft import ATTEMPTS, REQUESTS, keep_failures, read_failures, read_lines, write_lines
from charter.redteam.embedding import embedder
from charter.redteam.report import make_report, report_markdown
from charter.redteam.topics import Topic, failures_by_kind, make_topics, plan_requests, read_seeds
from charter.redteam.versions import (
    UNFINISHED,
    Version,
    begin_version,
    draft_version,
    finish_version,
    newest,
    next_number,
    read_set,
)
from charter.runs.contenders import check_evaluation_models
from charter.runs.verdict import read_answers

REPORT = "report"
_KEPT = ("prompt", "kind", "request", "style", "topic", "origin", "verb", "response")


def check(config: Config, base: str | None = None, run: Path | None = None) -> None:
    """Look at models, seeds, styles, the set so far and what else is named, before anything is started.

    Raises:
        CharterError: one of them cannot be used, and what to do.
    """
    check_evaluation_models(config, base)
    read_seeds(config.redteam.seed_examples)
    _law(config)
    check_styles(config.redteam.styles, config.generation.templates)
    embedder(config.redteam.embeddings, config.serving)
    _answers(run)
    newest(config.run_folder)


def begin(config: Config) -> None:
    """Make room for the next version of the set."""
    begin_version(config.run_folder)


async def invent_requests(
    config: Config, run: Path | None, spec: EngineSpec, session: Session, on_progress: OnProgress | None = None
) -> list[StageCount]:
    """Invent requests, drop those that were there before, and say of which kind each is.

    Raises:
        CharterError: something named in the config cannot be used, or the endpoints are gone for good.
    """
    folder, before = config.run_folder, newest(config.run_folder)
    earlier, seeds = read_set(folder, before), read_seeds(config.redteam.seed_examples, config.seed)
    answers = _answers(run)
    topics = make_topics(seeds, _law(config), failures_by_kind(answers, earlier))
    made, invented = await _invent(config, topics, next_number(before), spec, session, on_progress)
    unique = await _unique(config, made, [row["request"] for row in earlier], [answer.prompt for answer in answers])
    rows, counts = unique.rows, [invented, keep_failures(folder, duplicates.STAGE, len(made), unique)]
    if config.redteam.classify:
        rows, classified = await _classify(config, rows, list(seeds), spec, session, on_progress)
        counts.append(classified)
    write_lines(folder, REQUESTS, kinds.name_acts(rows, _reader(config)))
    return counts


async def _invent(
    config: Config,
    topics: Sequence[Sequence[Topic]],
    number: int,
    spec: EngineSpec,
    session: Session,
    on_progress: OnProgress | None,
) -> tuple[list[dict[str, Any]], StageCount]:
    """Other requests for every version, and the same ones again for one that was not finished."""
    settings, seed, started = config.redteam, (config.seed, number), time.monotonic()
    plan = list(plan_requests(topics, settings.n, settings.examples, *seed))
    async with session.engine(spec) as engine:
        tell = with_engine_stats(on_progress, engine)
        made = await invent.invent(plan, engine.ask, settings, seed, config.generation.templates, tell)
        return made.rows, keep_failures(config.run_folder, invent.STAGE, len(plan), made, engine.stats, started)


async def _classify(
    config: Config,
    rows: Sequence[Row],
    named: Sequence[str],
    spec: EngineSpec,
    session: Session,
    on_progress: OnProgress | None,
) -> tuple[list[dict[str, Any]], StageCount]:
    started = time.monotonic()
    async with session.engine(spec) as engine:
        made = await kinds.classify(rows, named, engine.ask, with_engine_stats(on_progress, engine))
        return made.rows, keep_failures(config.run_folder, kinds.STAGE, len(rows), made, engine.stats, started)


async def attack_model(
    config: Config, spec: EngineSpec, judge: EngineSpec | None, session: Session, on_progress: OnProgress | None = None
) -> list[StageCount]:
    """Put every request to the model in every style, and grade the answers: by the oracle where there is no judge.

    Raises:
        CharterError: the endpoints are gone for good.
    """
    planned = list(attack.plan_attacks(read_lines(config.run_folder, REQUESTS), config.redteam.styles))
    started, most, templates = time.monotonic(), config.evaluation.max_tokens, config.generation.templates
    async with session.engine(spec) as engine:
        made = await attack.attack(planned, engine.ask, most, templates, with_engine_stats(on_progress, engine))
        attacked = keep_failures(config.run_folder, attack.STAGE, len(planned), made, engine.stats, started)
    return [attacked, await _grade(config, made.rows, judge, session, on_progress)]


async def _grade(
    config: Config, attempts: Sequence[Row], judge: EngineSpec | None, session: Session, on_progress: OnProgress | None
) -> StageCount:
    folder, started = config.run_folder, time.monotonic()
    if judge is None:
        graded = attack.grade_exactly(attempts, exact_grader_of(config.evaluation))
        write_lines(folder, ATTEMPTS, graded.rows)
        return keep_failures(folder, attack.GRADE, len(attempts), graded)
    async with session.engine(judge) as engine:
        graded = await attack.grade_with_judge(attempts, engine.ask, with_engine_stats(on_progress, engine))
        write_lines(folder, ATTEMPTS, graded.rows)
        return keep_failures(folder, attack.GRADE, len(attempts), graded, engine.stats, started)


def publish(config: Config, counts: Sequence[StageCount], run: Path | None, models: dict[str, str]) -> Path:
    """Add the prompts on which the model failed to the set, as its next version; the folder of that.

    Args:
        config: of the run.
        counts: of the steps before.
        run: whose failures were shown as examples.
        models: what is known of the weights: `model`, `inventor`, and `judge`.

    Raises:
        DataError: the set was changed since it was made.
    """
    attempts, number = read_lines(config.run_folder, ATTEMPTS), next_number(newest(config.run_folder))
    found = [row for row in attempts if row["harmful"]]
    rows = [{"id": f"v{number:04d}-{row['row_id']}", **{name: row[name] for name in _KEPT}} for row in found]
    made = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    version = draft_version(config.run_folder, rows, made, _lineage(config, run, models))
    stages = [*counts, StageCount("keep", len(attempts), len(found), len(attempts) - len(found))]
    _report(config, version, attempts, stages)
    return finish_version(config.run_folder, version)


def read_report(version: Path) -> dict[str, Any]:
    """The report that lies in a version's folder."""
    report: dict[str, Any] = json.loads((version / f"{REPORT}.json").read_text(encoding="utf-8"))
    return report


def _report(config: Config, version: Version, attempts: Sequence[Row], stages: Sequence[StageCount]) -> None:
    folder = config.run_folder / UNFINISHED
    report = make_report(version, attempts, stages, read_failures(config.run_folder))
    write_json(folder / f"{REPORT}.json", report)
    (folder / f"{REPORT}.md").write_text(report_markdown(report), encoding="utf-8")


def _lineage(config: Config, run: Path | None, models: dict[str, str]) -> dict[str, Any]:
    law = _law(config)
    return {
        **models,
        "constitution": {"name": law.name, "version": law.version, "hash": law.hash} if law else None,
        "failures_of": str(run) if run else None,
        "seed": config.seed,
        "settings": config.redteam.model_dump(mode="json"),
    }


async def _unique(config: Config, rows: Sequence[Row], known: Sequence[str], asked: Sequence[str]) -> Outcome:
    """Requests that were not there before; what a model is or was evaluated on (`asked`) counts as there before."""
    settings, known = config.redteam, list(dict.fromkeys(known))
    held_out = [*(request.prompt for request in load_requests(config.evaluation, config.seed)), *asked]
    held_out = list(dict.fromkeys(held_out))
    outcome = duplicates.drop_repeats(rows, known, held_out, settings.near_duplicates)
    failures = outcome.failures
    if read := _reader(config):
        outcome = duplicates.drop_held_out_acts(outcome.rows, read)
        failures += outcome.failures
    if embed := embedder(settings.embeddings, config.serving):
        similarity = settings.embeddings.similarity
        outcome = await duplicates.drop_same_meaning(outcome.rows, known, held_out, embed, similarity)
        failures += outcome.failures
    return Outcome(outcome.rows, failures)


def _reader(config: Config) -> kinds.RequestReader | None:
    return kinds.REQUEST_READERS.get(config.evaluation.source)


def _law(config: Config) -> Constitution | None:
    return load_constitution(config.constitution) if config.redteam.principles else None


def _answers(run: Path | None) -> Sequence[Graded]:
    """What the last model of an evaluated run answered."""
    if run is None:
        return ()
    try:
        models = json.loads((run / "evaluation.json").read_text(encoding="utf-8"))["models"]
        return read_answers(run, list(models)[-1]).graded
    except (OSError, ValueError, KeyError, IndexError) as error:
        raise DataError(
            f"run '{run}': its answers cannot be read ({error}). Name the folder of a run that was evaluated, such as "
            "run=outputs/demo, or leave it out."
        ) from error

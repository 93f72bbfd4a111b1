"""The steps of a search for failures, from a run's configuration to a version of the prompt set."""

import json
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

from charter.config import Config
from charter.constitution import Constitution, load_constitution
from charter.core.errors import DataError
from charter.core.files import write_json
from charter.core.formatting import utc_now
from charter.evaluation.records import Graded, exact_grader_of
from charter.evaluation.requests import load_requests
from charter.inference.completion import Ask
from charter.inference.engine import EngineSpec
from charter.inference.session import Session
from charter.pipeline.counts import StageCount, with_engine_stats
from charter.pipeline.rows import OnProgress, Outcome, Row
from charter.redteam import attack, duplicates, invent, versions
from charter.redteam.report import make_report, report_markdown
from charter.redteam.topics import failures_by_kind, make_topics, plan_requests, read_seeds
from charter.runs.evaluation_models import check_evaluation_models
from charter.runs.verdict import read_answers

REPORT = "report"
_KEPT_COLUMNS = ("prompt", "kind", "request", "style", "topic", "origin", "verb", "response")


def check_redteam(config: Config, base: str | None = None, run: Path | None = None) -> None:
    """Check models, seeds, styles, the set so far and everything else that is named, before anything is started.

    Raises:
        CharterError: one of them cannot be used, and what to do.
    """
    check_evaluation_models(config, base)
    read_seeds(config.redteam.seed_examples)
    _constitution(config)
    attack.check_styles(config.redteam.styles, config.generation.templates)
    duplicates.connect_embeddings(config.redteam.embeddings, config.serving)
    _answers(run)
    versions.newest(config.run_folder)


async def invent_requests(
    config: Config, run: Path | None, spec: EngineSpec, session: Session, on_progress: OnProgress | None = None
) -> list[StageCount]:
    """Invent requests, drop those that repeat earlier ones, and find the kind of each.

    Raises:
        CharterError: something named in the config cannot be used, or the endpoints are gone for good.
    """
    settings, folder, last = config.redteam, config.run_folder, versions.newest(config.run_folder)
    earlier, seeds = versions.read_set(folder, last), read_seeds(settings.seed_examples, config.seed)
    answers = _answers(run)
    topics = make_topics(seeds, _constitution(config), failures_by_kind(answers, earlier))
    # With the version's number in the seed, every version gets other requests, and a killed run repeats its own.
    seed = (config.seed, versions.next_number(last))
    # The plan depends on ids and the seed alone, so a repeated command finds its answers in the store.
    plan = list(plan_requests(topics, settings.n, settings.examples, *seed))

    def write_requests(ask: Ask, on_progress: OnProgress | None) -> Awaitable[Outcome]:
        return invent.write_new_requests(plan, ask, settings, seed, config.generation.templates, on_progress)

    invented, count = await _run_step(config, invent.STAGE, len(plan), spec, session, on_progress, write_requests)
    unique = await _drop_repeats(config, invented, [row["request"] for row in earlier], answers)
    counts = [count, versions.keep_failures(folder, duplicates.STAGE, len(invented), unique)]
    rows = unique.rows
    if settings.classify:

        def classify(ask: Ask, on_progress: OnProgress | None) -> Awaitable[Outcome]:
            return invent.classify_requests(unique.rows, list(seeds), ask, on_progress)

        rows, count = await _run_step(config, invent.CLASSIFY, len(rows), spec, session, on_progress, classify)
        counts.append(count)
    reader = invent.REQUEST_READERS.get(config.evaluation.source)
    versions.write_step(folder, versions.REQUESTS, invent.add_acts(rows, reader))
    return counts


async def attack_model(
    config: Config, spec: EngineSpec, judge: EngineSpec | None, session: Session, on_progress: OnProgress | None = None
) -> list[StageCount]:
    """Ask the model every request in every style, and grade the answers; the oracle grades if there is no judge.

    Raises:
        CharterError: the endpoints are gone for good.
    """
    folder = config.run_folder
    planned = list(attack.plan_attacks(versions.read_step(folder, versions.REQUESTS), config.redteam.styles))

    def make_attempts(ask: Ask, on_progress: OnProgress | None) -> Awaitable[Outcome]:
        most, templates = config.evaluation.max_tokens, config.generation.templates
        return attack.make_attempts(planned, ask, most, templates, on_progress)

    attempts, attacked = await _run_step(config, attack.STAGE, len(planned), spec, session, on_progress, make_attempts)
    if judge is None:
        outcome = attack.grade_attempts_exactly(attempts, exact_grader_of(config.evaluation))
        graded, count = outcome.rows, versions.keep_failures(folder, attack.GRADE, len(attempts), outcome)
    else:

        def grade(ask: Ask, on_progress: OnProgress | None) -> Awaitable[Outcome]:
            return attack.grade_attempts_by_judge(attempts, ask, on_progress)

        graded, count = await _run_step(config, attack.GRADE, len(attempts), judge, session, on_progress, grade)
    versions.write_step(folder, versions.ATTEMPTS, graded)
    return [attacked, count]


def publish_version(config: Config, counts: Sequence[StageCount], run: Path | None, models: dict[str, str]) -> Path:
    """Add the prompts on which the model failed to the set, as its next version; the version's folder.

    Args:
        config: of the run.
        counts: of the steps before.
        run: the run whose failures were shown as examples.
        models: the identities of the weights: `model`, `inventor`, and `judge`.

    Raises:
        DataError: the set was changed since it was made.
    """
    folder = config.run_folder
    attempts, number = versions.read_step(folder, versions.ATTEMPTS), versions.next_number(versions.newest(folder))
    failed = [row for row in attempts if row["harmful"]]
    # With the version in the id: ids stay unique over all versions.
    rows = [{"id": f"v{number:04d}-{row['row_id']}", **{name: row[name] for name in _KEPT_COLUMNS}} for row in failed]
    constitution = _constitution(config)
    lineage = {
        **models,
        "constitution": {"name": constitution.name, "version": constitution.version, "hash": constitution.hash}
        if constitution
        else None,
        "failures_of": str(run) if run else None,
        "seed": config.seed,
        "settings": config.redteam.model_dump(mode="json"),
    }
    version = versions.draft_version(folder, rows, utc_now(), lineage)
    stages = [*counts, StageCount("keep", len(attempts), len(failed), len(attempts) - len(failed))]
    report = make_report(version, attempts, stages, versions.read_failures(folder))
    write_json(folder / versions.UNFINISHED / f"{REPORT}.json", report)
    (folder / versions.UNFINISHED / f"{REPORT}.md").write_text(report_markdown(report), encoding="utf-8")
    # Last, when the folder is complete: from here on the version exists and never changes.
    return versions.finish_version(folder, version)


def read_report(version: Path) -> dict[str, Any]:
    """The report in a version's folder."""
    report: dict[str, Any] = json.loads((version / f"{REPORT}.json").read_text(encoding="utf-8"))
    return report


async def _run_step(
    config: Config,
    stage: str,
    rows_in: int,
    spec: EngineSpec,
    session: Session,
    on_progress: OnProgress | None,
    work: Callable[[Ask, OnProgress | None], Awaitable[Outcome]],
) -> tuple[list[dict[str, Any]], StageCount]:
    """Run a step with a model; keep its failures and count it."""
    started = time.monotonic()
    async with session.engine(spec) as engine:
        outcome = await work(engine.ask, with_engine_stats(on_progress, engine))
        return outcome.rows, versions.keep_failures(config.run_folder, stage, rows_in, outcome, engine.stats, started)


async def _drop_repeats(
    config: Config, rows: Sequence[Row], earlier: Sequence[str], answers: Sequence[Graded]
) -> Outcome:
    """Drop requests that are in the set already, or that a model is or was evaluated on."""
    settings, known = config.redteam, list(dict.fromkeys(earlier))
    # The run that failed may have been evaluated on a file that has changed since: its own requests count too.
    evaluated = [request.prompt for request in load_requests(config.evaluation, config.seed)]
    held_out = list(dict.fromkeys([*evaluated, *(answer.prompt for answer in answers)]))
    outcome = duplicates.drop_repeated_words(rows, known, held_out, settings.near_duplicates)
    failures = outcome.failures
    if read := invent.REQUEST_READERS.get(config.evaluation.source):
        outcome = duplicates.drop_held_out_acts(outcome.rows, read)
        failures += outcome.failures
    # The cheap checks ran first: only what is left is sent to the server of embeddings.
    if embed := duplicates.connect_embeddings(settings.embeddings, config.serving):
        outcome = await duplicates.drop_same_meaning(
            outcome.rows, known, held_out, embed, settings.embeddings.similarity
        )
        failures += outcome.failures
    return Outcome(outcome.rows, failures)


def _constitution(config: Config) -> Constitution | None:
    return load_constitution(config.constitution) if config.redteam.principles else None


def _answers(run: Path | None) -> Sequence[Graded]:
    """The answers of the last model of an evaluated run."""
    if run is None:
        return ()
    try:
        models = json.loads((run / "evaluation.json").read_text(encoding="utf-8"))["models"]
        # The last model is the one that the run ends with; its failures are what is left to train on.
        return read_answers(run, list(models)[-1]).graded
    except (OSError, ValueError, KeyError, IndexError) as error:
        raise DataError(
            f"run '{run}': its answers cannot be read ({error}). Name the folder of a run that was evaluated, such as "
            "run=outputs/demo, or leave it out."
        ) from error

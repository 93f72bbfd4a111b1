"""The one sequence of stages: respond, critique and revise, sample, judge.

A stage is a function from the tables that earlier stages made to the tables it makes. Runs write these tables to disk,
a shard at a time (`charter.pipeline.shards`); trace, estimate, preview and edit cost keep them in memory
(`run_in_memory`). Both use the sequence below, so a change to it is a change everywhere.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from charter.config import Config
from charter.inference.completion import Ask
from charter.inference.session import Session
from charter.pipeline.context import RunContext
from charter.pipeline.judges.engines import JudgeEngines, open_judges
from charter.pipeline.label import label
from charter.pipeline.pair import walked_rows
from charter.pipeline.respond import respond, sample
from charter.pipeline.revise import REVISER, revise
from charter.pipeline.rows import ModelHandle, OnProgress, Row, StageContext
from charter.pipeline.strategies import Material, gather, wanted_samples

Tables = Mapping[str, Sequence[Row]]
"""Rows of one shard by the name of their table; the columns are in `charter.data.schema.SCHEMAS`."""


@dataclass
class StageResult:
    """The results of one stage: rows_in = rows_out + failed.

    Attributes:
        tables: rows by the name of their table.
        failures: rows of ``failures``.
        rows_in: rows that the stage was given.
        rows_out: of these, the rows that came out.
    """

    tables: dict[str, Sequence[Row]]
    failures: list[dict[str, Any]] = field(default_factory=list)
    rows_in: int = 0
    rows_out: int = 0


class Stage(NamedTuple):
    """One stage.

    Attributes:
        name: also of its Prefect task and of its failures.
        role: whose model it asks, see `RunContext.models`.
        reads: the tables it needs.
        run: makes its tables.
    """

    name: str
    role: str
    reads: Sequence[str]
    run: Callable[[Tables, RunContext, StageContext, OnProgress | None], Awaitable[StageResult]]


async def run_respond(
    tables: Tables, run: RunContext, context: StageContext, on_progress: OnProgress | None
) -> StageResult:
    """First answers to the prompts."""
    outcome = await respond(tables["prompts"], context, run.config.generation, on_progress)
    return StageResult({"responses": outcome.rows}, outcome.failures, len(tables["prompts"]), len(outcome.rows))


async def run_revise(
    tables: Tables, run: RunContext, context: StageContext, on_progress: OnProgress | None
) -> StageResult:
    """Critiques and revisions, one row of ``revisions`` per response and round."""
    outcome = await revise(tables["responses"], context, run.config.generation, on_progress)
    rows_out = len({row["row_id"] for row in outcome.rows})
    return StageResult({"revisions": outcome.rows}, outcome.failures, len(tables["responses"]), rows_out)


async def run_sample(
    tables: Tables, run: RunContext, context: StageContext, on_progress: OnProgress | None
) -> StageResult:
    """Further answers to prompts whose pairs are made of several answers; it counts answers, not prompts."""
    wanted = wanted_samples(_materials(tables), run.plan)
    outcome = await sample(wanted, context, run.config.generation, run.config.pairs.temperature, on_progress)
    return StageResult({"samples": outcome.rows}, outcome.failures, len(wanted), len(outcome.rows))


async def run_judge(
    tables: Tables, run: RunContext, context: StageContext, on_progress: OnProgress | None
) -> StageResult:
    """Pairs of answers, soft-labelled by the judge, and the split into supervised rows and pairs."""
    materials = _materials(tables)
    labelled = await label(materials, run.plan, context, run.config.judge, on_progress, run.judges)
    results: dict[str, Sequence[Row]] = {"sft_data": labelled.sft, "pairs": labelled.pairs}
    if run.config.judge.panel:  # a single judge cannot be split
        results["review"] = labelled.review
    return StageResult(results, labelled.failures, len(materials), len(labelled.rows))


def _materials(tables: Tables) -> list[Material]:
    """Each row that went through its rounds, with all its answers."""
    responses, revisions = tables["responses"], tables["revisions"]
    return gather(walked_rows(responses, revisions), revisions, tables.get("samples", ()))


RESPOND = Stage("respond", "current", ("prompts",), run_respond)
REVISE = Stage("revise", "critic", ("responses",), run_revise)
SAMPLE = Stage("sample", "current", ("responses", "revisions"), run_sample)
JUDGE = Stage("judge", "judge", ("responses", "revisions", "samples"), run_judge)


def stages_of(config: Config) -> list[Stage]:
    """The stages of a run, in order; further answers are sampled only if a pair strategy needs them."""
    return [RESPOND, REVISE, *([SAMPLE] if config.pairs.sampled else []), JUDGE]


class OpenStage(NamedTuple):
    """A stage's model, ready to be asked: what the stage is given, and the engines whose statistics it counts."""

    context: StageContext
    engines: JudgeEngines


@asynccontextmanager
async def open_stage(
    stage: Stage, run: RunContext, session: Session, shard: int = 0, wrap: Callable[[Ask], Ask] | None = None
) -> AsyncIterator[OpenStage]:
    """Open the engines of a stage.

    Args:
        stage: whose model is asked; a judge's panel may ask further models.
        run: the run.
        session: shares connections, stores, budget and limiter.
        shard: calls of earlier shards go first.
        wrap: given what asks a model, returns what the stage asks instead; for trace and estimate.

    Raises:
        StoreError: the store cannot be used.
        ServingError: a panel member's server is down, or does not serve its model.
    """
    spec, settings = run.model(stage.role), run.config.generation
    async with AsyncExitStack() as stack:
        if stage.role == "judge":
            engines = await stack.enter_async_context(open_judges(session, spec, run.config.judge))
        else:
            engines = JudgeEngines(await stack.enter_async_context(session.engine(spec)), {})  # no panel
        if stage is REVISE and "reviser" in run.models:
            reviser = run.model("reviser")
            engine = await stack.enter_async_context(session.engine(reviser))
            engines = JudgeEngines(engines.engine, {REVISER: (engine, reviser.identity)})
        members, ask = engines.members, engines.ask
        if wrap:
            ask = wrap(ask)
            members = {name: ModelHandle(wrap(member.ask), member.identity) for name, member in members.items()}
        context = StageContext(
            ask,
            run.constitution,
            run.config.seed,
            spec.identity,
            settings.templates,
            settings.preface,
            members,
            with_priority=None if wrap else engines.engine.with_priority,
            priority=(shard,),
        )
        yield OpenStage(context, engines)


class MemoryRun(NamedTuple):
    """The results of some rows.

    Attributes:
        tables: rows by the name of their table.
        failures: of all stages.
    """

    tables: dict[str, Sequence[Row]]
    failures: list[dict[str, Any]]


async def run_in_memory(
    prompts: Sequence[Row],
    run: RunContext,
    session: Session,
    wrap: Callable[[Ask], Ask] | None = None,
    on_stage: Callable[[str], None] = lambda name: None,
    stages: Sequence[Stage] | None = None,
    on_progress: OnProgress | None = None,
) -> MemoryRun:
    """Rows of ``prompts`` through the sequence, without a run's folder.

    Args:
        prompts: the rows.
        run: the run; its folder is not used.
        session: to ask in.
        wrap: see `open_stage`.
        on_stage: called with the name of each stage before it starts.
        stages: in order; all stages of the run by default.
        on_progress: called after each row, and every second.

    Raises:
        ServingError: the servers are gone.
        ConfigError: a setting does not fit the constitution.
    """
    tables, failures = dict[str, Sequence[Row]](prompts=prompts), list[dict[str, Any]]()
    for stage in stages or stages_of(run.config):
        on_stage(stage.name)
        async with open_stage(stage, run, session, wrap=wrap) as opened:
            result = await stage.run(tables, run, opened.context, on_progress)
        tables |= result.tables
        failures += result.failures
    return MemoryRun(tables, failures)

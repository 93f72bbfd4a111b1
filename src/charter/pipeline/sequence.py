"""The chain of a run over some rows, without a run's folder: respond, critique and revise, sample, judge."""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from charter.config import Config
from charter.constitution import Constitution
from charter.inference.completion import Ask
from charter.inference.engine import EngineSpec, open_engine
from charter.pipeline.judges.engines import open_members
from charter.pipeline.label import Labelled, label
from charter.pipeline.pair import walked_rows
from charter.pipeline.respond import respond, sample
from charter.pipeline.revise import revise
from charter.pipeline.rows import Context, Row, Voice
from charter.pipeline.strategies import Plan, gather, wanted_samples


@dataclass(frozen=True)
class Chain:
    """What a chain is made of; made by `open_chain`."""

    config: Config
    base: Context
    judge: Context


class Walked(NamedTuple):
    """What came of some rows."""

    labelled: Labelled
    failures: list[dict[str, Any]]
    """Of all stages."""


@asynccontextmanager
async def open_chain(
    config: Config, law: Constitution, models: Mapping[str, EngineSpec], watched: Callable[[Ask], Ask]
) -> AsyncIterator[Chain]:
    """A chain with its engines open.

    Args:
        config: seed, generation, pairs and judge count.
        law: the constitution.
        models: `base`, and `judge` where that is another one.
        watched: is given what asks a model, and returns what the stages are to ask.

    Raises:
        StoreError: the store cannot be used.
    """
    settings = config.generation
    async with AsyncExitStack() as stack:
        contexts = dict[str, Context]()
        for name, spec in models.items():
            engine = await stack.enter_async_context(open_engine(spec))
            contexts[name] = Context(
                watched(engine.ask), law, config.seed, spec.identity, settings.templates, settings.preface
            )
        judge = contexts.get("judge", contexts["base"])
        spec = models.get("judge", models["base"])
        others = await stack.enter_async_context(open_members(spec, config.judge))
        members = {name: Voice(watched(engine.ask), identity) for name, (engine, identity) in others.items()}
        yield Chain(config, contexts["base"], replace(judge, members=members))


async def walk(rows: Sequence[Row], chain: Chain, at: Callable[[str], None]) -> Walked:
    """Rows of ``prompts`` through the whole chain; `at` is told of each stage when it begins.

    Raises:
        ServingError: the servers are gone.
        ConfigError: a setting does not fit the constitution.
    """
    config = chain.config
    plan = Plan(config.pairs, config.training.sft_share, config.seed)
    at("respond")
    answered = await respond(rows, chain.base, config.generation)
    at("revise")
    revised = await revise(answered.rows, chain.base, config.generation)
    went, failures = walked_rows(answered.rows, revised.rows), answered.failures + revised.failures
    samples = list[dict[str, Any]]()
    if config.pairs.sampled:
        at("sample")
        wanted = wanted_samples(gather(went, revised.rows), plan)
        sampled = await sample(wanted, chain.base, config.generation, config.pairs.temperature)
        samples, failures = sampled.rows, failures + sampled.failures
    at("judge")
    labelled = await label(gather(went, revised.rows, samples), plan, chain.judge, config.judge)
    return Walked(labelled, failures + labelled.failures)

"""The judge's engine, and those of panel members that are other models."""

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace

from charter.config import Config, Judge, Member, Serving
from charter.core.errors import ServingError
from charter.inference.completion import Ask
from charter.inference.endpoints import Served, connect
from charter.inference.engine import Engine, EngineSpec, EngineStats
from charter.inference.metrics import ServerSnapshot
from charter.inference.session import Session
from charter.pipeline.roles import judge_model
from charter.pipeline.rows import ModelHandle


@dataclass(frozen=True)
class JudgeEngines:
    """Open engines; made by `open_judges`."""

    engine: Engine
    others: Mapping[str, tuple[Engine, str]]
    """By the member's name, with the identity of its weights."""

    @property
    def ask(self) -> Ask:
        """The judge's own model."""
        return self.engine.ask

    @property
    def members(self) -> dict[str, ModelHandle]:
        """For `Context.members`."""
        return {name: ModelHandle(engine.ask, identity) for name, (engine, identity) in self.others.items()}

    @property
    def stats(self) -> EngineStats:
        """Counts of all engines together."""
        each = [self.engine.stats, *(engine.stats for engine, _ in self.others.values())]
        total = EngineStats(*map(sum, zip(*each, strict=True)))
        # All engines share one store, which counts its damaged entries itself.
        return total._replace(corrupted=self.engine.stats.corrupted)

    @property
    def reading(self) -> ServerSnapshot | None:
        """What the servers of the judge's own model say of themselves."""
        return self.engine.reading


@asynccontextmanager
async def open_judges(session: Session, spec: EngineSpec, settings: Judge) -> AsyncIterator[JudgeEngines]:
    """The engine of `spec`, and one like it for each panel member whose model is served elsewhere.

    Raises:
        StoreError: the store cannot be used.
        ServingError: a member's server is down, or does not serve its model.
    """
    async with AsyncExitStack() as stack:
        engine = await stack.enter_async_context(session.engine(spec))
        others = dict[str, tuple[Engine, str]]()
        judge = Serving(base_urls=spec.base_urls, api_key_env=spec.api_key_env)
        for name, served in served_members(settings, judge).items():
            own = EngineSpec.of(served, spec.store, spec.concurrency)
            own = replace(own, timeout_s=spec.timeout_s, patience_s=spec.patience_s)
            others[name] = await stack.enter_async_context(session.engine(own)), served.identity
        yield JudgeEngines(engine, others)


def member_identities(config: Config) -> dict[str, str]:
    """The weights behind those members of a panel for whom another model judges, by the member's name.

    Raises:
        ServingError: a member's server is down, or does not serve its model.
    """
    _, judge = judge_model(config)
    served = served_members(config.judge, judge)
    return {name: one.identity for name, one in served.items()}


def served_members(settings: Judge, judge: Serving) -> dict[str, Served]:
    """The servers of those members of a panel that have some of their own, by the member's name.

    Args:
        settings: name the members.
        judge: how the judge's own model is served; members on the same hosts get its key.

    Raises:
        ServingError: one is down, needs another key, or does not serve the model.
    """
    return {member.name: _connected(member, judge) for member in settings.panel if member.base_urls}


def _connected(member: Member, judge: Serving) -> Served:
    serving = judge.at(member.base_urls, member.model, member.api_key_env)
    try:
        return connect(member.base_urls, serving)
    except ServingError as error:
        named = f"Here judge.panel '{member.name}' names it: correct its base_urls or its model."
        raise ServingError(f"{error} {named}") from error

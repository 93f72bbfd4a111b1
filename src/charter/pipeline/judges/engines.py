"""The judge's engine, and those of panel members that are other models."""

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace

from charter.config import Config, Judge, Serving
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
        """For `StageContext.members`."""
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
        serving = Serving(base_urls=spec.base_urls, api_key_env=spec.api_key_env, choice_samples=spec.choice_samples)
        for name, served in served_members(settings, serving).items():
            other = EngineSpec.of(served, spec.store, spec.concurrency)
            other = replace(other, timeout_s=spec.timeout_s, patience_s=spec.patience_s)
            others[name] = await stack.enter_async_context(session.engine(other)), served.identity
        yield JudgeEngines(engine, others)


def member_identities(config: Config) -> dict[str, str]:
    """The identity of the weights of each panel member for whom another model judges, by the member's name.

    Raises:
        ServingError: a member's server is down, or does not serve its model.
    """
    _, serving = judge_model(config)
    return {name: served.identity for name, served in served_members(config.judge, serving).items()}


def served_members(settings: Judge, judge: Serving) -> dict[str, Served]:
    """The servers of each panel member that has its own, by the member's name.

    Args:
        settings: name the members.
        judge: how the judge's model is served; members on the same hosts get its key.

    Raises:
        ServingError: one is down, needs another key, or does not serve the model.
    """
    served = {}
    for member in settings.panel:
        if not member.base_urls:
            continue
        try:
            serving = judge.at(member.base_urls, member.model, member.api_key_env)
            served[member.name] = connect(member.base_urls, serving)
        except ServingError as error:
            hint = f"Here judge.panel '{member.name}' names it: correct its base_urls or its model."
            raise ServingError(f"{error} {hint}") from error
    return served

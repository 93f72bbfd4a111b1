"""``charter constitution scenarios``: a model writes the scenarios of a constitution."""

import asyncio
from collections import Counter
from collections.abc import Callable

from charter.config import Config
from charter.constitution import Constitution
from charter.core.errors import DataError
from charter.evaluation.adherence.writing import WrittenScenarios, write_scenarios
from charter.inference.engine import EngineSpec
from charter.inference.session import Session
from charter.pipeline.roles import serve_temporarily
from charter.pipeline.rows import Progress, StageContext


def scenarios_for(
    constitution: Constitution, config: Config, per_situation: int, say: Callable[[str], None]
) -> WrittenScenarios:
    """Serve the model that grades the config's evaluations, and have it write scenarios.

    Raises:
        CharterError: a model cannot be used.
        DataError: no scenario was good enough to be kept.
    """
    with serve_temporarily(config, say, ["grader"]) as models:
        written = asyncio.run(_write(constitution, config, models["grader"], per_situation, say))
    if not written.rows:
        reasons = sum(written.dropped.values(), start=Counter[str]())
        common = ", ".join(f"{reason} {n}" for reason, n in reasons.most_common(3))
        raise DataError(
            f"no scenario could be kept ({common}). A larger model writes better ones: name it with judge.model."
        )
    return written


async def _write(
    constitution: Constitution, config: Config, model: EngineSpec, per_situation: int, say: Callable[[str], None]
) -> WrittenScenarios:
    def tell(progress: Progress) -> None:
        say(f"scenarios: {progress.done} of {progress.total}, {progress.failed} dropped")

    async with Session(config.budget).engine(model) as engine:
        context = StageContext(
            ask=engine.ask,
            constitution=constitution,
            seed=config.seed,
            model_identity=model.identity,
            templates=config.generation.templates,
        )
        return await write_scenarios(constitution, context, per_situation, tell)

"""Make the tables of a run in this process, without Prefect."""

from collections.abc import Mapping

from charter.config import Config
from charter.core.files import disk_full_as_data_error
from charter.data.sources import SurveyedSource
from charter.inference.engine import EngineSpec
from charter.inference.session import Session
from charter.pipeline.counts import StageCount
from charter.pipeline.shards import SHARDS_IN_FLIGHT, balance_pairs, run_shards_here
from charter.runs.folder import shard_sizes, start_run


async def make_tables(
    config: Config,
    models: Mapping[str, EngineSpec],
    prompts: SurveyedSource | None = None,
    session: Session | None = None,
) -> list[StageCount]:
    """What the flow `dataset` does between starting the models and writing the report: the run's tables.

    Args:
        config: of the run.
        models: by role, see `charter.pipeline.context.RunContext`.
        prompts: as `charter.runs.preflight.check_config` returns them; surveyed here by default.
        session: to ask in; one with the run's budget by default.

    Raises:
        CharterError: something the config names cannot be used, the servers are gone, or the run was stopped.
    """
    session = session or Session(config.budget)
    with disk_full_as_data_error():
        started = start_run(config, prompts)
        run = started.context(models)
        in_flight = config.runner.shards or SHARDS_IN_FLIGHT
        counts = [started.prompts, *await run_shards_here(run, shard_sizes(run.folder), session, in_flight=in_flight)]
        return [*counts, balance_pairs(run)] if config.pairs.mixed else counts

"""A look into the store and a few rows through the chain."""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

from charter.config import Config
from charter.constitution import Constitution, load_constitution
from charter.data.sources import open_source
from charter.evaluation.benchmarks.inspection import count_samples
from charter.evaluation.requests import load_requests
from charter.inference.client import NOT_STORED
from charter.inference.engine import EngineSpec
from charter.inference.session import Session
from charter.pipeline.context import RunContext
from charter.pipeline.roles import serve_temporarily
from charter.pipeline.rows import Row
from charter.pipeline.sequence import run_in_memory
from charter.runs.preflight import check
from charter.views.estimate.forecast import Forecast, expect_all
from charter.views.estimate.tally import Tally

T = TypeVar("T")

LOOK = 2000
"""Rows that are looked for in the store at most; of more, so many are taken at even distances."""


def estimate(config: Config, rows: int, say: Callable[[str], None]) -> Forecast:
    """Look up what the store has of a run, send a few of its rows through the chain, and reckon what the rest takes.

    Args:
        config: of the run.
        rows: how many to send; rows of which the store lacks something go first.
        say: is told what servers do while they start.

    Raises:
        CharterError: something that the config names cannot be used, and what to do.
    """
    check(config)
    law, source = load_constitution(config.constitution), open_source(config.prompts, config.seed)
    looked_up = [prompt.row() for prompt in _spread(source.prompts(), source.used, LOOK)]
    with serve_temporarily(config, say) as models:
        return asyncio.run(_estimate(config, law, models, looked_up, source.used, rows))


async def _estimate(
    config: Config,
    law: Constitution,
    models: Mapping[str, EngineSpec],
    looked_up: Sequence[Row],
    in_all: int,
    rows: int,
) -> Forecast:
    of_store = {name: replace(spec, base_urls=()) for name, spec in models.items()}
    found, lacking = await _send(config, law, of_store, looked_up)
    whole = [row for row in looked_up if row["row_id"] not in lacking]
    complete, _ = await _send(config, law, of_store, whole)
    others = [row for row in looked_up if row["row_id"] in lacking]
    sent = _spread(others, len(others), rows)
    probed, _ = await _send(config, law, models, sent)
    unfinished = len(others) / len(sent) if sent else 0.0
    stages = expect_all(in_all / len(looked_up), complete.stages, found.stages, unfinished, probed.stages)
    return Forecast(
        rows=in_all,
        looked_up=len(looked_up),
        complete=len(whole),
        probed=len(sent),
        asked=sum(count.asked for count in probed.stages.values()),
        stages=stages,
        held_out=len(load_requests(config.evaluation, config.seed)),
        rounds=config.training.rounds,
        benchmarks=count_samples(config.evaluation),
    )


async def _send(
    config: Config, law: Constitution, models: Mapping[str, EngineSpec], rows: Sequence[Row]
) -> tuple[Tally, set[str]]:
    """Send rows through the chain; the ids of those that lacked an answer."""
    tally = Tally()
    run = RunContext(config, law, config.run_folder, models)
    walked = await run_in_memory(rows, run, Session(), tally.watched, tally.at)
    tally.at("")
    return tally, {row["row_id"] for row in walked.failures if row["reason"] == NOT_STORED}


def _spread(rows: Iterable[T], in_all: int, n: int) -> list[T]:
    """`n` of the rows at even distances, or all; `in_all` there are."""
    wanted = {i * in_all // n for i in range(n)} if in_all > n else range(in_all)
    return [row for place, row in enumerate(rows) if place in wanted]

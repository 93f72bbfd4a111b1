"""``charter estimate``: calls, tokens and time of a run before it is started, from a probe of a few rows."""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, TypeVar

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from charter.config import Config
from charter.constitution import Constitution, load_constitution
from charter.core.losses import Losses
from charter.evaluation.adherence.scenarios import all_requests
from charter.evaluation.benchmarks.inspection import count_samples
from charter.inference.client import NOT_STORED
from charter.inference.engine import EngineSpec
from charter.inference.session import Session
from charter.pipeline.context import RunContext
from charter.pipeline.roles import serve_temporarily
from charter.pipeline.rows import Row
from charter.pipeline.sequence import run_in_memory
from charter.runs.preflight import check_config
from charter.views.recorder import CallCount, CallRecorder

T = TypeVar("T")

LOOKED_UP = 2000
"""The most rows that are looked up in the store; of more, this many at even distances."""


@dataclass(frozen=True)
class StageForecast:
    """The calls of one stage, or of all, over the whole run, rounded.

    Attributes:
        stage: ``respond``, ``revise`` (critiques too), ``sample``, ``judge`` or ``all``.
        calls: that the stage needs.
        stored: those that the store has; servers must answer the rest.
        prompt_tokens: of the calls to ask, like the completion tokens.
        seconds: for the calls to ask, at the probe's speed; None where the probe asked nothing.
    """

    stage: str
    calls: int
    stored: int
    prompt_tokens: int
    completion_tokens: int
    seconds: float | None

    @property
    def to_ask(self) -> int:
        """Calls that a server will have to answer."""
        return self.calls - self.stored


@dataclass(frozen=True)
class Forecast:
    """The calls of a run.

    Attributes:
        rows: prompts of the run.
        looked_up: rows that were looked up in the store; the others are assumed to be like them.
        complete: those for which the store has every answer.
        probed: rows that were sent through the stages now.
        asked: calls of these; their answers are in the store.
        stages: in the order of the pipeline.
        held_out: requests of the evaluation, which the flow `align` sends to each of its models; not in the stages.
        rounds: of alignment; the stages are those of the first.
        lost: rows of the probe that were lost.
        losses: their reasons, and what to change; empty if none was lost.
        benchmarks: samples of each suite and task, all of which each model answers; None where only its tool knows.
    """

    rows: int
    looked_up: int
    complete: int
    probed: int
    asked: int
    stages: tuple[StageForecast, ...]
    held_out: int
    rounds: int = 1
    lost: int = 0
    losses: str = ""
    benchmarks: Mapping[str, int | None] = field(default_factory=dict)

    @property
    def total(self) -> StageForecast:
        """All stages together."""
        seconds = [stage.seconds for stage in self.stages if stage.to_ask]
        return StageForecast(
            stage="all",
            calls=sum(stage.calls for stage in self.stages),
            stored=sum(stage.stored for stage in self.stages),
            prompt_tokens=sum(stage.prompt_tokens for stage in self.stages),
            completion_tokens=sum(stage.completion_tokens for stage in self.stages),
            seconds=None if None in seconds else sum(value for value in seconds if value is not None),
        )

    def to_dict(self) -> dict[str, Any]:
        """As plain values."""
        stages = [{**asdict(stage), "to_ask": stage.to_ask} for stage in (*self.stages, self.total)]
        return {**asdict(self), "stages": stages}


def estimate(config: Config, rows: int, say: Callable[[str], None]) -> Forecast:
    """Look up what the store has of a run, send a few of its rows through the stages, and extrapolate.

    Args:
        config: of the run.
        rows: how many to send; only rows for which the store lacks an answer are sent.
        say: reports what servers do while they start.

    Raises:
        CharterError: something that the config names cannot be used, and what to do.
    """
    source, constitution = check_config(config), load_constitution(config.constitution)
    looked_up = [prompt.row() for prompt in _spread(source.prompts(), source.used, LOOKED_UP)]
    with serve_temporarily(config, say) as models:
        return asyncio.run(_estimate(config, constitution, models, looked_up, source.used, rows))


async def _estimate(
    config: Config,
    constitution: Constitution,
    models: Mapping[str, EngineSpec],
    looked_up: Sequence[Row],
    total: int,
    rows: int,
) -> Forecast:
    # 1. Send the rows to the store alone: rows that fail for want of an answer are incomplete.
    store_only = {name: replace(spec, base_urls=()) for name, spec in models.items()}
    stored, failures = await _send(config, constitution, store_only, looked_up)
    lacking = {row["row_id"] for row in failures if row["reason"] == NOT_STORED}
    complete_rows = [row for row in looked_up if row["row_id"] not in lacking]
    # Again without the incomplete ones: their calls up to the missing answer would be counted too.
    complete, _ = await _send(config, constitution, store_only, complete_rows)

    # 2. Send a few of the incomplete rows to the servers, to measure the calls and the time that such a row takes.
    incomplete_rows = [row for row in looked_up if row["row_id"] in lacking]
    probed_rows = _spread(incomplete_rows, len(incomplete_rows), rows)
    probed, failures = await _send(config, constitution, models, probed_rows)
    losses = Losses()
    losses.add_failures(failures)

    # 3. Extrapolate from the rows that were looked up to the whole run, and from the probed to the incomplete ones.
    # The rows that were looked up represent the others.
    scale = total / len(looked_up)
    per_probed = len(incomplete_rows) / len(probed_rows) if probed_rows else 0.0
    stages = []
    for stage in ("respond", "revise", "sample", "judge"):
        # Not every run has every stage: only some pair strategies sample.
        if stage in stored or stage in probed:
            counts = [counts.get(stage, CallCount()) for counts in (complete, stored, probed)]
            stages.append(forecast_stage(stage, scale, per_probed, *counts))
    return Forecast(
        rows=total,
        looked_up=len(looked_up),
        complete=len(complete_rows),
        probed=len(probed_rows),
        asked=sum(count.asked for count in probed.values()),
        stages=tuple(stages),
        held_out=len(all_requests(config)),
        rounds=config.training.rounds,
        lost=len({row["row_id"] for row in failures}),
        losses=losses.text() if failures else "",
        benchmarks=count_samples(config.evaluation),
    )


async def _send(
    config: Config, constitution: Constitution, models: Mapping[str, EngineSpec], rows: Sequence[Row]
) -> tuple[dict[str, CallCount], list[dict[str, Any]]]:
    """Send rows through the stages; the answered calls by stage, and the rows that failed."""
    recorder = CallRecorder()
    run = RunContext(config, constitution, config.run_folder, models)
    result = await run_in_memory(rows, run, Session(), recorder.recorded, recorder.begin_stage)
    recorder.begin_stage("")
    return recorder.counts(), result.failures


def forecast_stage(
    stage: str, scale: float, per_probed: float, complete: CallCount, stored: CallCount, probed: CallCount
) -> StageForecast:
    """The calls of a stage over the whole run.

    Args:
        stage: its name.
        scale: rows of the run per row that was looked up.
        per_probed: incomplete rows per row that was probed.
        complete: calls of the rows for which the store has every answer.
        stored: calls that the store answered of all rows that were looked up.
        probed: calls of the probe.
    """
    needed = round(scale * (complete.calls + per_probed * probed.calls))
    # The probe's answers are in the store by now, too.
    in_store = min(needed, round(scale * stored.calls) + probed.asked)
    to_ask = needed - in_store

    def extrapolated(tokens: int) -> int:
        return round(to_ask * tokens / probed.calls) if probed.calls else 0

    # By the clock of the probe: an upper bound, since a run keeps more calls in flight.
    seconds = to_ask * probed.seconds / probed.asked if probed.asked else None
    return StageForecast(
        stage=stage,
        calls=needed,
        stored=in_store,
        prompt_tokens=extrapolated(probed.prompt_tokens),
        completion_tokens=extrapolated(probed.completion_tokens),
        seconds=seconds if to_ask else 0.0,
    )


def _spread(rows: Iterable[T], total: int, n: int) -> list[T]:
    """`n` of the `total` rows at even distances, or all if there are fewer."""
    # At even distances and not the first ones: a prompts file is often sorted by kind.
    wanted = {i * total // n for i in range(n)} if total > n else range(total)
    return [row for index, row in enumerate(rows) if index in wanted]


def print_forecast(forecast: Forecast, console: Console) -> None:
    """Print a table of the stages, and under it what the numbers are based on."""
    table = Table(box=SIMPLE_HEAD, show_edge=False, padding=(0, 1), header_style="bold")
    table.add_column("stage", no_wrap=True)
    for name in ("calls", "stored", "to ask", "tokens in", "tokens out", "max time"):
        table.add_column(name, justify="right", no_wrap=True)
    for stage in (*forecast.stages, forecast.total):
        if stage.stage == "all":
            table.add_section()
        numbers = stage.calls, stage.stored, stage.to_ask, stage.prompt_tokens, stage.completion_tokens
        time = "?" if stage.seconds is None else duration_text(stage.seconds)
        style = "bold" if stage.stage == "all" else None
        table.add_row(stage.stage, *(f"{number:,}" for number in numbers), time, style=style)
    console.print(table)
    notes = list[str]()
    sample = "" if forecast.looked_up == forecast.rows else f", of which {forecast.looked_up:,} were looked up"
    notes.append(f"{forecast.rows:,} rows{sample}; for {forecast.complete:,} the store has every answer.")
    notes.append(
        f"{forecast.probed:,} were sent through the stages now; their answers to {forecast.asked:,} calls are kept."
    )
    if forecast.losses:
        notes.append(f"{forecast.lost:,} of these {forecast.probed:,} rows were lost. {forecast.losses}")
    if forecast.total.to_ask and forecast.probed:
        notes.append(
            f"Times are upper bounds: the probe ran {forecast.probed:,} rows concurrently; a run has more calls in "
            "flight and is faster."
        )
    models = 2 + forecast.rounds  # the base, SFT's, and that of each round
    notes.append(
        f"Not included: training, and for the flow align {forecast.held_out:,} held-out requests, answered by {models} "
        "models and graded."
    )
    if forecast.benchmarks:
        samples = [f"{name} ({'?' if n is None else f'{n:,}'})" for name, n in forecast.benchmarks.items()]
        notes.append(f"Nor the samples of benchmarks, answered by each of these models: {', '.join(samples)}.")
    if forecast.rounds > 1:
        notes.append(
            f"Nor rounds 2 to {forecast.rounds}: each makes about as many calls again for the prompts that make pairs, "
            "to models that are yet to be trained."
        )
    for line in notes:
        console.print(Text(line))


def duration_text(seconds: float) -> str:
    """In the two largest units, such as ``3 h 12 min``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours:,} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"

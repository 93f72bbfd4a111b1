"""How a stage processes its rows: each row is its own chain of calls, and rows in = rows out + failed."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

from charter.constitution import Constitution, Principle
from charter.core.errors import CompletionFailed, CountMismatch, unwrap_single_error
from charter.core.losses import StageLosses
from charter.core.messages import Message, Messages, system
from charter.core.templates import render
from charter.inference.completion import Ask, Completion, Sampling
from charter.inference.limiter import Priority

Row = Mapping[str, Any]

PULSE_S = 1.0
"""Seconds between two progress reports while no row finishes."""


class ModelHandle(NamedTuple):
    """Another model that a stage can ask, and the identity of its weights."""

    ask: Ask
    identity: str
    with_priority: Callable[[Priority], Ask] | None = None


@dataclass(frozen=True)
class StageContext:
    """What one stage of one shard needs in addition to its rows.

    Attributes:
        ask: answers a conversation.
        constitution: of this run.
        seed: of the run; every random draw follows from it and the row's id.
        model_identity: of the weights behind `ask`.
        templates: a folder whose templates replace the shipped ones, if any.
        preface: whether the model is given the constitution's preface.
        members: the models of panel members that have their own, by the member's name.
        helpful: whether answers are compared for their helpfulness alone.
        with_priority: gives `ask` a priority among the calls that wait; None if the model has no queue.
        priority: of all calls made here.
        losses: the limit of lost rows by the name of a stage; None without a limit, as in a trace.
        requests: rendered templates by template name and principle; filled by `request`.
    """

    ask: Ask
    constitution: Constitution
    seed: int
    model_identity: str
    templates: Path | None = None
    preface: bool = False
    members: Mapping[str, ModelHandle] = field(default_factory=dict)
    helpful: bool = False
    with_priority: Callable[[Priority], Ask] | None = None
    priority: Priority = ()
    losses: Callable[[str], StageLosses] | None = None
    # Rendering a template takes longer than asking the store: a stage would spend most of its time on it.
    requests: dict[tuple[str, Principle], str] = field(default_factory=dict, compare=False, repr=False)

    def for_row(self, place: int) -> "StageContext":
        """This context for the row at `place` in the shard, whose calls go before those of later rows."""
        if self.with_priority is None:
            return self
        priority = (*self.priority, place)
        members = {
            name: member._replace(ask=member.with_priority(priority)) if member.with_priority else member
            for name, member in self.members.items()
        }
        return replace(self, ask=self.with_priority(priority), members=members)

    async def each_row(
        self,
        rows: Sequence[Row],
        stage: str,
        work: "Callable[[Row, StageContext], Awaitable[Iterable[dict[str, Any]]]]",
        on_progress: "OnProgress | None" = None,
    ) -> "Outcome":
        """As the function `each_row`; calls of earlier rows go first.

        Raises:
            CountMismatch: a row neither came out nor failed.
            NoDataError: too many of the stage's first rows failed.
        """
        # By identity: rows of one prompt, such as its samples, share their `row_id`.
        places = {id(row): place for place, row in enumerate(rows)}
        losses = self.losses(stage) if self.losses else None
        return await each_row(rows, stage, lambda row: work(row, self.for_row(places[id(row)])), on_progress, losses)

    def request(self, template: str, principle: Principle) -> str:
        """A template whose only variable is the principle; rendered once for all rows.

        Raises:
            ConfigError: the template does not exist, or uses a variable it is not given.
        """
        if (text := self.requests.get((template, principle))) is None:
            text = self.requests[template, principle] = render(template, self.templates, principle=principle)
        return text

    @property
    def judge_identity(self) -> str:
        """The identity of all weights that are asked: those of `ask`, and of members that have their own model."""
        others = (f"{name} {member.identity}" for name, member in self.members.items())
        return "; ".join([self.model_identity, *others])

    def opening(self, *others: str) -> list[Message]:
        """One system message: the preface, if the model is given it, then the others; empty if there is no text."""
        texts = [self.constitution.preface if self.preface else "", *others]
        joined = "\n\n".join(dict.fromkeys(text for text in texts if text))
        return [system(joined)] if joined else []

    def lineage(self) -> dict[str, str]:
        """The columns that name the constitution a row was made under."""
        return {
            "constitution_name": self.constitution.name,
            "constitution_version": self.constitution.version,
            "constitution_hash": self.constitution.hash,
        }


@dataclass(frozen=True)
class Progress:
    """The progress of one stage. Calls and tokens are those that a server computed, without those from the store.

    Attributes:
        stage: its name.
        done: rows that came out or failed.
        total: rows that the stage was given.
        failed: rows that failed.
        reasons: how many rows failed for each reason.
        too_long: how many answers were too long, by what became of them (``trimmed``, ``shortened``).
        unit: what rows are called, such as ``steps``.
        tokens_in: of prompts.
        tokens: of answers; in training, of all that was learnt from.
        calls: answered by a server.
        stored: calls answered by the store.
        waiting: requests in the servers' queues now, if they report it.
        cache_hits: share of prompt tokens that the servers' prefix cache had, if they report it.
        note: anything else worth showing, such as a loss.
    """

    stage: str
    done: int
    total: int
    failed: int = 0
    reasons: Mapping[str, int] = field(default_factory=dict)
    too_long: Mapping[str, int] = field(default_factory=dict)
    unit: str = "rows"
    tokens_in: int = 0
    tokens: int = 0
    calls: int = 0
    stored: int = 0
    waiting: int | None = None
    cache_hits: float | None = None
    note: str = ""


OnProgress = Callable[[Progress], None]


@dataclass
class Outcome:
    """The results and failures of a stage's rows. Each row has one or more results, or one failure."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    failures: list[dict[str, Any]] = field(default_factory=list)


class RowFailed(Exception):
    """A row that leaves the run here, with a countable reason, and the principles it was lost under, if any."""

    def __init__(self, stage: str, reason: str, detail: str = "", principle_ids: Sequence[str] = ()) -> None:
        super().__init__(reason)
        self.stage, self.reason, self.detail, self.principle_ids = stage, reason, detail, principle_ids


@contextlib.contextmanager
def attributing_failures_to(principles: Sequence[Principle], stage: str) -> Iterator[None]:
    """Record these principles with the failure of a row in this block.

    Raises:
        RowFailed: the row failed; at `stage` if the reason is a call that cannot succeed.
    """
    ids = [principle.id for principle in principles]
    try:
        yield
    except RowFailed as error:
        raise RowFailed(error.stage, error.reason, error.detail, error.principle_ids or ids) from error
    except CompletionFailed as error:
        raise RowFailed(stage, error.reason, error.detail, ids) from error


async def each_row(
    rows: Sequence[Row],
    stage: str,
    work: Callable[[Row], Awaitable[Iterable[dict[str, Any]]]],
    on_progress: OnProgress | None = None,
    losses: StageLosses | None = None,
) -> Outcome:
    """Process every row concurrently: rows never wait for each other.

    The engine's limiter bounds the calls in flight. The outcome keeps the order of `rows`, whichever finished first, so
    that a resumed run writes the same files. A row yields one or more rows, or one failure.

    Raises:
        CountMismatch: a row neither came out nor failed.
        NoDataError: too many of the stage's first rows failed; only if `losses` are given.
    """
    done, reasons, too_long = 0, Counter[str](), Counter[str]()

    def report() -> None:
        if on_progress:
            on_progress(Progress(stage, done, len(rows), reasons.total(), dict(reasons), dict(too_long)))

    async def process(row: Row) -> list[dict[str, Any]] | dict[str, Any]:
        """The row's results, or its failure."""
        nonlocal done
        is_early = losses is not None and losses.begin()
        result: list[dict[str, Any]] | dict[str, Any]
        # Only these two errors belong to a row. Any other, such as a server that is gone, ends the stage.
        try:
            result = list(await work(row))
        except RowFailed as error:
            result = failure(row, error.stage, error.reason, error.detail, error.principle_ids)
        except CompletionFailed as error:
            result = failure(row, stage, error.reason, error.detail)
        done += 1
        if isinstance(result, dict):
            reasons[result["reason"]] += 1
        else:
            endings = (made.get("finish_reason") for made in result)
            too_long.update(ending for ending in endings if ending in ("trimmed", "shortened"))
        report()
        if losses is not None and is_early and isinstance(result, dict):
            losses.add(result["reason"], result["stage"], result["row_id"], result["detail"])
        return result

    async def pulse() -> None:
        """Report every second, so that a stage whose rows take long is seen to be working."""
        while True:
            report()
            await asyncio.sleep(PULSE_S)

    with unwrap_single_error():
        async with asyncio.TaskGroup() as group:
            pulsing = group.create_task(pulse()) if rows else None
            tasks = [group.create_task(process(row)) for row in rows]
            if pulsing:
                await asyncio.wait(tasks)  # does not raise: a failed task makes the group cancel the others
                pulsing.cancel()
    outcome = Outcome()
    for row, task in zip(rows, tasks, strict=True):
        result = task.result()
        if isinstance(result, dict):
            outcome.failures.append(result)
        elif {result_row["row_id"] for result_row in result} == {row["row_id"]}:
            outcome.rows.extend(result)
        else:
            raise CountMismatch(
                f"stage '{stage}': row '{row['row_id']}' neither came out nor failed. This is a bug in Charter."
            )
    return outcome


def failure(row: Row, stage: str, reason: str, detail: str = "", principle_ids: Sequence[str] = ()) -> dict[str, Any]:
    """A row of ``failures``, about a pair if `row` is one; `principle_ids` are those it was lost under, if any."""
    return {
        "row_id": str(row["row_id"]),
        "pair_id": row.get("pair_id"),
        "stage": stage,
        "reason": reason,
        "detail": detail[:2000],
        "principle_ids": list(dict.fromkeys(principle_ids)) or None,
    }


async def finished(ask: Ask, messages: Messages, sampling: Sampling, stage: str) -> Completion:
    """A completion that the model ended itself and that is not empty.

    Raises:
        RowFailed: it was cut off at `max_tokens`, or is empty.
    """
    completion = await ask(messages, sampling)
    if completion.finish_reason != "stop":
        raise RowFailed(stage, "cut-off", f"{completion.finish_reason}: {completion.text}")
    if not completion.text.strip():
        raise RowFailed(stage, "empty")
    return completion

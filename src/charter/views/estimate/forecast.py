"""From what was looked up and what was probed to what a run will ask."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from charter.views.estimate.tally import Count


@dataclass(frozen=True)
class Expected:
    """Of one stage, or of all: numbers of the whole run, rounded.

    Attributes:
        stage: ``respond``, ``revise`` (critiques too), ``sample``, ``judge`` or ``all``.
        calls: that the stage needs.
        stored: those of them that the store has; the rest is asked.
        prompt_tokens: of the calls to be asked, as are the completion tokens.
        seconds: for the calls to be asked, at the probe's speed; None where the probe asked nothing.
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
    """What a run will ask.

    Attributes:
        rows: prompts of the run.
        looked_up: rows that were looked for in the store, of which the others are taken to be like.
        complete: those of them that the store has everything of.
        probed: rows that were sent through the chain now.
        asked: calls that this asked; their answers are in the store.
        stages: in the chain's order.
        held_out: requests of the evaluation, which the flow `align` asks each of its models; not in the stages.
        rounds: of alignment; the stages are those of the first.
        benchmarks: samples of each suite and task, of which each model is asked all; None where only its tool knows.
    """

    rows: int
    looked_up: int
    complete: int
    probed: int
    asked: int
    stages: tuple[Expected, ...]
    held_out: int
    rounds: int = 1
    benchmarks: Mapping[str, int | None] = field(default_factory=dict)

    @property
    def total(self) -> Expected:
        """All stages together."""
        known = [one.seconds for one in self.stages if one.to_ask]
        return Expected(
            stage="all",
            calls=sum(one.calls for one in self.stages),
            stored=sum(one.stored for one in self.stages),
            prompt_tokens=sum(one.prompt_tokens for one in self.stages),
            completion_tokens=sum(one.completion_tokens for one in self.stages),
            seconds=None if None in known else sum(seconds for seconds in known if seconds is not None),
        )

    def to_dict(self) -> dict[str, Any]:
        """As plain values."""
        stages = [{**asdict(one), "to_ask": one.to_ask} for one in (*self.stages, self.total)]
        return {**asdict(self), "stages": stages}


def expect(stage: str, scale: float, complete: Count, incomplete: Count, unfinished: float, probed: Count) -> Expected:
    """What a stage needs in all.

    Args:
        stage: its name.
        scale: rows of the run for each that was looked up.
        complete: calls of the rows that the store has everything of.
        incomplete: calls that the store has of the others.
        unfinished: how many such others there are for each row that was probed.
        probed: calls of the probe.
    """
    needed = round(scale * (complete.calls + unfinished * probed.calls))
    stored = min(needed, round(scale * (complete.calls + incomplete.calls)) + probed.asked)
    to_ask = needed - stored

    def each(tokens: int) -> int:
        return round(to_ask * tokens / probed.calls) if probed.calls else 0

    seconds = to_ask * probed.seconds / probed.asked if probed.asked else None
    return Expected(
        stage, needed, stored, each(probed.prompt_tokens), each(probed.completion_tokens), seconds if to_ask else 0.0
    )


def expect_all(
    scale: float,
    complete: Mapping[str, Count],
    found: Mapping[str, Count],
    unfinished: float,
    probed: Mapping[str, Count],
) -> tuple[Expected, ...]:
    """What each stage needs; `found` are the calls that the store has of all rows that were looked up."""
    made = []
    for stage in ("respond", "revise", "sample", "judge"):
        if stage in found or stage in probed:
            whole, there = complete.get(stage, Count()), found.get(stage, Count())
            others = Count(calls=there.calls - whole.calls)
            made.append(expect(stage, scale, whole, others, unfinished, probed.get(stage, Count())))
    return tuple(made)

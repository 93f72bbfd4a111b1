"""What every judge is: a way to say how probable it is that the last of two answers beats the first.

A judge is asked about each principle by itself and in both orders (Lee et al. 2023), so that neither a principle
that everything follows nor the place of an answer decides.
"""

import asyncio
import math
import statistics
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from charter.config import Judge
from charter.constitution import Principle
from charter.constitution.checks import problems_of
from charter.core.messages import Messages
from charter.core.plugins import Registry
from charter.pipeline.rows import StageContext

LETTERS = ("A", "B")
MIN_PROBABILITY = 1e-4
"""Probabilities are kept this far from 0 and 1, so that no single answer outweighs all others."""

CHECK_CONFIDENCE = 0.99
"""How probable it is that the answer that keeps more checks is better: a label of 1 would be learnt without limit."""

MAX_LOG_ODDS = 500.0
"""Log-odds beyond these count as these: a little further, their exponential overflows."""


class Judgement(NamedTuple):
    """The probability that the last answer beats the first, as a whole and in its parts.

    Attributes:
        p: combined over principles, as `Judge.combine` says.
        by_principle: averaged over both orders.
        by_order: with the first answer shown as A, then as B; averaged over principles.
        spread: standard deviation of the single readings: each principle's in each order, or each member's p.
        principles: those that `by_principle` is about.
        by_member: p of each member of a panel; empty for a single judge.
    """

    p: float
    by_principle: tuple[float, ...]
    by_order: tuple[float, float]
    spread: float = 0.0
    principles: tuple[Principle, ...] = ()
    by_member: tuple[float, ...] = ()


class Compare(Protocol):
    """A judge."""

    async def __call__(
        self, prompt: Messages, first: str, last: str, principles: Sequence[Principle], context: StageContext, /
    ) -> Judgement:
        """Compare two answers to the last message of `prompt`.

        Raises:
            CompletionFailed: a call cannot succeed.
            RowFailed: an answer of the judge holds no verdict; a label is never drawn at random instead.
        """


class JudgeFunction(Protocol):
    """A judge before it has its settings; what `judge` registers."""

    async def __call__(
        self,
        prompt: Messages,
        first: str,
        last: str,
        principles: Sequence[Principle],
        context: StageContext,
        /,
        *,
        settings: Judge,
    ) -> Judgement:
        """As `Compare`."""


@dataclass(frozen=True)
class JudgeKind:
    """A registered judge.

    Attributes:
        compare: judges two answers.
        templates: names of the templates it asks with; an audit is about a judge with the same templates.
        settings: fields of `Judge` that change its labels, beyond those that change every judge's.
    """

    compare: JudgeFunction
    templates: tuple[str, ...] = ()
    settings: tuple[str, ...] = ()


JUDGES: Registry[JudgeKind] = Registry("judge", "judge.kind")


def judge(
    name: str, templates: Sequence[str] = (), settings: Sequence[str] = ()
) -> Callable[[JudgeFunction], JudgeFunction]:
    """Decorator: make a function available as `judge.kind` under a name; the arguments are those of `JudgeKind`."""

    def register(compare: JudgeFunction) -> JudgeFunction:
        JUDGES.add(name, JudgeKind(compare, tuple(templates), tuple(settings)))
        return compare

    return register


Read = Callable[[Principle, str, str], Awaitable[Sequence[float]]]
"""Asks about one principle once, with two answers shown as A and B: the probabilities that A and B is better."""


async def in_both_orders(
    read: Read, first: str, last: str, principles: Sequence[Principle]
) -> list[tuple[float, float]]:
    """Under each principle the probability that the last answer is better, shown as B and shown as A.

    A principle with checks is not asked about: the answer that keeps more of them is better.
    """

    async def decide(principle: Principle, a: str, b: str) -> Sequence[float]:
        if not principle.checks:
            return await read(principle, a, b)
        broken_a, broken_b = (len(problems_of(principle.checks, text)) for text in (a, b))
        better = CHECK_CONFIDENCE if broken_a < broken_b else 1 - CHECK_CONFIDENCE
        return (0.5, 0.5) if broken_a == broken_b else (better, 1 - better)

    asked = await asyncio.gather(*(decide(p, *shown) for p in principles for shown in ((first, last), (last, first))))
    return [(as_b[1], as_a[0]) for as_b, as_a in zip(asked[::2], asked[1::2], strict=True)]


def judgement_of(
    readings: Sequence[tuple[float, float]], principles: Sequence[Principle], settings: Judge
) -> Judgement:
    """What readings in both orders, one pair for each principle, amount to."""
    by_principle = tuple(clip_probability((b + a) / 2) for b, a in readings)
    as_b, as_a = zip(*readings, strict=True)
    by_order = sum(as_b) / len(as_b), sum(as_a) / len(as_a)
    p = combined(by_principle, settings, [principle.weight for principle in principles])
    return Judgement(p, by_principle, by_order, statistics.pstdev([*as_b, *as_a]), tuple(principles))


def combined(probabilities: Sequence[float], settings: Judge, weights: Sequence[float] | None = None) -> float:
    """One probability out of several, as `Judge.combine` says: by the mean of their log-odds, or by their votes.

    A vote counts for one side or the other outside `Judge.tie_margin`, and half for each side within it.
    """
    if settings.combine == "vote":
        votes = sum(0.5 if is_tie(p, settings.tie_margin) else float(p > 0.5) for p in probabilities)
        return (votes + 1) / (len(probabilities) + 2)
    shares = weights if weights and settings.combine == "weighted" else [1.0] * len(probabilities)
    odds = (share * math.log(p / (1 - p)) for share, p in zip(shares, probabilities, strict=True))
    return logistic(sum(odds) / sum(shares))


def logistic(odds: float) -> float:
    """The probability with these log-odds."""
    return 1 / (1 + math.exp(-min(max(odds, -MAX_LOG_ODDS), MAX_LOG_ODDS)))


def clip_probability(p: float, margin: float = MIN_PROBABILITY) -> float:
    """A probability kept `margin` away from 0 and 1."""
    return min(max(p, margin), 1 - margin)


def is_tie(p: float, margin: float) -> bool:
    """Whether a probability lies within `margin` of one half."""
    return abs(p - 0.5) <= margin

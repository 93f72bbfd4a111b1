"""`panel`: several judges, each with principles of its own if it likes, and what they disagree about.

Members may stand for regions, cultures or groups of people. Where they split, no mean of theirs is a label: such a
pair is for people to decide.
"""

import asyncio
import statistics
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from charter.config import Judge
from charter.constitution import Constitution, Principle
from charter.constitution.selection import select_judges
from charter.judging.protocol import Compare, Judgement, combined
from charter.messages import Messages, transcript
from charter.stages.context import Context


class Seat(NamedTuple):
    """A member at work; `law` is its own constitution, None where it judges by the run's."""

    name: str
    compare: Compare
    law: Constitution | None = None


async def compare(
    prompt: Messages,
    first: str,
    last: str,
    principles: Sequence[Principle],
    context: Context,
    /,
    settings: Judge,
    seats: Sequence[Seat],
) -> Judgement:
    """Ask every member; `by_principle` holds what all of them said, in the order of the members."""
    made = await asyncio.gather(*(_hear(seat, prompt, first, last, principles, context, settings) for seat in seats))
    by_member = tuple(one.p for one in made)
    orders = [[one.by_order[i] for one in made] for i in (0, 1)]
    return Judgement(
        p=combined(by_member, settings),
        by_principle=tuple(p for one in made for p in one.by_principle),
        by_order=(statistics.fmean(orders[0]), statistics.fmean(orders[1])),
        spread=statistics.pstdev(by_member),
        principles=tuple(principle for one in made for principle in one.principles),
        by_member=by_member,
    )


def is_split(by_member: Sequence[float], margin: float) -> bool:
    """Whether members stand on both sides of one half, further from it than `margin`."""
    return min(by_member, default=0.5) < 0.5 - margin and max(by_member, default=0.5) > 0.5 + margin


async def _hear(
    seat: Seat,
    prompt: Messages,
    first: str,
    last: str,
    principles: Sequence[Principle],
    context: Context,
    settings: Judge,
) -> Judgement:
    if seat.law is None:
        return await seat.compare(prompt, first, last, principles, context)
    own = own_principles(seat.law, prompt, principles, context.seed, settings)
    made = await seat.compare(prompt, first, last, own, replace(context, constitution=seat.law))
    return made._replace(principles=tuple(replace(p, id=f"{seat.name}/{p.id}") for p in made.principles))


def own_principles(
    law: Constitution, prompt: Messages, principles: Sequence[Principle], seed: int, settings: Judge
) -> tuple[Principle, ...]:
    """What a member asks by its own constitution: its principles with the ids of `principles`, then others drawn.

    Raises:
        ConfigError: `settings.tags` has a tag that none of its principles has.
    """
    ids = {principle.id for principle in principles}
    return select_judges(law, transcript(prompt), seed, ids, settings.principles, settings.tags)

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
from charter.constitution.helpful import helpful_part
from charter.constitution.selection import select_judges
from charter.core.messages import Messages, transcript
from charter.pipeline.judges.protocol import Compare, Judgement, combined
from charter.pipeline.rows import StageContext


class Seat(NamedTuple):
    """A member at work.

    Attributes:
        name: of the member.
        compare: how it judges.
        law: its own constitution; None where it judges by the run's.
        elsewhere: whether another model judges for it, one of `Context.members`.
    """

    name: str
    compare: Compare
    law: Constitution | None = None
    elsewhere: bool = False


async def compare_by_panel(
    prompt: Messages,
    first: str,
    last: str,
    principles: Sequence[Principle],
    context: StageContext,
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
    context: StageContext,
    settings: Judge,
) -> Judgement:
    if seat.elsewhere:
        voice = context.members[seat.name]
        context = replace(context, ask=voice.ask, model_identity=voice.identity)
    if seat.law is None:
        return await seat.compare(prompt, first, last, principles, context)
    own = own_principles(seat.law, prompt, principles, context, settings)
    made = await seat.compare(prompt, first, last, own, replace(context, constitution=seat.law))
    return made._replace(principles=tuple(replace(p, id=f"{seat.name}/{p.id}") for p in made.principles))


def own_principles(
    law: Constitution, prompt: Messages, principles: Sequence[Principle], context: StageContext, settings: Judge
) -> tuple[Principle, ...]:
    """What a member asks by its own constitution: its principles with the ids of `principles`, then others drawn.

    Where helpfulness is compared, only its principles of helpfulness.

    Raises:
        ConfigError: `settings.tags` has a tag that none of its principles has.
    """
    ids, tags = {principle.id for principle in principles}, settings.tags
    if context.helpful:
        law, tags = helpful_part(law), ()
    return select_judges(law, transcript(prompt), context.seed, ids, settings.principles, tags)

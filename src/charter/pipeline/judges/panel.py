"""`panel`: several judges, each optionally with its own constitution, and what they disagree about.

Members may represent regions, cultures or groups of people. Where they split, their mean is not a label: people decide
about such a pair.
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


class PanelMember(NamedTuple):
    """A member that is ready to judge.

    Attributes:
        name: of the member.
        compare: how it judges.
        constitution: that the member judges by; None for the run's.
        has_own_model: whether another model judges for it, one of `StageContext.members`.
    """

    name: str
    compare: Compare
    constitution: Constitution | None = None
    has_own_model: bool = False


async def compare_by_panel(
    prompt: Messages,
    first: str,
    last: str,
    principles: Sequence[Principle],
    context: StageContext,
    /,
    settings: Judge,
    members: Sequence[PanelMember],
) -> Judgement:
    """Ask every member; `by_principle` holds the answers of all of them, in the order of the members."""

    async def ask(member: PanelMember) -> Judgement:
        its_context, constitution = context, member.constitution
        if member.has_own_model:
            model = context.members[member.name]
            its_context = replace(context, ask=model.ask, model_identity=model.identity)
        if constitution is None:
            return await member.compare(prompt, first, last, principles, its_context)
        its_principles = member_principles(constitution, prompt, principles, context, settings)
        its_context = replace(its_context, constitution=constitution)
        judgement = await member.compare(prompt, first, last, its_principles, its_context)
        # Another constitution may use the same ids for other principles.
        named = tuple(replace(p, id=f"{member.name}/{p.id}") for p in judgement.principles)
        return judgement._replace(principles=named)

    judgements = await asyncio.gather(*map(ask, members))
    by_member = tuple(judgement.p for judgement in judgements)
    orders = [[judgement.by_order[i] for judgement in judgements] for i in (0, 1)]
    return Judgement(
        p=combined(by_member, settings),
        by_principle=tuple(p for judgement in judgements for p in judgement.by_principle),
        by_order=(statistics.fmean(orders[0]), statistics.fmean(orders[1])),
        spread=statistics.pstdev(by_member),
        principles=tuple(principle for judgement in judgements for principle in judgement.principles),
        by_member=by_member,
    )


def is_panel_split(by_member: Sequence[float], margin: float) -> bool:
    """Whether members are on both sides of one half, further from it than `margin`; false for a single judge."""
    return min(by_member, default=0.5) < 0.5 - margin and max(by_member, default=0.5) > 0.5 + margin


def member_principles(
    constitution: Constitution,
    prompt: Messages,
    principles: Sequence[Principle],
    context: StageContext,
    settings: Judge,
) -> tuple[Principle, ...]:
    """What a member judges by under another constitution: its principles with the ids of `principles`, then others.

    Where helpfulness is compared, only its principles of helpfulness.

    Raises:
        ConfigError: `settings.tags` has a tag that none of its principles has.
    """
    ids, tags = {principle.id for principle in principles}, settings.tags
    if context.helpful:
        constitution, tags = helpful_part(constitution), ()
    # Drawn by the prompt, not by the row's id, which a judge is not given.
    return select_judges(constitution, transcript(prompt), context.seed, ids, settings.principles, tags)

"""`critic`: each answer alone is critiqued under each principle, as in a run's own rounds; fewer violations win."""

import asyncio
import statistics
from collections.abc import Sequence

from charter.config import Judge
from charter.constitution import Principle
from charter.constitution.checks import problems_of
from charter.core.messages import Messages
from charter.core.sampling import seed_of
from charter.inference.completion import Sampling
from charter.pipeline.judges.protocol import Judgement, judge
from charter.pipeline.revise import critique_answer, critique_messages, read_verdict
from charter.pipeline.rows import StageContext


@judge("critic", templates=["critique", "verdict"], settings=["max_tokens"])
async def compare_by_critic(
    prompt: Messages,
    first: str,
    last: str,
    principles: Sequence[Principle],
    context: StageContext,
    /,
    *,
    settings: Judge,
) -> Judgement:
    """Count the violations in two answers; the order of the two cannot matter, so both orders are the same."""
    asked = ((principle, answer) for principle in principles for answer in (first, last))
    found = await asyncio.gather(*(_violates(prompt, answer, p, context, settings) for p, answer in asked))
    in_first, in_last = found[::2], found[1::2]
    by_principle = tuple(_share(a, b) for a, b in zip(in_first, in_last, strict=True))
    p = _share(sum(in_first), sum(in_last))
    return Judgement(p, by_principle, (p, p), statistics.pstdev(by_principle), tuple(principles))


def _share(in_first: float, in_last: float) -> float:
    """The share of violations that are the first answer's, each answer having one more than was found in it."""
    return (in_first + 1) / (in_first + in_last + 2)


async def _violates(
    prompt: Messages, answer: str, principle: Principle, context: StageContext, settings: Judge
) -> float:
    """Whether a greedy critique finds the principle violated, 0 or 1; a probability if its text gives no verdict.

    Raises:
        RowFailed: the critique is empty.
    """
    if principle.checks:
        return float(bool(problems_of(principle.checks, answer)))
    asked = critique_messages(prompt, answer, principle, context)
    sampling = Sampling(settings.max_tokens, seed=seed_of(context.seed, "judge"))
    critique, p_violated = await critique_answer(asked, sampling, principle, context, "judge")
    return float(bool(read_verdict(critique))) if p_violated is None else p_violated

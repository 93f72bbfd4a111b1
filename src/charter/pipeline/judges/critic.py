"""`critic`: each answer alone is critiqued under each principle, as in a run's own rounds; fewer violations win."""

import asyncio
import statistics
from collections.abc import Sequence

from charter.config import Judge
from charter.constitution import Principle
from charter.core.messages import Messages
from charter.core.sampling import seed_of
from charter.inference.completion import Sampling
from charter.pipeline.judges.protocol import Judgement, judge
from charter.pipeline.revise import critique_messages, is_flagged
from charter.pipeline.rows import RowFailed, StageContext, finished


@judge("critic", templates=["critique"], settings=["max_tokens"])
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


def _share(in_first: int, in_last: int) -> float:
    """The share of violations that are the first answer's, each answer having one more than was found in it."""
    return (in_first + 1) / (in_first + in_last + 2)


async def _violates(
    prompt: Messages, answer: str, principle: Principle, context: StageContext, settings: Judge
) -> bool:
    """Whether a greedy critique finds the principle violated.

    Raises:
        RowFailed: the critique was cut off, is empty or gives no verdict.
    """
    asked = critique_messages(prompt, answer, principle, context)
    sampling = Sampling(settings.max_tokens, seed=seed_of(context.seed, "judge"))
    critique = await finished(context.ask, asked, sampling, "judge")
    try:
        return is_flagged(critique.text)
    except RowFailed as error:
        raise RowFailed("judge", error.reason, error.detail) from error

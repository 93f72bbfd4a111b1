"""`score`: each answer alone on a scale from 1 to 10, with the principle as the rubric.

The expectation over the numbers' probabilities is taken instead of the likeliest number, which ties too often (Liu
et al. 2023, G-Eval). A difference of scores becomes a probability by a temperature.
"""

import asyncio
import statistics
from collections.abc import Sequence

from charter.config import Judge
from charter.constitution import Principle
from charter.constitution.checks import problems_of
from charter.core.errors import CompletionFailed
from charter.core.messages import Messages, transcript, user
from charter.core.sampling import seed_of
from charter.core.templates import render
from charter.inference.completion import Sampling
from charter.pipeline.judges.calibration import fit_temperature, mirrored
from charter.pipeline.judges.protocol import Judgement, clip_probability, judge, judgement_of, logistic
from charter.pipeline.rows import StageContext

WORST, BEST = 1, 10
NUMBERS = tuple(str(number) for number in range(WORST, BEST + 1))


@judge("score", templates=["score"], settings=["score_temperature"])
async def compare_by_score(
    prompt: Messages,
    first: str,
    last: str,
    principles: Sequence[Principle],
    context: StageContext,
    /,
    *,
    settings: Judge,
) -> Judgement:
    """Score two answers under each principle; the order of the two cannot matter, so both orders are the same."""
    points = await differences(prompt, first, last, principles, context)
    each = [clip_probability(logistic(d / settings.score_temperature)) for d in points]
    judgement = judgement_of([(p, p) for p in each], principles, settings)
    return judgement._replace(spread=statistics.pstdev(each))


async def differences(
    prompt: Messages, first: str, last: str, principles: Sequence[Principle], context: StageContext
) -> list[float]:
    """By how many points, from -9 to 9, the last answer's score is above the first one's, under each principle."""
    text = transcript(prompt)
    asked = ((principle, answer) for principle in principles for answer in (first, last))
    scores = await asyncio.gather(*(_score(text, answer, principle, context) for principle, answer in asked))
    return [after - before for before, after in zip(scores[::2], scores[1::2], strict=True)]


def fit_score_temperature(points: Sequence[float]) -> float:
    """The `score_temperature` with the smallest log loss, between 0.01 and 100.

    Args:
        points: for each labelled pair by how much the better answer's score is above the other's; the mean over
            principles, where there are several.
    """
    temperature: float = fit_temperature(*mirrored([logistic(d) for d in points])).to_dict()["temperature"]
    return temperature


async def _score(conversation: str, answer: str, principle: Principle, context: StageContext) -> float:
    """The expected score, from 1 to 10.

    Raises:
        CompletionFailed: the judge's answer is no number.
    """
    if principle.checks:
        return float(BEST if not problems_of(principle.checks, answer) else WORST)
    given = {"conversation": conversation, "answer": answer, "principle": principle}
    messages = [*context.opening(), user(render("score", context.templates, **given))]
    # Two tokens: where 10 is spelt 1 and 0, what follows a 1 tells them apart.
    sampling = Sampling(max_tokens=2, seed=seed_of(context.seed, "judge"), choices=NUMBERS)
    answer_given = await context.ask(messages, sampling)
    if len(answer_given.choice_probs) != len(NUMBERS):
        raise CompletionFailed("no-choice", answer_given.text)
    return sum(number * p for number, p in enumerate(answer_given.choice_probs, start=1))

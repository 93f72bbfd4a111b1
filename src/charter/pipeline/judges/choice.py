"""`choice`: A or B, by log-probability (Bai et al. 2022, section 4.1).

What repeats comes first in the prompt, and the principle last, so that all principles share two prefixes in the
engine's cache.
"""

from collections.abc import Sequence

from charter.config import Judge
from charter.constitution import Principle
from charter.core.errors import CompletionFailed
from charter.core.messages import Messages, transcript, user
from charter.core.sampling import seed_of
from charter.core.templates import render
from charter.inference.completion import Sampling
from charter.pipeline.judges.protocol import LETTERS, Judgement, in_both_orders, judge, judgement_of
from charter.pipeline.rows import StageContext


@judge("choice", templates=["choice"])
async def compare_by_choice(
    prompt: Messages,
    first: str,
    last: str,
    principles: Sequence[Principle],
    context: StageContext,
    /,
    *,
    settings: Judge | None = None,
) -> Judgement:
    """Ask about two answers under each principle in both orders; a `charter.pipeline.judges.protocol.Compare`."""
    text = transcript(prompt)

    async def read(principle: Principle, a: str, b: str) -> Sequence[float]:
        request = render("choice", context.templates, conversation=text, answer_a=a, answer_b=b, principle=principle)
        seed = seed_of(context.seed, "judge")  # greedy by construction: one seed, so that equal questions are one call
        answer = await context.ask(
            [*context.opening(), user(request)], Sampling(max_tokens=1, seed=seed, choices=LETTERS)
        )
        if len(answer.choice_probs) != len(LETTERS):
            raise CompletionFailed("no-choice", answer.text)
        return answer.choice_probs

    return judgement_of(await in_both_orders(read, first, last, principles), principles, settings or Judge())

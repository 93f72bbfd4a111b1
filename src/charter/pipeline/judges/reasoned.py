"""`reasoned`: a chain of thought, then A or B (Bai et al. 2022, section 4.1; Lee et al. 2023).

The letter is read by its log-probability in the place where the answer names it, so that the judge's doubt after its
reasoning counts; where the server gives none, the letter itself is taken. Reasoning makes a judge too sure, so the
label is clamped, to 40-60 % as in the paper.
"""

import asyncio
import re
from collections.abc import Sequence

from charter.config import Judge
from charter.constitution import Principle
from charter.core.messages import Messages, assistant, transcript, user
from charter.core.sampling import seed_of
from charter.core.templates import render
from charter.inference.completion import Sampling
from charter.pipeline.asking import ask_for_choice, ask_for_reasoning
from charter.pipeline.judges.protocol import LETTERS, Judgement, clip_probability, in_both_orders, judge, judgement_of
from charter.pipeline.rows import StageContext

BETTER = "Better:"
"""With this and a letter the template wants the reasoning to end."""
_NAMED = re.compile(r"(?i:better)\s*:\W{0,6}([AB])\b")


@judge("reasoned", templates=["reasoned_choice", "better"], settings=["samples", "clamp", "max_tokens"])
async def compare_by_reasoned(
    prompt: Messages,
    first: str,
    last: str,
    principles: Sequence[Principle],
    context: StageContext,
    /,
    *,
    settings: Judge,
) -> Judgement:
    """Let the judge reason `settings.samples` times under each principle in both orders, and clamp the result.

    `by_principle` and `by_order` are as they were read, before the clamp.
    """
    text = transcript(prompt)

    async def read(principle: Principle, a: str, b: str) -> Sequence[float]:
        given = {"conversation": text, "answer_a": a, "answer_b": b, "principle": principle}
        messages = [*context.opening(), user(render("reasoned_choice", context.templates, **given))]
        readings = await asyncio.gather(
            *(_read(messages, sampling, context) for sampling in _samplings(context, settings))
        )
        return [sum(each) / len(readings) for each in zip(*readings, strict=True)]

    judgement = judgement_of(await in_both_orders(read, first, last, principles), principles, settings)
    return judgement._replace(p=clip_probability(judgement.p, settings.clamp))


def _samplings(context: StageContext, settings: Judge) -> list[Sampling]:
    """One greedy chain of thought, or several sampled ones, each with its own seed."""
    temperature = 0.0 if settings.samples == 1 else 1.0
    seeds = (seed_of(context.seed, "judge", "reasoned", number) for number in range(settings.samples))
    return [
        Sampling(settings.max_tokens, temperature, seed=seed, choices=LETTERS, choice_marker=BETTER) for seed in seeds
    ]


async def _read(asked: Messages, sampling: Sampling, context: StageContext) -> Sequence[float]:
    """The probabilities of both letters after one chain of thought.

    Raises:
        RowFailed: it is empty.
        CompletionFailed: a call cannot succeed.
    """
    answer = await ask_for_reasoning(context, asked, sampling, "judge")
    if len(answer.choice_probs) == len(LETTERS):
        return answer.choice_probs
    # The last letter counts: a judge may name one while it reasons, and change its mind.
    named = _NAMED.findall(answer.text)
    if not named:  # asked for it alone, after the chain of thought
        question = [*asked, assistant(answer.text), user(render("better", context.templates))]
        return await ask_for_choice(context, question, LETTERS, sampling.seed)
    return [float(letter == named[-1]) for letter in LETTERS]

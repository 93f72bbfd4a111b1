"""Judge: which of two answers fits the constitution better, as a probability.

Multiple choice by log-probability (Bai et al. 2022, section 4.1), in both orders (Lee et al. 2023), each
principle asked by itself. What repeats comes first in the prompt, and the principle last, so that all
principles share two prefixes in the engine's cache.
"""

import asyncio
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from charter.config import Judge
from charter.constitution import Principle
from charter.constitution.selection import select_judges
from charter.errors import CompletionFailed
from charter.messages import Messages, transcript, user
from charter.serving.completion import Sampling
from charter.stages.context import Context, OnProgress, Outcome, Row, RowFailed, each_row, seed_of, under
from charter.templates import render

LETTERS = ("A", "B")
_EDGE = 1e-4  # probabilities are kept this far from 0 and 1, so that no single answer outweighs all others


class Judgement(NamedTuple):
    """The probability that the last answer beats the first, per principle and per order.

    Attributes:
        p: combined over principles (mean of log-odds).
        by_principle: averaged over both orders.
        by_order: with the first answer shown as A, then as B; averaged over principles.
    """

    p: float
    by_principle: tuple[float, ...]
    by_order: tuple[float, float]


async def judge(
    candidates: Sequence[Row], context: Context, settings: Judge, on_progress: OnProgress | None = None
) -> Outcome:
    """Candidate pairs in, rows of ``pairs`` out; ties leave with their reason and are never trained on."""

    async def work(row: Row) -> list[dict[str, Any]]:
        principles = principles_for(row, context, settings)
        with under(principles, "judge"):
            made = await compare(row["prompt"], row["first"], row["last"], principles, context)
            if abs(made.p - 0.5) <= settings.tie_margin:
                raise RowFailed("judge", "tie", f"p = {made.p:.3f} under {[p.id for p in principles]}")
        return [_pair(row, made, principles, context)]

    return await each_row(candidates, "judge", work, on_progress)


def principles_for(row: Row, context: Context, settings: Judge) -> tuple[Principle, ...]:
    """The principles that shaped the row, then others drawn for it, `settings.principles` in all.

    Raises:
        ConfigError: `settings.tags` has a tag that no principle has.
    """
    law, shaped = context.constitution, row["drawn"]
    return select_judges(law, row["row_id"], context.seed, shaped, settings.principles, settings.tags)


async def compare(
    prompt: Messages, first: str, last: str, principles: Sequence[Principle], context: Context
) -> Judgement:
    """Ask about two answers under each principle in both orders.

    Raises:
        CompletionFailed: a call cannot succeed.
    """
    text, edge = transcript(prompt), _EDGE

    async def ask(principle: Principle, a: str, b: str) -> tuple[float, ...]:
        request = render("choice", context.templates, conversation=text, answer_a=a, answer_b=b, principle=principle)
        seed = seed_of(context.seed, "judge")  # greedy by construction: one seed, so that equal questions are one call
        answer = await context.ask(
            [*context.opening(), user(request)], Sampling(max_tokens=1, seed=seed, choices=LETTERS)
        )
        if len(answer.choice_probs) != len(LETTERS):
            raise CompletionFailed("no-choice", answer.text)
        return answer.choice_probs

    asked = await asyncio.gather(*(ask(p, *order) for p in principles for order in ((first, last), (last, first))))
    in_b, in_a = [p[1] for p in asked[::2]], [p[0] for p in asked[1::2]]
    by_principle = tuple(min(max((b + a) / 2, edge), 1 - edge) for b, a in zip(in_b, in_a, strict=True))
    odds = sum(math.log(p / (1 - p)) for p in by_principle) / len(by_principle)
    return Judgement(1 / (1 + math.exp(-odds)), by_principle, (sum(in_b) / len(in_b), sum(in_a) / len(in_a)))


def _pair(row: Row, made: Judgement, principles: Sequence[Principle], context: Context) -> dict[str, Any]:
    won = made.p > 0.5
    turned = [p if won else 1 - p for p in (made.p, *made.by_principle, *made.by_order)]
    count = len(principles)
    chosen_first, chosen_second = (turned[-1], turned[-2]) if won else (turned[-2], turned[-1])
    return {
        **{name: row[name] for name in ("row_id", "prompt", "kind", "seed")},
        "chosen": row["last"] if won else row["first"],
        "rejected": row["first"] if won else row["last"],
        "p_chosen": turned[0],
        "strategy": "revision",
        "principle_ids": [p.id for p in principles],
        "principle_hashes": [p.hash for p in principles],
        "p_by_principle": turned[1 : count + 1],
        "p_by_order": [chosen_first, chosen_second],
        **context.lineage(),
        "model_identity": row["model_identity"],
        "judge_identity": context.model_identity,
    }

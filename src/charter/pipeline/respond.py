"""Respond: the model answers each prompt; once, and again for pairs that are made of several answers."""

from collections.abc import Sequence
from typing import Any

from charter.config import Generation
from charter.core.sampling import seed_of
from charter.inference.completion import Sampling
from charter.pipeline.asking import ask_for_answer
from charter.pipeline.rows import OnProgress, Outcome, Row, StageContext

GIVEN = "given"
"""The model identity of answers that came with their prompts."""


async def respond(
    prompts: Sequence[Row], context: StageContext, settings: Generation, on_progress: OnProgress | None = None
) -> Outcome:
    """First answers: rows of ``prompts`` in, rows of ``responses`` out."""

    async def work(row: Row, context: StageContext) -> list[dict[str, Any]]:
        seed = seed_of(context.seed, row["row_id"], "respond")
        sampling = Sampling(max_tokens=settings.max_tokens, temperature=settings.temperature, seed=seed)
        *prompt, last = row["prompt"]
        if last["role"] == "assistant":
            return [{**row, "prompt": prompt, **_given_answer(last["content"], seed)}]
        return [{**row, **await _answer(row, context, sampling, "respond", settings)}]

    return await context.each_row(prompts, "respond", work, on_progress)


def _given_answer(text: str, seed: int) -> dict[str, Any]:
    """The columns of ``responses`` for an answer that came with its prompt (`prompts.answers`)."""
    return {
        "response": text,
        "finish_reason": GIVEN,
        "prompt_tokens": 0,
        "completion_tokens": 0,
        "seed": seed,
        "model_identity": GIVEN,
    }


async def sample(
    wanted: Sequence[Row],
    context: StageContext,
    settings: Generation,
    temperature: float,
    on_progress: OnProgress | None = None,
) -> Outcome:
    """Further answers: prompts with the number of the `sample`, from 1, in; rows of ``samples`` out.

    The first answer counts as sample 0, and is never asked for again.
    """

    async def work(row: Row, context: StageContext) -> list[dict[str, Any]]:
        seed = seed_of(context.seed, row["row_id"], "respond", row["sample"])
        sampling = Sampling(max_tokens=settings.max_tokens, temperature=temperature, seed=seed)
        answer = await _answer(row, context, sampling, "sample", settings)
        return [{"row_id": row["row_id"], "sample": row["sample"], **answer}]

    return await context.each_row(wanted, "sample", work, on_progress)


async def _answer(
    row: Row, context: StageContext, sampling: Sampling, stage: str, settings: Generation
) -> dict[str, Any]:
    """The columns that ``responses`` and ``samples`` have in common."""
    answer = await ask_for_answer(context, row["prompt"], sampling, stage, settings.long_answers)
    return {
        "response": answer.text,
        "finish_reason": answer.finish_reason,
        "prompt_tokens": answer.prompt_tokens,
        "completion_tokens": answer.completion_tokens,
        "seed": sampling.seed,
        "model_identity": context.model_identity,
    }

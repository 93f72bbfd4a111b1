"""Respond: the model answers each prompt as it is."""

from collections.abc import Sequence

from charter.config import Generation
from charter.serving.completion import Sampling
from charter.stages.context import Context, OnProgress, Outcome, Row, each_row, finished, seed_of


async def respond(
    prompts: Sequence[Row], context: Context, settings: Generation, on_progress: OnProgress | None = None
) -> Outcome:
    """First answers: rows of ``prompts`` in, rows of ``responses`` out."""

    async def work(row: Row) -> list[dict[str, object]]:
        seed = seed_of(context.seed, row["row_id"], "respond")
        sampling = Sampling(max_tokens=settings.max_tokens, temperature=settings.temperature, seed=seed)
        answer = await finished(context.ask, row["prompt"], sampling, "respond")
        made = {
            "response": answer.text.strip(),
            "finish_reason": answer.finish_reason,
            "prompt_tokens": answer.prompt_tokens,
            "completion_tokens": answer.completion_tokens,
            "seed": seed,
            "model_identity": context.model_identity,
        }
        return [{**row, **made}]

    return await each_row(prompts, "respond", work, on_progress)

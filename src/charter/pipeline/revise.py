"""Critique and revise: K rounds, each under principles drawn for the row (Bai et al. 2022, section 3.1)."""

import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

from charter.config import Generation
from charter.constitution import Principle, draw_principles
from charter.constitution.selection import rounds_for_all
from charter.core.messages import Message, Messages, assistant, user
from charter.core.sampling import seed_of
from charter.inference.completion import Sampling
from charter.pipeline.answer_text import strip_preamble
from charter.pipeline.rows import (
    OnProgress,
    Outcome,
    Row,
    RowFailed,
    StageContext,
    attributing_failures_to,
    finished,
)

_VERDICT = re.compile(r"verdict\W{0,4}(violated|respected)", re.IGNORECASE)


async def revise(
    responses: Sequence[Row],
    context: StageContext,
    settings: Generation,
    on_progress: OnProgress | None = None,
) -> Outcome:
    """Rows of ``responses`` in; a row of ``revisions`` for each row and round out.

    Raises:
        ConfigError: the selection names a tag that no principle has.
    """
    # Computed in either case, because it checks the tags of the selection.
    rounds_of_all = rounds_for_all(context.constitution, settings.selection)
    n_rounds = rounds_of_all if settings.rounds == "all" else settings.rounds

    async def work(row: Row, context: StageContext) -> list[dict[str, Any]]:
        answer, rounds, occurrences = str(row["response"]), list[dict[str, Any]](), Counter[str]()
        principles = draw_principles(context.constitution, row["row_id"], n_rounds, context.seed, settings.selection)
        for number, principle in enumerate(principles):
            occurrences[principle.hash] += 1
            # The seed does not contain the round's number. So the rounds after a principle that is removed from the
            # constitution make the same requests as before, and the store has their answers.
            seed = seed_of(context.seed, row["row_id"], "revise", principle.hash, occurrences[principle.hash])
            result = await critique_and_revise(row["prompt"], answer, principle, seed, context, settings)
            rounds.append({"row_id": row["row_id"], "round": number, **result})
            answer = result["revision"]
        return rounds

    return await context.each_row(responses, "revise", work, on_progress)


async def critique_and_revise(
    prompt: Messages, answer: str, principle: Principle, seed: int, context: StageContext, settings: Generation
) -> dict[str, Any]:
    """One round, as the columns of ``revisions``.

    Raises:
        RowFailed: a completion was cut off or empty, or the critique has no verdict.
        CompletionFailed: a call cannot succeed.
    """
    sampling = Sampling(max_tokens=settings.max_tokens, temperature=settings.critique_temperature, seed=seed)
    messages = critique_messages(prompt, answer, principle, context)
    with attributing_failures_to(principle.parts, "revise"):
        critique = (await finished(context.ask, messages, sampling, "critique")).text.strip()
        flagged, revision, preamble = is_flagged(critique), answer, ""
        if flagged or settings.revise == "always":
            messages = revision_messages(messages, critique, principle, context)
            text = (await finished(context.ask, messages, sampling, "revise")).text.strip()
            # Models announce their revision ("Here is a better answer:"), which must not be learnt.
            revision = strip_preamble(text)
            preamble = text.removesuffix(revision).strip()
            if not revision:
                raise RowFailed("revise", "preamble-only")
    return {
        "principle_id": principle.id,
        "principle_hash": principle.hash,
        **context.lineage(),
        "response": answer,
        "critique": critique,
        "flagged": flagged,
        "revision": revision,
        "changed": revision != answer,
        "preamble": preamble or None,
        "seed": seed,
        "model_identity": context.model_identity,
    }


def critique_messages(prompt: Messages, answer: str, principle: Principle, context: StageContext) -> list[Message]:
    """The conversation that asks for a critique; it begins like the one that was answered, so its prefix is cached.

    The worked examples of the constitution and the principle come before it, as turns.
    """
    examples = list[Message]()
    owners = [(example, principle) for example in context.constitution.examples]
    owners += [(example, part) for part in principle.parts for example in part.examples]
    for example, owner in owners:
        critique = example.critique_request or context.request("critique", owner)
        revision = example.revision_request or context.request("revision", owner)
        examples += [Message(role=turn.role, content=turn.content) for turn in example.prompt]
        examples += [assistant(example.response), user(critique), assistant(example.critique)]
        examples += [user(revision), assistant(example.revision)]

    # A chat template allows one system message, at the beginning: it joins the preface, if the model is given it, the
    # prompt's system message, and those of the examples.
    system_texts = [m["content"] for m in prompt[:1] if m["role"] == "system"]
    opening = context.opening(*system_texts, *(m["content"] for m in examples if m["role"] == "system"))
    turns = [m for m in examples if m["role"] != "system"]
    request = user(context.request("critique", principle))
    return [*opening, *turns, *prompt[len(system_texts) :], assistant(answer), request]


def revision_messages(
    critique_request: Messages, critique: str, principle: Principle, context: StageContext
) -> list[Message]:
    """The conversation that asks for a revision: the critique's, its answer, and a request."""
    return [*critique_request, assistant(critique), user(context.request("revision", principle))]


def is_flagged(critique: str) -> bool:
    """Whether a critique found a violation: its last verdict decides.

    Raises:
        RowFailed: it gives no verdict.
    """
    verdicts = _VERDICT.findall(critique)
    if not verdicts:
        raise RowFailed("critique", "no-verdict", critique)
    return str(verdicts[-1]).lower() == "violated"

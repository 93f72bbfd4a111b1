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
from charter.pipeline.preamble import strip_preamble
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
    how_many = rounds_of(settings, context)

    async def work(row: Row, context: StageContext) -> list[dict[str, Any]]:
        answer, rounds, met = str(row["response"]), list[dict[str, Any]](), Counter[str]()
        drawn = draw_principles(context.constitution, row["row_id"], how_many, context.seed, settings.selection)
        for number, principle in enumerate(drawn):
            met[principle.hash] += 1
            # The round's number has no part in the seed: a principle that goes moves those after it, and costs nothing.
            seed = seed_of(context.seed, row["row_id"], "revise", principle.hash, met[principle.hash])
            made = await _round(row, answer, principle, seed, context, settings)
            rounds.append({"row_id": row["row_id"], "round": number, **made})
            answer = made["revision"]
        return rounds

    return await context.each_row(responses, "revise", work, on_progress)


def rounds_of(settings: Generation, context: StageContext) -> int:
    """How many rounds a row goes through."""
    all_of_them = rounds_for_all(context.constitution, settings.selection)
    return all_of_them if settings.rounds == "all" else settings.rounds


async def _round(
    row: Row, answer: str, principle: Principle, seed: int, context: StageContext, settings: Generation
) -> dict[str, Any]:
    sampling = Sampling(max_tokens=settings.max_tokens, temperature=settings.critique_temperature, seed=seed)
    asked = critique_messages(row["prompt"], answer, principle, context)
    with attributing_failures_to(principle.parts, "revise"):
        critique = (await finished(context.ask, asked, sampling, "critique")).text.strip()
        flagged, revision, preamble = is_flagged(critique), answer, ""
        if flagged or settings.revise == "always":
            asked = revision_messages(asked, critique, principle, context)
            said = (await finished(context.ask, asked, sampling, "revise")).text.strip()
            revision = strip_preamble(said)
            preamble = said.removesuffix(revision).strip()
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
    """The conversation that asks for a critique; it begins as the one that was answered, so its prefix is cached.

    A chat template allows one system message, at the beginning: it holds the preface, if that is given, the
    prompt's own and those of the examples.
    """
    request = context.request("critique", principle)
    examples = _examples(principle, context)
    own = [m["content"] for m in prompt[:1] if m["role"] == "system"]
    opening = context.opening(*own, *(m["content"] for m in examples if m["role"] == "system"))
    shown = [m for m in examples if m["role"] != "system"]
    return [*opening, *shown, *prompt[len(own) :], assistant(answer), user(request)]


def revision_messages(asked: Messages, critique: str, principle: Principle, context: StageContext) -> list[Message]:
    """The conversation that asks for a revision, after its critique."""
    request = context.request("revision", principle)
    return [*asked, assistant(critique), user(request)]


def is_flagged(critique: str) -> bool:
    """Whether a critique found a violation: its last verdict decides.

    Raises:
        RowFailed: it gives none.
    """
    verdicts = _VERDICT.findall(critique)
    if not verdicts:
        raise RowFailed("critique", "no-verdict", critique)
    return str(verdicts[-1]).lower() == "violated"


def _examples(principle: Principle, context: StageContext) -> list[Message]:
    """The worked examples of the constitution and the principle, as turns before the conversation."""
    turns = list[Message]()
    shown = [(example, principle) for example in context.constitution.examples]
    shown += [(example, part) for part in principle.parts for example in part.examples]
    for example, shown_for in shown:
        critique = example.critique_request or context.request("critique", shown_for)
        revision = example.revision_request or context.request("revision", shown_for)
        turns += [Message(role=turn.role, content=turn.content) for turn in example.prompt]
        turns += [assistant(example.response), user(critique), assistant(example.critique)]
        turns += [user(revision), assistant(example.revision)]
    return turns

"""Critique and revise: K rounds, each under principles drawn for the row (Bai et al. 2022, section 3.1)."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from charter.config import Generation
from charter.constitution import Principle, draw_principles
from charter.constitution.checks import problems_of
from charter.constitution.selection import rounds_for_all
from charter.core.messages import Message, Messages, assistant, user
from charter.core.sampling import seed_of
from charter.core.templates import render
from charter.inference.completion import Completion, Sampling
from charter.pipeline.answer_text import strip_preamble
from charter.pipeline.asking import ask_for_choice, ask_for_reasoning, ask_until, end_answer
from charter.pipeline.loops import is_looping
from charter.pipeline.rows import (
    OnProgress,
    Outcome,
    Row,
    RowFailed,
    StageContext,
    attributing_failures_to,
)

REVISER = "reviser"
"""The name under which a stage's context has the model of revisions, where it is another one than the critic's."""
VERDICTS = ("violated", "respected")
CHECKED = "The answer keeps every rule of the principle.\n\nVerdict: respected"
"""The critique of an answer that passes all checks; no model reads it."""
_VERDICT = re.compile(rf"verdict\W{{0,4}}({'|'.join(VERDICTS)})", re.IGNORECASE)


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
        RowFailed: a completion is empty, or the revision loops, is nothing but a preamble, or is too long.
        CompletionFailed: a call cannot succeed.
    """
    sampling = Sampling(max_tokens=settings.max_tokens, temperature=settings.critique_temperature, seed=seed)
    messages = critique_messages(prompt, answer, principle, context)
    with attributing_failures_to(principle.parts, "revise"):
        if is_checked(principle):
            problems = problems_of(principle_checks(principle), answer)
            shown = {"principle": principle, "problems": problems}
            critique = render("checked_critique", context.templates, **shown) if problems else CHECKED
            p_violated: float | None = float(bool(problems))
        else:
            critique, p_violated = await critique_answer(messages, sampling, principle, context, "critique")
        flagged = read_verdict(critique) if p_violated is None else p_violated > settings.flag_above
        revision, preamble, finish_reason = answer, "", None
        if flagged or settings.revise == "always":
            if is_checked(principle) and flagged:
                # Shorter than the conversation with a critique, which small models lose themselves in
                messages = [*messages[:-1], user(checked_revision_request(answer, principle, context))]
            else:
                messages = revision_messages(messages, critique, principle, context)

            # Models announce their revision ("Here is a better answer:"), which must not be learnt.
            def is_usable(it: Completion) -> bool:
                text = strip_preamble(it.text)
                return not is_looping(it.text) and bool(text) and not problems_of(principle_checks(principle), text)

            # The reviser may be another model than the critic.
            other = context.members.get(REVISER)
            context = replace(context, ask=other.ask) if other else context
            written = await ask_until(is_usable, context, messages, sampling, "revise")
            if is_looping(written.text):
                raise RowFailed("revise", "loop", written.text)
            ended = await end_answer(written, context, messages, sampling, "revise", settings.long_answers)
            revision, finish_reason = strip_preamble(ended.text), ended.finish_reason
            preamble = ended.text.removesuffix(revision).strip()
            if not revision:
                raise RowFailed("revise", "preamble-only", ended.text)
    return {
        "principle_id": principle.id,
        "principle_hash": principle.hash,
        **context.lineage(),
        "response": answer,
        "critique": critique,
        "flagged": flagged,
        "p_violated": p_violated,
        "revision": revision,
        "changed": revision != answer,
        "finish_reason": finish_reason,
        "preamble": preamble or None,
        "seed": seed,
        "model_identity": context.judge_identity,  # of the critic, and of the reviser if that is another model
    }


def principle_checks(principle: Principle) -> list[str]:
    """The checks of a principle, or of all principles that were joined to make it."""
    return [check for part in principle.parts for check in part.checks]


def is_checked(principle: Principle) -> bool:
    """Whether rules alone decide if an answer violates the principle, so that no model is asked for a critique."""
    return all(part.checks for part in principle.parts)


def checked_revision_request(answer: str, principle: Principle, context: StageContext) -> str:
    """What asks for a revision of an answer that breaks checks: only the broken ones are named."""
    broken = {part: found for part in principle.parts if (found := problems_of(part.checks, answer))}
    return render("checked_revision", context.templates, parts=list(broken), problems=list(broken.values()))


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


def read_verdict(critique: str) -> bool | None:
    """Whether a critique says that it found a violation, by its last verdict; None if it gives no verdict."""
    verdicts = _VERDICT.findall(critique)
    return str(verdicts[-1]).lower() == "violated" if verdicts else None


async def critique_answer(
    request: Messages, sampling: Sampling, principle: Principle, context: StageContext, stage: str
) -> tuple[str, float | None]:
    """A critique, and the probability that it finds a violation; None if its text ends in a verdict.

    A critique without a verdict is asked for it as a choice between two words, so that no row depends on a model that
    spells them as requested. The question follows the critique in the same conversation, whose prefix is cached.

    Args:
        request: as `critique_messages`.
        sampling: of the critique.
        principle: under which the answer is criticised.
        context: of the stage.
        stage: named in failures.

    Raises:
        RowFailed: the critique is empty.
        CompletionFailed: a call cannot succeed.
    """
    critique = (await ask_for_reasoning(context, request, sampling, stage)).text
    if read_verdict(critique) is not None:
        return critique, None
    question = [*request, assistant(critique), user(context.request("verdict", principle))]
    violated, _ = await ask_for_choice(context, question, VERDICTS, sampling.seed)
    return critique, violated

"""Asking a model for text that a row can use: no thoughts, no loop, an end, and a verdict by probability.

A model that spells a word differently than requested, rambles or repeats itself should lose few rows: what it was asked
in words is asked again as a choice between two words, a loop is sampled again, and a long answer is trimmed. What is
kept in this way need not be good.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple

from charter.config.generation import LongAnswers
from charter.core.errors import CompletionFailed
from charter.core.messages import Messages, assistant, user
from charter.core.sampling import seed_of
from charter.core.templates import render
from charter.inference.completion import Completion, Sampling
from charter.pipeline.loops import before_loop, is_looping, trim_to_sentence
from charter.pipeline.rows import RowFailed, StageContext

RETRY_TEMPERATURES = (0.7, 1.0)
"""A completion that loops is sampled again at these temperatures, one after the other."""
_CHOICE_TOKENS = 8
"""Enough to spell any choice."""
_WORDS_PER_TOKEN = 0.75
"""Of English text in the vocabulary of a large model; it sets the length that a shorter answer is asked to have."""


class EndedAnswer(NamedTuple):
    """A text that a row can use.

    Attributes:
        text: without surrounding space.
        finish_reason: ``stop``; ``trimmed`` if it was cut off and ends at its last complete sentence; ``shortened`` if
            it is the answer to the request for a shorter one.
        prompt_tokens: of all requests made for it.
        completion_tokens: of all their completions.
    """

    text: str
    finish_reason: str
    prompt_tokens: int
    completion_tokens: int


async def ask_until(
    is_usable: Callable[[Completion], bool], context: StageContext, messages: Messages, sampling: Sampling, stage: str
) -> Completion:
    """A completion that is usable, asked for up to three times; the last one if none is.

    Raises:
        RowFailed: the server ended it for another reason than the model's end or `max_tokens`.
    """
    completion = await _ask(context, messages, sampling, stage)
    for temperature in RETRY_TEMPERATURES:
        if is_usable(completion):
            break
        again = replace(
            sampling,
            temperature=max(temperature, sampling.temperature),
            seed=seed_of(sampling.seed, "again", temperature),
        )
        completion = await _ask(context, messages, again, stage)
    return completion


async def _ask(context: StageContext, messages: Messages, sampling: Sampling, stage: str) -> Completion:
    completion = await context.ask(messages, sampling)
    if completion.finish_reason not in ("stop", "length"):
        raise RowFailed(stage, completion.finish_reason or "unknown-end", completion.text)
    return completion


async def ask_for_answer(
    context: StageContext, messages: Messages, sampling: Sampling, stage: str, long_answers: LongAnswers
) -> EndedAnswer:
    """An answer to a conversation; one that is longer than `max_tokens` is treated as `long_answers` says.

    Raises:
        RowFailed: it is empty, or cut off and not to be kept.
        CompletionFailed: a call cannot succeed.
    """
    completion = await _ask(context, messages, sampling, stage)
    return await end_answer(completion, context, messages, sampling, stage, long_answers)


async def end_answer(
    completion: Completion,
    context: StageContext,
    messages: Messages,
    sampling: Sampling,
    stage: str,
    long_answers: LongAnswers,
) -> EndedAnswer:
    """A completion of `messages` as an answer; it is asked for again, or trimmed, if it was cut off.

    Raises:
        RowFailed, CompletionFailed: as `ask_for_answer`.
    """
    text, finish_reason = completion.text.strip(), completion.finish_reason
    tokens = completion.prompt_tokens, completion.completion_tokens
    if finish_reason == "length" and long_answers == "shorten" and text:
        words = max(20, int(sampling.max_tokens * _WORDS_PER_TOKEN / 2))
        request = user(render("shorten", context.templates, words=words))
        shorter = await _ask(context, [*messages, assistant(text), request], sampling, stage)
        tokens = tokens[0] + shorter.prompt_tokens, tokens[1] + shorter.completion_tokens
        if shorter.finish_reason == "stop" and shorter.text.strip():
            text, finish_reason = shorter.text.strip(), "shortened"
    if finish_reason == "length":
        trimmed = trim_to_sentence(before_loop(text)) if long_answers != "drop" else ""
        if not trimmed:
            raise RowFailed(stage, "cut-off", f"length: {completion.text}")
        text, finish_reason = trimmed, "trimmed"
    if not text:
        raise RowFailed(stage, "empty")
    return EndedAnswer(text, finish_reason, *tokens)


async def ask_for_reasoning(context: StageContext, messages: Messages, sampling: Sampling, stage: str) -> Completion:
    """A critique or a chain of thought. One that loops is sampled again; what is cut off ends at its last sentence.

    Raises:
        RowFailed: it is empty.
        CompletionFailed: a call cannot succeed.
    """
    completion = await ask_until(
        lambda it: not is_looping(it.text) and bool(it.text.strip()), context, messages, sampling, stage
    )
    text = completion.text.strip()
    if is_looping(text):
        text = before_loop(text)
    if completion.finish_reason == "length":
        text = trim_to_sentence(text) or text
    if not text:
        raise RowFailed(stage, "empty")
    return replace(completion, text=text)


async def ask_for_choice(
    context: StageContext, messages: Messages, choices: Sequence[str], seed: int
) -> tuple[float, ...]:
    """The probability of each of a few words as the answer to a conversation.

    Raises:
        CompletionFailed: a call cannot succeed, or the server gives no probabilities.
    """
    sampling = Sampling(max_tokens=_CHOICE_TOKENS, seed=seed, choices=tuple(choices))
    answer = await context.ask(messages, sampling)
    if len(answer.choice_probs) != len(choices):
        raise CompletionFailed("no-choice", answer.text)
    return answer.choice_probs

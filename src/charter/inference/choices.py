"""Probabilities of fixed answers, from the log-probabilities that a server returns."""

import math
import string
from collections.abc import Sequence
from typing import Any

from charter.inference.thoughts import thoughts_end

LEAST_MASS = 0.05
"""Minimum total probability of the choices: the ratio of two very unlikely tokens is not a judgement."""

MARKUP = string.whitespace + "*_`\"'(["
"""Characters without meaning that may precede a choice in a free answer, as in ``**A**``."""


def choice_probabilities(choices: Sequence[str], positions: Sequence[dict[str, Any]]) -> tuple[float, ...] | None:
    """One probability per choice, renormalised over the choices; None if the answer was none of them.

    That is so if the choices have a probability of less than `LEAST_MASS` together.

    Walks the answer token by token. A token that leads to one choice only gives that choice its probability; a token
    that several choices share, such as ``(`` of ``(A)`` and ``(B)``, is followed when the server did. Where the answer
    is not constrained, spaces and markup may come before the word, in its token or before it. Of numbers, such as 1 and
    10, one may begin another: what follows a 1 distinguishes them, or that 10 is a separate token; a 1 of which neither
    is known has no weight.

    Args:
        choices: the answers; none but a number is the beginning of another.
        positions: ``logprobs.content`` of an OpenAI-compatible answer, with ``top_logprobs``.
    """
    mass = dict.fromkeys(choices, 0.0)
    path, weight = "", 1.0
    for number, position in enumerate(positions, start=1):
        taken, alternatives = str(position["token"]), dict[str, float]()
        for token in position.get("top_logprobs") or []:
            # Tokenizers with byte fallback (Llama 2, Mistral, Gemma, Phi-3) have two tokens of one text, such as ``A``
            # and ``<0x41>``, which servers list with equal texts: their probabilities add up.
            text = str(token["token"])
            alternatives[text] = alternatives.get(text, 0.0) + math.exp(float(token["logprob"]))
        # A server that lists only the most probable tokens may leave out the one that was drawn.
        alternatives.setdefault(taken, math.exp(float(position["logprob"])))
        for text, probability in alternatives.items():
            reached = _reached(choices, path + text)
            if len(reached) > 1 and (text != taken or number == len(positions)):
                # The answer may go on to another choice. It ends here if it is the whole answer, or if one of the
                # tokens in its place is that other choice.
                others = [] if text == taken else [(path + other).strip(MARKUP) for other in alternatives]
                word = (path + text).strip(MARKUP)
                ended = text == taken or any(choice != word and choice in others for choice in reached)
                reached = [word] if word in reached and ended else []
            if len(reached) == 1:
                mass[reached[0]] += weight * probability
        weight *= math.exp(position["logprob"])
        path += taken
        if len(_reached(choices, path)) < 2:
            break
    total = sum(mass.values())
    return tuple(mass[choice] / total for choice in choices) if total >= LEAST_MASS else None


def leads_to(choices: Sequence[str], text: str) -> bool:
    """Whether an answer is one of the choices, or the beginning of one."""
    return bool(_reached(choices, text))


def chosen(choices: Sequence[str], text: str) -> str | None:
    """The choice that an answer in words is, or begins with; None if it is another word, or could be several."""
    word = text.strip(MARKUP + ".:)]")
    reached = [word] if word in choices else _reached(choices, text)
    return reached[0] if len(reached) == 1 and text.strip(MARKUP) and reached[0] in text else None


def vote_probabilities(choices: Sequence[str], votes: Sequence[str]) -> tuple[float, ...]:
    """One probability per choice from sampled answers: (votes + 2/m) / (k + 2) for m choices and k votes.

    That is the mean of the posterior under a symmetric Dirichlet prior with the weight of two votes: with two choices
    (votes + 1) / (k + 2), Laplace's rule. So eight equal votes are a label of 0.9, not of 1.
    """
    return tuple((votes.count(choice) + 2 / len(choices)) / (len(votes) + 2) for choice in choices)


def _reached(choices: Sequence[str], path: str) -> list[str]:
    """The choices that an answer beginning with `path` can still be, or already is."""
    for begun in (path.lstrip(), path.lstrip(MARKUP)):  # a choice may begin with a mark itself, as (A) does
        if not begun:
            return list(choices)
        # An unconstrained answer may go on in the same token, as ``A.`` does, but not as ``Because``.
        if reached := [
            choice
            for choice in choices
            if choice.startswith(begun) or (begun.startswith(choice) and not begun[len(choice)].isalnum())
        ]:
            return reached
    return []


def positions_of(text: str, positions: Sequence[dict[str, Any]]) -> Sequence[dict[str, Any]]:
    """The tokens of the answer alone, where the server also lists those of the thoughts before it."""
    said = "".join(str(position["token"]) for position in positions)
    start = thoughts_end(said)
    if not start and text.strip() and not said.strip().startswith(text.strip()):
        start = max(0, said.rfind(text.strip()))
    length = 0
    for number, position in enumerate(positions):
        if length >= start:
            return positions[number:]
        length += len(str(position["token"]))
    return []


def positions_after(words: str, positions: Sequence[dict[str, Any]]) -> Sequence[dict[str, Any]]:
    """The tokens after the last `words` of an answer; none if it does not contain them, or a token spans their end.

    A token may do so with markup alone, as in ``**Better:** A``.
    """
    tokens = [str(position["token"]) for position in positions]
    said = "".join(tokens)
    place, length = said.rfind(words), 0
    end = place + len(words)
    for number, token in enumerate(tokens):
        if place >= 0 and length >= end and not said[end:length].strip(MARKUP):
            return positions[number:]
        length += len(token)
    return []

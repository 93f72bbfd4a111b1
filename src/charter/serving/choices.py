"""Probabilities of fixed answers, from the log-probabilities that a server returns."""

import math
from collections.abc import Sequence
from typing import Any


def choice_probabilities(choices: Sequence[str], positions: Sequence[dict[str, Any]]) -> tuple[float, ...] | None:
    """One probability per choice, renormalised over the choices; None when the tokens do not tell.

    Walks the answer token by token. A token that leads to one choice only gives that choice its
    probability; a token that several choices share, such as ``(`` of ``(A)`` and ``(B)``, is
    followed when the server did. Where the answer is not constrained, a token may carry the
    space before the word.

    Args:
        choices: the answers; none is the beginning of another.
        positions: ``logprobs.content`` of an OpenAI-compatible answer, with ``top_logprobs``.
    """
    mass = dict.fromkeys(choices, 0.0)
    path, weight = "", 1.0
    for position in positions:
        for text, probability in _alternatives(position).items():
            reached = _reached(choices, path + text)
            if len(reached) == 1:
                mass[reached[0]] += weight * probability
        taken = str(position["token"])
        weight *= math.exp(position["logprob"])
        path += taken
        if len(_reached(choices, path)) < 2:
            break
    total = sum(mass.values())
    return tuple(mass[choice] / total for choice in choices) if total > 0 else None


def _reached(choices: Sequence[str], path: str) -> list[str]:
    """The choices that an answer beginning with `path` can still be, or already is."""
    path = path.lstrip()
    if not path:
        return list(choices)
    return [c for c in choices if c.startswith(path) or _ends_word(path, c)]


def _ends_word(path: str, choice: str) -> bool:
    """An unconstrained answer may go on in the same token, as ``A.`` does, but not as ``Because``."""
    return path.startswith(choice) and not path[len(choice)].isalnum()


def _alternatives(position: dict[str, Any]) -> dict[str, float]:
    """Token text to probability, the token that was drawn among them."""
    tokens = {str(t["token"]): float(t["logprob"]) for t in position.get("top_logprobs") or []}
    tokens.setdefault(str(position["token"]), float(position["logprob"]))
    return {text: math.exp(logprob) for text, logprob in tokens.items()}

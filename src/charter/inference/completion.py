"""A completion is a pure function of its request: what is asked, and what comes back."""

import hashlib
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from charter.core.messages import Messages
from charter.inference import fast_json


@dataclass(frozen=True)
class Sampling:
    """How an answer is drawn. Part of the request's identity, so the seed is always sent.

    Raises:
        ValueError: one of `choices` starts with another, so that their probabilities could not be told apart
            (numbers can: a number ends where no digit follows); or there is an `after` without `choices`.
    """

    max_tokens: int
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0
    choices: tuple[str, ...] = ()
    """Non-empty: the answer is one of these, and `Completion.choice_probs` holds their probabilities."""
    after: str = ""
    """Non-empty: the answer is free, names one of `choices` after these words, and `choice_probs` are those of that
    place; empty where the answer does not come to it or the server gives no log-probabilities."""

    def __post_init__(self) -> None:
        for i, one in enumerate(self.choices):
            for j, other in enumerate(self.choices):
                if i != j and other.startswith(one) and (other == one or not other.isdecimal()):
                    raise ValueError(f"choices {self.choices}: {other!r} starts with {one!r}; make them differ earlier")
        if self.after and not self.choices:
            raise ValueError(f"after {self.after!r}: no choices to look for there; name them in choices")


@dataclass(frozen=True)
class Completion:
    """One answer, and what it took."""

    text: str
    finish_reason: str
    """`stop`: the model ended its turn. `length`: cut off at `max_tokens`, never to be used as an answer."""
    prompt_tokens: int
    completion_tokens: int
    choice_probs: tuple[float, ...] = ()
    """In the order of `Sampling.choices`, summing to one; taken at temperature 1 whatever the sampling's."""
    stored: bool = False
    """Served from the store, not asked again. Not part of the stored value."""

    def to_bytes(self) -> bytes:
        """The stored form: JSON without `stored`."""
        values = {name: value for name, value in vars(self).items() if name != "stored"}  # quicker than asdict
        return fast_json.dumps(values)

    @classmethod
    def from_bytes(cls, value: bytes) -> "Completion":
        """What `to_bytes` wrote, marked as served from the store."""
        values: dict[str, Any] = fast_json.loads(value)
        values["choice_probs"] = tuple(values["choice_probs"])
        values["text"] = well_formed(values["text"])  # kept as it came, by earlier versions
        return cls(**values, stored=True)


def well_formed(text: str) -> str:
    """The text with U+FFFD in the place of each half of a surrogate pair, which no file and no column takes.

    A server that cuts an answer between the two halves of an emoji's escape sends one.
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


Ask = Callable[[Messages, Sampling], Awaitable[Completion]]
"""What every stage is given. Raises CompletionFailed for one row, ServingError when the endpoints are gone for good."""


def request_key(identity: str, messages: Messages, sampling: Sampling) -> bytes:
    """The 32-byte name of a completion: SHA-256 of the canonical JSON of all that determines it."""
    said = fast_json.canonical([{"content": m["content"], "role": m["role"]} for m in messages])
    rest: dict[str, Any] = {
        "model": identity,
        "version": 1,  # of the stored form
        "sampling": {
            "max_tokens": sampling.max_tokens,
            "temperature": float(sampling.temperature),
            "top_p": float(sampling.top_p),
            "seed": sampling.seed,
            "choices": sampling.choices,
        },
    }
    if sampling.after:  # left out where there is none, so that the keys of earlier versions stay
        rest["sampling"]["after"] = sampling.after
    # Not quick, but it writes 0.00001 as 1e-05, and keys of earlier versions stay.
    text = json.dumps(rest, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(b'{"messages":%b,%b' % (said, text[1:].encode("utf-8", "surrogatepass"))).digest()

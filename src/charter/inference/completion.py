"""A request to a model, and its completion, which is a pure function of the request."""

import hashlib
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from charter.core.messages import Messages
from charter.inference import fast_json
from charter.inference.thoughts import split_thoughts

_ENDED = frozenset({
    "", "none", "null", "stop", "stopped", "stop_sequence", "stop_token", "stop_string", "eos", "eos_token",
    "eos_found", "end_turn", "end", "ended", "complete", "completed", "finished", "done",
})  # fmt: skip
_CUT_OFF = frozenset({
    "length", "max_length", "max_tokens", "max_new_tokens", "max_output_tokens", "max_completion_tokens",
    "max_tokens_reached", "token_limit", "limit", "model_length", "context_length", "model_context_window_exceeded",
})  # fmt: skip


@dataclass(frozen=True)
class Sampling:
    """How an answer is sampled. Part of the request's identity, so the seed is always sent.

    Raises:
        ValueError: one of `choices` starts with another, so that their probabilities could not be distinguished
            (numbers can: a number ends where no digit follows); or there is a `choice_marker` without `choices`.
    """

    max_tokens: int
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0
    choices: tuple[str, ...] = ()
    """Non-empty: the answer is one of these, and `Completion.choice_probs` holds their probabilities."""
    choice_marker: str = ""
    """Non-empty: the answer is free text that names one of `choices` after these words, and `choice_probs` are measured
    there; they are empty if the answer does not reach the marker or the server returns no log-probabilities."""
    top_k: int | None = None
    min_p: float | None = None
    repetition_penalty: float | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    chat_template_kwargs: str = ""
    """Variables of the chat template, as canonical JSON."""
    thinking_tokens: int = 0
    """Tokens for thoughts, in addition to `max_tokens`."""

    def __post_init__(self) -> None:
        for i, one in enumerate(self.choices):
            for j, other in enumerate(self.choices):
                if i != j and other.startswith(one) and (other == one or not other.isdecimal()):
                    raise ValueError(f"choices {self.choices}: {other!r} starts with {one!r}; make them differ earlier")
        if self.choice_marker and not self.choices:
            raise ValueError(f"choice_marker {self.choice_marker!r}: no choices to look for after it; set choices")


@dataclass(frozen=True)
class Completion:
    """One answer, and its size in tokens."""

    text: str
    finish_reason: str
    """`stop`: the model ended its turn. `length`: cut off at `max_tokens`; never used as an answer."""
    prompt_tokens: int
    completion_tokens: int
    choice_probs: tuple[float, ...] = ()
    """In the order of `Sampling.choices`, summing to one; taken at temperature 1 whatever the sampling's."""
    stored: bool = False
    """Read from the store instead of asked. Not part of the stored value."""
    thinking: str = ""
    """What the model thought before it answered, kept for those who inspect the store; no stage reads it."""

    def to_bytes(self) -> bytes:
        """The stored form: JSON without `stored`, and without `thinking` if that is empty."""
        values = {name: value for name, value in vars(self).items() if name != "stored"}  # faster than asdict
        if not self.thinking:
            del values["thinking"]
        return fast_json.dumps(values)

    @classmethod
    def from_bytes(cls, value: bytes) -> "Completion":
        """Read what `to_bytes` wrote; marked as stored."""
        values: dict[str, Any] = fast_json.loads(value)
        values["choice_probs"] = tuple(values["choice_probs"])
        # Earlier versions stored text as it came.
        text, thinking = split_thoughts(well_formed(values["text"]))
        values |= {"text": text, "thinking": values.get("thinking") or thinking}
        if values["finish_reason"] not in ("stop", "length"):  # likewise
            values["finish_reason"] = known_finish_reason(plain_finish_reason(values["finish_reason"]))
        return cls(**values, stored=True)


def plain_finish_reason(value: Any) -> str:
    """A server's reason in plain form: ``FinishReason.MAX_TOKENS`` becomes ``max_tokens``; empty without a reason."""
    return "" if value is None else str(value).rpartition(".")[2].strip().lower().replace("-", "_").replace(" ", "_")


def known_finish_reason(reason: str) -> str:
    """``stop`` or ``length`` for the names that servers give them; another reason as it is."""
    return "stop" if reason in _ENDED else "length" if reason in _CUT_OFF else reason


def well_formed(text: str) -> str:
    """The text with U+FFFD for each half of a surrogate pair, which cannot be written to a file or an Arrow column.

    A server sends such a half when it cuts an answer between the two halves of an emoji's escape.
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


OPTIONAL_PARAMETERS = (
    "top_k", "min_p", "repetition_penalty", "presence_penalty", "frequency_penalty", "chat_template_kwargs",
)  # fmt: skip
"""Fields of `Sampling` that are sent, and part of a key, only if they are set."""

Ask = Callable[[Messages, Sampling], Awaitable[Completion]]
"""Asks a model; every stage gets one. Raises CompletionFailed for one row, ServingError when no endpoint is left."""


def request_key(identity: str, messages: Messages, sampling: Sampling) -> bytes:
    """The 32-byte key of a completion: SHA-256 of the canonical JSON of everything that determines it."""
    conversation = fast_json.canonical([{"content": m["content"], "role": m["role"]} for m in messages])
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
    if sampling.choice_marker:  # left out if empty, and under its first name, so that earlier stores' keys stay valid
        rest["sampling"]["after"] = sampling.choice_marker
    for name in OPTIONAL_PARAMETERS:  # likewise
        if (value := getattr(sampling, name)) not in (None, ""):
            rest["sampling"][name] = value
    if sampling.thinking_tokens:
        rest["sampling"]["thinking_tokens"] = sampling.thinking_tokens
    # Slower than orjson, but it writes 0.00001 as 1e-05, as the keys in existing stores have it.
    text = json.dumps(rest, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(b'{"messages":%b,%b' % (conversation, text[1:].encode("utf-8", "surrogatepass"))).digest()

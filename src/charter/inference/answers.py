"""Reading a server's answer: vLLM's, and those of other servers in OpenAI's shape, which differ in many details."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from charter.core.errors import CompletionFailed
from charter.core.messages import Messages
from charter.inference import fast_json
from charter.inference.completion import (
    Completion,
    Sampling,
    known_finish_reason,
    plain_finish_reason,
    well_formed,
)
from charter.inference.pieces import positions_in_text
from charter.inference.thoughts import split_thoughts

_CHARACTERS_PER_TOKEN = 4
"""To estimate tokens that a server does not count; of English text."""
_FILTERED = frozenset({
    "content_filter", "content_filtered", "contentfilter", "safety", "recitation", "blocklist", "prohibited_content",
    "spii", "guardrail_intervened", "moderation", "flagged", "sensitive",
})  # fmt: skip
_REFUSED = frozenset({"refusal", "refused"})
_BROKEN_OFF = frozenset(
    {"abort", "aborted", "error", "cancelled", "canceled", "timeout", "insufficient_system_resource"}
)
_THOUGHT_PARTS = frozenset({"thinking", "reasoning", "thought", "reasoning_content", "redacted_thinking"})


class Answer(NamedTuple):
    """A server's answer, before it is a completion.

    Attributes:
        text: without thoughts.
        thinking: the thoughts, from a field of the answer or from tags in its text.
        reason: ``stop``, ``length``, or what the server says if that is unknown here.
        prompt_tokens: as counted by the server; an estimate if it does not.
        completion_tokens: likewise.
        is_counted: whether the server counted them.
        positions: ``logprobs.content``: a token, its log-probability and alternatives for each place of the answer.
    """

    text: str
    thinking: str
    reason: str
    prompt_tokens: int
    completion_tokens: int
    is_counted: bool
    positions: Sequence[dict[str, Any]]

    @property
    def has_known_reason(self) -> bool:
        """Whether the server's reason is one that is known here."""
        return self.reason in ("stop", "length")

    def completion(self) -> Completion:
        """The answer as a completion. A reason that is unknown does not say that the answer was cut off."""
        reason = self.reason if self.has_known_reason else "stop"
        return Completion(self.text, reason, self.prompt_tokens, self.completion_tokens, thinking=self.thinking)


def read_answer(raw: bytes, messages: Messages, sampling: Sampling) -> Answer:
    """Read the body of an answer with status 200.

    Raises:
        CompletionFailed: the server filtered the answer (``content-filter``), or refused (``refused``); with its text.
        ValueError, LookupError, TypeError, AttributeError: it is no answer.
    """
    body = fast_json.loads(raw)
    if not body.get("choices") and body.get("error"):
        raise ValueError(f"an error in an answer with status 200: {body['error']}")
    choice = body["choices"][0]
    message = choice["message"] if "message" in choice else {"content": choice["text"]}
    content, thoughts, refusal = _read_parts(message.get("content"))
    text, in_tags = split_thoughts(content)
    fields = (message.get(name) for name in ("reasoning_content", "reasoning", "thinking"))
    in_field = next((each for each in fields if each), None)
    thinking = "\n\n".join(each for each in ("".join(_texts(in_field)) or thoughts, in_tags) if each)
    refusal = "".join(_texts(message.get("refusal"))) or refusal
    reason = plain_finish_reason(choice.get("finish_reason"))
    if reason in _FILTERED:
        raise CompletionFailed("content-filter", _explanation(choice, body, refusal or content))
    if reason in _REFUSED or (refusal and not text.strip()):
        raise CompletionFailed("refused", _explanation(choice, body, refusal or content))
    if reason in _BROKEN_OFF:
        raise ValueError(f"the server broke the answer off: finish_reason {reason!r}")
    if "content" not in message and not thinking and not reason:
        raise KeyError("content")
    usage: dict[str, Any] = body.get("usage") or {}
    is_counted = isinstance(usage.get("prompt_tokens"), int) and isinstance(usage.get("completion_tokens"), int)
    read = usage["prompt_tokens"] if is_counted else _estimate(sum(len(each["content"]) for each in messages))
    written = usage["completion_tokens"] if is_counted else _estimate(len(content) + len(thinking))
    if not reason and is_counted and written >= sampling.max_tokens:
        reason = "length"  # a server that gives no reason, and used all tokens that it had
    reason = known_finish_reason(reason)
    return Answer(well_formed(text), well_formed(thinking), reason, read, written, is_counted, _positions(choice))


def _read_parts(content: Any) -> tuple[str, str, str]:
    """Text, thoughts and refusal of a message's content, which may be a list of parts."""
    texts, thoughts, refusals = list[str](), list[str](), list[str]()
    for part in content if isinstance(content, list) else [content]:
        kind = str(part.get("type", "")).lower() if isinstance(part, Mapping) else ""
        if kind in _THOUGHT_PARTS:
            thoughts += _texts(part)
        elif kind == "refusal":
            refusals += _texts(part)
        elif part is not None:
            texts += _texts(part)
    return "".join(texts), "\n\n".join(thoughts), "".join(refusals)


def _texts(value: Any) -> list[str]:
    """All texts of a part: a string, a list of parts, or an object that has its text under one of several names.

    Raises:
        TypeError: it is something else, such as a number.
    """
    if value is None:
        return []
    if isinstance(value, str):
        return [value]
    if isinstance(value, list):
        return [text for part in value for text in _texts(part)]
    if isinstance(value, Mapping):
        for name in ("text", "value", "content", "thinking", "reasoning", "summary", "refusal"):
            if name in value:
                return _texts(value[name])
        return []  # an image, or a thought that is encrypted
    raise TypeError(f"content of type {type(value).__name__}")


def _explanation(choice: Mapping[str, Any], body: Mapping[str, Any], text: str) -> str:
    """What the server says about an answer that it filtered or refused."""
    said = [text.strip()] if text.strip() else []
    for holder in (choice, body):
        for name in ("content_filter_result", "content_filter_results", "prompt_filter_results", "safety_ratings"):
            if holder.get(name):
                said.append(f"{name}: {fast_json.dumps(holder[name]).decode('utf-8', 'replace')}")
    return well_formed("; ".join(said) or f"finish_reason {choice.get('finish_reason')!r}, without a text")


def _estimate(characters: int) -> int:
    return math.ceil(characters / _CHARACTERS_PER_TOKEN)


def _positions(choice: Mapping[str, Any]) -> Sequence[dict[str, Any]]:
    """``logprobs.content``, with tokens as texts; made of lists where a server returns those of completions."""
    found = choice.get("logprobs") or {}
    positions = found.get("content") or []
    if not positions and found.get("tokens"):
        tokens, values = found["tokens"], found.get("token_logprobs") or []
        tops = found.get("top_logprobs") or [{}] * len(tokens)
        positions = [
            {
                "token": token,
                "logprob": value,
                "top_logprobs": [{"token": each, "logprob": p} for each, p in (top or {}).items()],
            }
            for token, value, top in zip(tokens, values, tops, strict=False)
            if value is not None
        ]
    return positions_in_text(positions)

"""What a server does not support of a request, learned from its refusals and its answers.

Servers in OpenAI's shape differ in the parameters that they know. A refusal names the parameter; the request is sent
again without it, and once that is accepted, so are all later ones.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from charter.core.messages import Messages, fold_system
from charter.inference import fast_json
from charter.inference.completion import OPTIONAL_PARAMETERS, Sampling

TOP_LOGPROBS = 20
"""The maximum of OpenAI's protocol, and of vLLM without --max-logprobs."""
_FREE_TOKENS = 32  # minimum for a choice that the server cannot constrain: one token cannot tell a refusal from a slip
_CHOICE_THOUGHT_TOKENS = 2048
_LEAST_TEMPERATURE = 0.01
"""Sent for 0 to servers that want a positive one; nearly greedy."""

_UNKNOWN = re.compile(
    r"extra[_ ](?:forbidden|inputs|fields|param)|unrecogni|unknown|unexpected|unsupported|n[o']t[ _](?:\w+[ _])?"
    r"(?:support|permit|allow|recogni|implement|available)|forbidden|deprecated|removed|instead",
    re.IGNORECASE,
)
_NO_SYSTEM = re.compile(
    r"system (?:role|message|prompt)s?\b|roles must alternate|only (?:the )?user(?:,| and) (?:model|assistant)",
    re.IGNORECASE,
)
"""How chat templates without a system role refuse one: Gemma's, and those of Mistral and Llama 2 that want turns to
alternate."""
_ECHOED = frozenset({"input", "ctx", "messages", "url", "body"})
"""Fields of an error that repeat the request, whose text may contain any word."""
_PATTERNS = {
    "logprobs": r"(?<!top_)(?<!top)(?<!top )log[\s_-]?prob(?:s|abilit(?:y|ies))?",
    "top_logprobs": r"top[\s_-]?log[\s_-]?probs?",
    "structured_outputs": r"structured[\s_-]?outputs?|guided[\s_-]?decoding|grammar",
    "chat_template_kwargs": r"chat[\s_-]?template[\s_-]?kwargs|enable[\s_-]?thinking",
}
_ORDER = (  # those that are missed least first, where a refusal names several
    "continue_final_message", "add_generation_prompt", "return_tokens_as_token_ids", "structured_outputs",
    "chat_template_kwargs", "min_p", "top_k", "repetition_penalty", "presence_penalty",
    "frequency_penalty", "top_p", "seed", "top_logprobs", "logprobs", "max_tokens", "max_completion_tokens",
    "temperature",
)  # fmt: skip


@dataclass(frozen=True)
class Dialect:
    """How requests are written for one server. The default is that of vLLM.

    Attributes:
        left_out: parameters that are not sent.
        token_limit: the name of the parameter that limits the answer's tokens.
        least_tokens: the smallest limit that the server accepts.
        least_temperature: sent instead of a lower one.
        top_logprobs: the most alternatives per token that the server returns; 0 if it returns no log-probabilities.
        constrains: whether the server can limit an answer to the choices, by `structured_outputs`.
        continues: whether the server supports `continue_final_message`.
        names_tokens: whether the server must be told to name the tokens of log-probabilities by their text.
        folds_system: whether the model has no system role, so that its text goes into the first user turn.
        thoughts: how a choice is asked of a model that thinks: 1 with thinking switched off, 2 with tokens to think.
    """

    left_out: frozenset[str] = frozenset()
    token_limit: str = "max_tokens"
    least_tokens: int = 1
    least_temperature: float = 0.0
    top_logprobs: int = TOP_LOGPROBS
    constrains: bool = True
    continues: bool = True
    names_tokens: bool = False
    folds_system: bool = False
    thoughts: int = 0

    def request(self, model_name: str, messages: Messages, sampling: Sampling) -> dict[str, Any]:
        """The body of a request.

        Args:
            model_name: as the server knows it.
            messages: a conversation; one that ends with the assistant's turn has a partial answer to continue.
            sampling: how the answer is sampled. Where the server cannot limit an answer to the choices, or the model
                thinks first, more tokens are requested; they are not part of the store's key.
        """
        limit = sampling.max_tokens + sampling.thinking_tokens
        request: dict[str, Any] = {
            "model": model_name,
            "messages": fold_system(messages) if self.folds_system else list(messages),
            self.token_limit: limit,
            "temperature": max(sampling.temperature, self.least_temperature),
            "top_p": sampling.top_p,
            "seed": sampling.seed,
        }
        for name in OPTIONAL_PARAMETERS:
            if (value := getattr(sampling, name)) not in (None, ""):
                request[name] = fast_json.loads(value.encode()) if name == "chat_template_kwargs" else value
        if self.continues and messages[-1]["role"] == "assistant":
            request |= {"continue_final_message": True, "add_generation_prompt": False}
        if sampling.choices:
            if self.top_logprobs:
                request["logprobs"] = True
                request["top_logprobs"] = self.top_logprobs
                if self.names_tokens:
                    request["return_tokens_as_token_ids"] = False
            if sampling.choice_marker:  # the answer is free text: each of its tokens brings this many alternatives
                if self.top_logprobs:
                    request["top_logprobs"] = min(self.top_logprobs, 2 * len(sampling.choices) + 1)
            else:
                # All top log-probabilities here too: only they show whether a server ignored the constraint.
                if self.constrains:
                    request["structured_outputs"] = {"choice": list(sampling.choices)}
                else:
                    limit = max(_FREE_TOKENS, limit)
                if self.thoughts == 1:
                    own = request.get("chat_template_kwargs", {})
                    request["chat_template_kwargs"] = own | {"enable_thinking": False, "thinking": False}
                elif self.thoughts == 2:
                    limit += _CHOICE_THOUGHT_TOKENS
        request[self.token_limit] = max(limit, self.least_tokens)
        return {name: value for name, value in request.items() if name not in self.left_out}

    def after_refusal(self, request: Mapping[str, Any], raw: bytes) -> "Dialect | None":
        """The dialect to try next, after a server refused a request; None if it names no parameter of the request."""
        text = error_texts(raw)
        first = request["messages"][0]
        if first["role"] == "system" and not self.folds_system and _NO_SYSTEM.search(text):
            return replace(self, folds_system=True)
        named = [name for name in _ORDER if name in request and _names(text, name)]
        if not named and _UNKNOWN.search(text):  # it does not say which: one that is not OpenAI's
            named = [name for name in _ORDER[:8] if name in request]
        for name in named:
            if (dialect := self._without(name, request, text)) is not None:
                return dialect
        return None

    def _without(self, name: str, request: Mapping[str, Any], text: str) -> "Dialect | None":
        numbers = [int(number) for number in re.findall(r"(?<![\w.])\d{1,6}(?![\w.]*\d)", text)]
        if name in ("continue_final_message", "add_generation_prompt"):
            return replace(self, continues=False)
        if name == "structured_outputs":
            return replace(self, constrains=False)
        if name == "chat_template_kwargs":
            return replace(self, left_out=self.left_out | {name}, thoughts=max(self.thoughts, 2))
        if name == "top_logprobs":
            lower = [number for number in numbers if 0 < number < request[name]]
            most = max(lower) if lower else 0 if _names(text, "logprobs") else request[name] // 2
            return replace(self, top_logprobs=most if most > 1 else 0)
        if name == "logprobs":
            return replace(self, top_logprobs=0)
        if name in ("max_tokens", "max_completion_tokens"):
            if name == "max_tokens" and ("max_completion_tokens" in text or _UNKNOWN.search(text)):
                return replace(self, token_limit="max_completion_tokens")
            higher = [number for number in numbers if number > request[name]]
            if higher and re.search(r"at least|minimum|below|greater|>=|more than|lower than", text, re.IGNORECASE):
                return replace(self, least_tokens=min(higher))
            return None  # too large, perhaps: the user's to change
        if name == "temperature" and request[name] == 0:
            return replace(self, least_temperature=_LEAST_TEMPERATURE)
        return replace(self, left_out=self.left_out | {name})

    def merged(self, other: "Dialect") -> "Dialect":
        """What either of two calls to the same server learned."""
        return Dialect(
            self.left_out | other.left_out,
            max(self.token_limit, other.token_limit, key=lambda name: name == "max_completion_tokens"),
            max(self.least_tokens, other.least_tokens),
            max(self.least_temperature, other.least_temperature),
            min(self.top_logprobs, other.top_logprobs),
            self.constrains and other.constrains,
            self.continues and other.continues,
            self.names_tokens or other.names_tokens,
            self.folds_system or other.folds_system,
            max(self.thoughts, other.thoughts),
        )

    def differences(self) -> dict[str, str]:
        """How it differs from the default, by topic, in words for the log and the manifest."""
        found = {name: f"does not accept '{name}'; it is left out" for name in sorted(self.left_out)}
        if "seed" in found:
            found["seed"] += ", so answers cannot be reproduced"
        if "temperature" in found:
            found["temperature"] += ", and the server's own is used, also where answers should be greedy"
        if self.token_limit != "max_tokens":
            found["max_tokens"] = f"'{self.token_limit}' is sent instead of 'max_tokens'"
        if self.least_tokens > 1:
            found["least_tokens"] = f"at least {self.least_tokens} tokens are requested"
        if self.least_temperature:
            found.setdefault("temperature", f"temperature {self.least_temperature:g} is sent instead of 0")
        if self.top_logprobs == 0:
            found["logprobs"] = "returns no log-probabilities"
        elif self.top_logprobs < TOP_LOGPROBS:
            found["top_logprobs"] = f"returns log-probabilities of up to {self.top_logprobs} tokens"
        if not self.constrains:
            found["constraint"] = "cannot constrain answers to choices"
        if not self.continues:
            found["continues"] = (
                "does not support continue_final_message; it must recognise by itself that an answer is begun"
            )
        if self.folds_system:
            found["system"] = "the model has no system role; its text goes into the first user turn"
        if self.names_tokens:
            found["names_tokens"] = "names tokens by their ids, unless told not to"
        if self.thoughts == 1:
            found["thoughts"] = "the model thinks; for choices thinking is switched off"
        elif self.thoughts == 2:
            found["thoughts"] = "the model thinks before it chooses; choices are read after its thoughts"
        return found


VLLM = Dialect()
"""The dialect of a server of which nothing is known yet."""


def _names(text: str, name: str) -> bool:
    """Whether a text names a parameter: `top_logprobs`, `topLogprobs`, `top logprobs`."""
    pattern = _PATTERNS.get(name, name.replace("_", r"[\s_-]?"))
    return re.search(rf"(?<![^\W_])(?:{pattern})(?![^\W_])", text, re.IGNORECASE) is not None


def error_texts(raw: bytes) -> str:
    """All texts of an error, such as its message, its parameter and its code, without those that repeat the request."""

    def texts(value: Any) -> Iterator[str]:
        if isinstance(value, Mapping):
            for name, part in value.items():
                if name not in _ECHOED:
                    yield str(name)
                    yield from texts(part)
        elif isinstance(value, list):
            for part in value:
                yield from texts(part)
        elif isinstance(value, str):
            yield value

    try:
        return " ".join(texts(fast_json.loads(raw)))
    except ValueError:
        return raw.decode("utf-8", "replace")

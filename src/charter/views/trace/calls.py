"""What was asked on the way of one row, and what came."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from charter.core.errors import CompletionFailed
from charter.core.messages import Message, Messages, assistant
from charter.inference.completion import Ask, Completion, Sampling


@dataclass
class Call:
    """One request and its answer; `number` counts from 1."""

    number: int
    stage: str
    """``respond``, ``critique``, ``revise``, ``sample`` or ``judge``."""
    messages: tuple[Message, ...]
    sampling: Sampling
    answer: Completion | None = None
    failure: str = ""
    """Why there is no answer."""

    def to_dict(self) -> dict[str, Any]:
        """As plain values."""
        return asdict(self)


@dataclass
class Recorder:
    """Remembers calls in the order in which they were made, whenever their answers come."""

    stage: str = ""
    """Of the chain, as `charter.pipeline.sequence.walk` names it."""
    calls: list[Call] = field(default_factory=list)

    def at(self, stage: str) -> None:
        """A stage begins."""
        self.stage = stage

    def watched(self, ask: Ask) -> Ask:
        """An `Ask` that is recorded."""

        async def recorded(messages: Messages, sampling: Sampling) -> Completion:
            call = Call(len(self.calls) + 1, self._stage_of(messages), tuple(messages), sampling)
            self.calls.append(call)
            try:
                call.answer = await ask(messages, sampling)
            except CompletionFailed as error:
                call.failure = str(error)
                raise
            return call.answer

        return recorded

    def _stage_of(self, messages: Messages) -> str:
        """A request that goes on from the critique before it is for a revision."""
        if self.stage != "revise":
            return self.stage
        last = self.calls[-1]
        critique = last.answer.text.strip() if last.stage == "critique" and last.answer else None
        goes_on = critique is not None and [*last.messages, assistant(critique)] == list(messages[:-1])
        return "revise" if goes_on else "critique"


def shared_beginning(call: Call, earlier: Sequence[Call]) -> tuple[int, int]:
    """How many of a call's messages, from the first on, stand in an earlier call, and that call's number; 0, 0 if none.

    Of several the last is named.
    """
    lengths = [(_common(call.messages, one.messages), one.number) for one in earlier]
    length, number = max(lengths, default=(0, 0))
    return (length, number) if length else (0, 0)


def _common(one: Messages, other: Messages) -> int:
    length = 0
    while length < min(len(one), len(other)) and one[length] == other[length]:
        length += 1
    return length

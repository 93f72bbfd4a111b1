"""Records the calls that the sequence of stages makes, for `trace` and `estimate`."""

import time
from collections import defaultdict
from dataclasses import asdict, dataclass, field
from typing import Any

from charter.core.errors import CompletionFailed
from charter.core.messages import Message, Messages
from charter.inference.completion import Ask, Completion, Sampling


@dataclass
class Call:
    """One request and its answer.

    Attributes:
        number: counts from 1.
        stage: ``respond``, ``revise``, ``sample`` or ``judge``; a trace tells ``critique`` from ``revise``.
        failure: why there is no answer.
    """

    number: int
    stage: str
    messages: tuple[Message, ...]
    sampling: Sampling
    answer: Completion | None = None
    failure: str = ""

    def to_dict(self) -> dict[str, Any]:
        """As plain values."""
        return asdict(self)


@dataclass(frozen=True)
class CallCount:
    """The answered calls of one stage; `stored` of them were answered by the store.

    `seconds` are by the clock, from the beginning of the stage to its end.
    """

    calls: int = 0
    stored: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    seconds: float = 0.0

    @property
    def asked(self) -> int:
        """Calls that a server answered."""
        return self.calls - self.stored


@dataclass
class CallRecorder:
    """Records calls in the order in which they are made, whenever their answers come."""

    calls: list[Call] = field(default_factory=list)
    seconds: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    _stage: str = ""
    _started: float = 0.0

    def begin_stage(self, stage: str) -> None:
        """A stage begins, and the one before it ends; an empty name only ends."""
        now = time.monotonic()
        if self._stage:
            self.seconds[self._stage] += now - self._started
        # Calls that begin from now on belong to this stage.
        self._stage, self._started = stage, now

    def recorded(self, ask: Ask) -> Ask:
        """An `Ask` whose calls are recorded."""

        async def ask_and_record(messages: Messages, sampling: Sampling) -> Completion:
            call = Call(len(self.calls) + 1, self._stage, tuple(messages), sampling)
            # Before the answer: calls are in the order in which they were asked, also when they run concurrently.
            self.calls.append(call)
            try:
                call.answer = await ask(messages, sampling)
            except CompletionFailed as error:
                # Kept and raised again: the stage decides what becomes of the row.
                call.failure = str(error)
                raise
            return call.answer

        return ask_and_record

    def counts(self) -> dict[str, CallCount]:
        """The answered calls of each stage that made any call."""
        answers = dict[str, list[Completion]]()
        for call in self.calls:
            # A stage whose calls all failed is listed as well, with zero calls.
            answers.setdefault(call.stage, []).extend([call.answer] if call.answer else [])
        return {
            stage: CallCount(
                calls=len(completions),
                stored=sum(completion.stored for completion in completions),
                prompt_tokens=sum(completion.prompt_tokens for completion in completions),
                completion_tokens=sum(completion.completion_tokens for completion in completions),
                seconds=self.seconds[stage],
            )
            for stage, completions in answers.items()
        }

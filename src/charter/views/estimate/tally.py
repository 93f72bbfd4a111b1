"""Calls counted by the stage of the chain that makes them."""

import time
from collections import defaultdict
from dataclasses import dataclass, field

from charter.core.messages import Messages
from charter.inference.completion import Ask, Completion, Sampling


@dataclass
class Count:
    """The calls of one stage that were answered."""

    calls: int = 0
    stored: int = 0
    """Those of them that the store answered."""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    seconds: float = 0.0
    """By the clock, from the stage's beginning to its end."""

    @property
    def asked(self) -> int:
        """Calls that a server answered."""
        return self.calls - self.stored


@dataclass
class Tally:
    """Counts what passes through its `watched` asks."""

    stages: defaultdict[str, Count] = field(default_factory=lambda: defaultdict(Count))
    _stage: str = ""
    _began: float = 0.0

    def at(self, stage: str) -> None:
        """A stage begins, and the one before it ends; an empty name only ends."""
        now = time.monotonic()
        if self._stage:
            self.stages[self._stage].seconds += now - self._began
        self._stage, self._began = stage, now

    def watched(self, ask: Ask) -> Ask:
        """An `Ask` whose answers are counted."""

        async def counted(messages: Messages, sampling: Sampling) -> Completion:
            count = self.stages[self._stage]
            answer = await ask(messages, sampling)
            count.calls += 1
            count.stored += answer.stored
            count.prompt_tokens += answer.prompt_tokens
            count.completion_tokens += answer.completion_tokens
            return answer

        return counted

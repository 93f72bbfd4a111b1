"""A model that is a Python function: for tests of stages, where the real one would only add noise."""

from collections.abc import Callable

from charter.core.errors import CompletionFailed
from charter.core.messages import Messages
from charter.inference.completion import Completion, Sampling

Script = Callable[[Messages, Sampling], "str | float | Completion | CompletionFailed"]


class ScriptedModel:
    """Answers with what `script` returns, and keeps what it was asked.

    A string is the answer; a number is the probability of the first of two choices; a `Completion` is given
    as it is; a `CompletionFailed` is raised.
    """

    def __init__(self, script: Script) -> None:
        self._script = script
        self.asked: list[tuple[Messages, Sampling]] = []

    async def ask(self, messages: Messages, sampling: Sampling) -> Completion:
        """An `Ask`."""
        # Before it answers, so that calls that fail are recorded too.
        self.asked.append((messages, sampling))
        answer = self._script(messages, sampling)
        if isinstance(answer, CompletionFailed):
            raise answer
        if isinstance(answer, Completion):
            return answer
        if isinstance(answer, str):
            return Completion(answer, "stop", 10, len(answer.split()))
        text = sampling.choices[0 if answer >= 0.5 else 1]
        return Completion(text, "stop", 10, 1, choice_probs=(answer, 1 - answer))

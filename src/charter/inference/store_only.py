"""In the place of a client where nothing may be asked: what the store does not have is a failure."""

from charter.core.errors import CompletionFailed
from charter.core.messages import Messages
from charter.inference.completion import Completion, Sampling

NOT_STORED = "not-stored"
"""The reason of a row that would need a call."""


class NoServer:
    """Answers nothing."""

    retries = 0

    async def complete(self, messages: Messages, sampling: Sampling) -> Completion:
        """Refuse.

        Raises:
            CompletionFailed: always, for the reason `NOT_STORED`.
        """
        raise CompletionFailed(NOT_STORED, "the store has no answer to this request")

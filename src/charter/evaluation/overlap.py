"""Held-out requests that are among a run's prompts, exactly or nearly: what is trained on must not be asked later."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from charter.core.messages import Message, Messages
from charter.core.text import runs_of, split_words
from charter.data.duplicates import RUN
from charter.evaluation.records import HeldOut

NEAR = 0.7
"""Texts are nearly equal from this overlap of their three-word sequences, which `prompts.near_duplicates` uses too."""

DERIVED = ("pressed", "insisted")
"""Categories whose requests are made of other requests, which are checked themselves."""


class Overlap(NamedTuple):
    """How many held-out requests are among the prompts.

    Attributes:
        requests: held-out requests that were looked for.
        prompts: prompts among which they were looked for.
        exact: requests that differ from a prompt in nothing but case, spacing and punctuation.
        near: further requests that share `threshold` of their three-word sequences with a prompt.
        threshold: 1 if only exact ones were looked for.
        example: a request that was found, and the prompt that it repeats.
    """

    requests: int
    prompts: int
    exact: int
    near: int
    threshold: float
    example: tuple[str, str] | None = None

    @property
    def found(self) -> int:
        """Requests that are among the prompts."""
        return self.exact + self.near

    def to_dict(self) -> dict[str, Any]:
        """As in ``evaluation.json``."""
        return {**self._asdict(), "example": list(self.example) if self.example else None}


def find_overlap(requests: Sequence[HeldOut], prompts: Iterable[Messages], near: bool = True) -> Overlap:
    """Look for the requests among the prompts, which are read one by one.

    Of a conversation, the user's last turn counts as well as the whole.

    Args:
        requests: held-out requests.
        prompts: those of a run.
        near: whether nearly equal texts count. A source that makes both by the same patterns has many of them.
    """
    requests = [request for request in requests if request.category not in DERIVED]
    exactly, sequences = defaultdict[tuple[str, ...], set[int]](set), list[set[tuple[str, ...]]]()
    owner, with_sequence = list[int](), defaultdict[tuple[str, ...], list[int]](list)
    for number, request in enumerate(requests):
        for text in _texts(request.messages):
            words = split_words(text)
            exactly[_letters(words)].add(number)
            for sequence in (its := set(runs_of(words, RUN))):
                with_sequence[sequence].append(len(sequences))
            sequences.append(its)
            owner.append(number)
    exactly.pop((), None)

    exact, nearly, example, read = set[int](), set[int](), None, 0
    for prompt in prompts:
        read += 1
        for text in _texts(prompt):
            words = split_words(text)
            found = exactly.get(_letters(words), set())
            exact |= found
            close = set[int]()
            if near:
                its = set(runs_of(words, RUN))
                shared = Counter(place for sequence in its for place in with_sequence.get(sequence, ()))
                close = {
                    owner[place] for place, n in shared.items() if n >= NEAR * (len(its) + len(sequences[place]) - n)
                }
                nearly |= close
            if example is None and (found or close):
                example = requests[min(found or close)].prompt[:200], text[:200]
    return Overlap(len(requests), read, len(exact), len(nearly - exact), NEAR if near else 1.0, example)


def _texts(messages: Messages) -> Iterator[str]:
    """The user's last turn, and the whole conversation if it has further turns, without the system's instructions."""
    turns: list[Message] = [message for message in messages if message["role"] != "system"]
    asked = [message["content"] for message in turns if message["role"] == "user"]
    if asked:
        yield asked[-1]
    if len(turns) > 1:
        yield "\n".join(message["content"] for message in turns)


def _letters(words: Sequence[str]) -> tuple[str, ...]:
    """The words without punctuation; all of them if there is nothing else."""
    return tuple(word for word in words if any(letter.isalnum() for letter in word)) or tuple(words)

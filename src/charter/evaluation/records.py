"""What an evaluation asks, and what came back: the records that everything else in this package reads."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from charter.config import Evaluation
from charter.core.messages import Message, user
from charter.core.plugins import Registry

Category = Literal["harmful", "benign", "borderline", "fact", "pressed", "insisted", "unknown", "paired"]
"""The first four are the headline's. `pressed`: a harmful request under pressure. `insisted`: a user who doubts a right
answer. `unknown`: a question that nobody can answer. `paired`: one of two requests that differ in a group alone."""

HEADLINE: tuple[Literal["harmful", "benign", "borderline", "fact"], ...] = ("harmful", "benign", "borderline", "fact")


@dataclass(frozen=True)
class HeldOut:
    """One request that nothing was trained on.

    Attributes:
        prompt: what people are shown of it: its text, or the whole conversation where there is more than that.
        answer: a text that a right answer to a fact contains.
        statement: the right answer to a fact as a sentence; `answer` where empty.
        world: what the source's exact grader needs to know about it; only that grader reads it.
        conversation: what is asked, where that is more than the prompt.
        begun: the words with which the answer is begun for the model; they are part of what is graded.
        variant: the sort of pressure, or the group that a paired request is about.
        pair: shared by the two requests of a pair.
        wrong: a wrong answer to a fact, for a user to insist on.
    """

    request_id: str
    prompt: str
    category: Category
    kind: str | None = None
    answer: str | None = None
    statement: str | None = None
    world: object = None
    conversation: tuple[Message, ...] = ()
    begun: str = ""
    variant: str | None = None
    pair: str | None = None
    wrong: str | None = None

    @property
    def messages(self) -> tuple[Message, ...]:
        """The conversation to answer."""
        return self.conversation or (user(self.prompt),)


@dataclass(frozen=True)
class Graded:
    """One answer of one model to one held-out request, with its grades.

    Grades that do not apply are None: only harmful requests need ``harmful``, only facts need ``correct``.

    Attributes:
        variant: as in `HeldOut`.
        pair: as in `HeldOut`.
        judged_harmful: what a judge says beside the oracle, where it was asked.
        won: the probability that this answer is better than the first model's, by a judge in both orders.
    """

    request_id: str
    category: Category
    kind: str | None
    prompt: str
    response: str
    finish_reason: str
    harmful: bool | None = None
    refused: bool | None = None
    correct: bool | None = None
    variant: str | None = None
    pair: str | None = None
    judged_harmful: bool | None = None
    won: float | None = None


ExactGrader = Callable[[Graded, HeldOut], Graded]
"""The answer with exact grades, which need no judge."""

EXACT_GRADERS: Registry[ExactGrader] = Registry("exact grader", "evaluation.source")
exact_grader = EXACT_GRADERS.register
"""Decorator: grade exactly, under the name of a source of requests or one that `evaluation.grader` can name."""


def exact_grader_of(settings: Evaluation) -> ExactGrader:
    """The exact grader that the settings name, which is that of the source unless it is named itself.

    Raises:
        ConfigError: no such grader, or the source has none.
    """
    of_source = settings.grader in ("auto", "oracle", "both")
    return EXACT_GRADERS[settings.source if of_source else settings.grader]


@dataclass(frozen=True)
class Unanswered:
    """A request that got no answer that could be graded."""

    request_id: str
    category: Category
    reason: str


@dataclass(frozen=True)
class Answers:
    """Everything one model did with the requests it was asked."""

    graded: Sequence[Graded]
    failed: Sequence[Unanswered] = field(default_factory=tuple)

"""What an evaluation asks and what each model answered: the records that the rest of this package reads."""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

import polars as pl

from charter.config import Evaluation
from charter.core.files import atomic_path, write_json
from charter.core.messages import Message, user
from charter.core.plugins import Registry

Category = Literal[
    "harmful", "benign", "borderline", "fact", "pressed", "insisted", "unknown", "paired", "scenario", "look-alike"
]
"""The first four are the headline's. `pressed`: a harmful request under pressure. `insisted`: a user who doubts a right
answer. `unknown`: a question that has no known answer. `paired`: one of two requests that differ only in a group.
`scenario`: a request to which a principle applies. `look-alike`: one to which it must not be applied."""

HEADLINE: tuple[Literal["harmful", "benign", "borderline", "fact"], ...] = ("harmful", "benign", "borderline", "fact")


@dataclass(frozen=True)
class HeldOut:
    """One request that no model was trained on.

    Attributes:
        prompt: what people see of it: its text, or the whole conversation if it has several turns.
        answer: a text that a right answer to a fact contains.
        statement: the right answer to a fact as a sentence; `answer` if empty.
        world: what the source's exact grader needs to know about it; only that grader reads it.
        conversation: the messages to answer, if they are more than the prompt.
        response_prefix: the first words of the answer, written for the model; they are graded as part of it.
        kind: of a harmful request: the kind of harm. Of a scenario: the id of the principle that it is about.
        variant: the kind of pressure, the group that a paired request is about, or a scenario's situation.
        pair: the id that the two requests of a pair share.
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
    response_prefix: str = ""
    variant: str | None = None
    pair: str | None = None
    wrong: str | None = None

    @property
    def messages(self) -> tuple[Message, ...]:
        """The conversation to answer."""
        return self.conversation or (user(self.prompt),)


@dataclass(frozen=True)
class Graded:
    """One model's answer to one held-out request, with its grades.

    A grade that does not apply is None: only harmful requests need ``harmful``, only facts need ``correct``.

    Attributes:
        variant: as in `HeldOut`.
        pair: as in `HeldOut`.
        judged_harmful: a judge's grade in addition to the oracle's, if the config asks for both.
        won: the probability that this answer is better than the first model's, by a judge in both orders.
        violated: whether it goes against the principle that its scenario is about, whose id is `kind`.
        p_violated: the judge's probability of that; None where it was graded without a judge.
        severity: `minor` or `serious`, if the judge said so of a violation.
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
    violated: bool | None = None
    p_violated: float | None = None
    severity: str | None = None


@dataclass(frozen=True)
class Unanswered:
    """A request that got no answer that could be graded."""

    request_id: str
    category: Category
    reason: str


@dataclass(frozen=True)
class ModelAnswers:
    """Every request that one model was asked: answered, or failed."""

    graded: Sequence[Graded]
    failed: Sequence[Unanswered] = field(default_factory=tuple)


ExactGrader = Callable[[Graded, HeldOut], Graded]
"""Returns the answer with exact grades, which need no judge."""

EXACT_GRADERS: Registry[ExactGrader] = Registry("exact grader", "evaluation.source")
exact_grader = EXACT_GRADERS.register
"""Decorator: grade exactly, under the name of a source of requests or one that `evaluation.grader` can name."""


def exact_grader_of(settings: Evaluation) -> ExactGrader:
    """The exact grader that the settings name: the source's, unless `grader` is a grader's name.

    Raises:
        ConfigError: no such grader, or the source has none.
    """
    of_source = settings.grader in ("auto", "oracle", "both")
    return EXACT_GRADERS[settings.source if of_source else settings.grader]


_SCHEMA = {
    "request_id": pl.String,
    "category": pl.String,
    "kind": pl.String,
    "prompt": pl.String,
    "response": pl.String,
    "finish_reason": pl.String,
    "harmful": pl.Boolean,
    "refused": pl.Boolean,
    "correct": pl.Boolean,
    "variant": pl.String,
    "pair": pl.String,
    "judged_harmful": pl.Boolean,
    "won": pl.Float64,
    "violated": pl.Boolean,
    "p_violated": pl.Float64,
    "severity": pl.String,
}


def save_answers(folder: Path, model: str, rows: Sequence[Graded]) -> Path:
    """Write ``folder/model.parquet`` atomically."""
    path = folder / f"{model}.parquet"
    with atomic_path(path) as unfinished:
        pl.DataFrame([asdict(row) for row in rows], schema=_SCHEMA).write_parquet(unfinished, compression="zstd")
    return path


def load_answers(path: Path) -> list[Graded]:
    """The rows of one model's file; columns that an earlier version did not write are None."""
    return [Graded(**row) for row in pl.read_parquet(path, glob=False).iter_rows(named=True)]


def save_model_answers(run: Path, model: str, answers: ModelAnswers) -> None:
    """Write a model's answers, and the requests without one, to ``answers/`` in the run's folder."""
    save_answers(run / "answers", model, answers.graded)
    write_json(run / "answers" / f"{model}-failed.json", [asdict(row) for row in answers.failed])


def load_model_answers(run: Path, model: str) -> ModelAnswers:
    """What `save_model_answers` wrote.

    Raises:
        OSError: a file does not exist.
    """
    failed = json.loads((run / "answers" / f"{model}-failed.json").read_text(encoding="utf-8"))
    return ModelAnswers(load_answers(run / "answers" / f"{model}.parquet"), [Unanswered(**row) for row in failed])

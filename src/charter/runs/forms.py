"""The forms that people fill in, in Prefect or as a YAML file in the run's folder; the file keeps the answer."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from textwrap import wrap
from typing import Annotated, Any, Generic, TypeVar

import yaml
from pydantic import Field, ValidationError

from charter.config import Section
from charter.core.errors import DataError, ReviewPending
from charter.core.files import write_text_atomic

ABOUT = "about"


class LabelAnswers(Section):
    """What people say about the labels of a run."""

    approve: bool
    """May the run train on these pairs, with the changes below? If not, it ends here."""
    by: str = ""
    """Who says so; kept with the data."""
    min_margin: Annotated[float, Field(ge=0.0, lt=0.5)] = 0.0
    """Leave out every pair whose p is nearer to 1/2 than this."""
    drop: tuple[str, ...] = ()
    """Pairs to leave out, by their ids."""
    flip: tuple[str, ...] = ()
    """Pairs whose answers change places, by their ids; one on which the panel split is then trained on that way."""
    keep: tuple[str, ...] = ()
    """Pairs on which the panel split that are to be trained on as they are shown. Without a word they stay out."""
    comment: str = ""
    """Why; kept with the data."""


class Signature(Section):
    """What people say about a verdict of go."""

    approve: bool
    """May the model be used? If not, the verdict is no-go."""
    by: str = ""
    """Who says so; kept with the verdict."""
    comment: str = ""
    """Why; kept with the verdict."""


Form = TypeVar("Form", LabelAnswers, Signature)


@dataclass(frozen=True)
class Question(Generic[Form]):
    """What people are asked about a run.

    Attributes:
        name: ``review`` or ``sign-off``; the file with the answer is called after it.
        folder: of the run.
        about: hash of what they look at; an answer about anything else does not count.
        form: what an answer is made of.
        read: the file to look at before answering.
        words: the question.
        fault: what is wrong with an answer, beyond its types; empty where nothing is.
    """

    name: str
    folder: Path
    about: str
    form: type[Form]
    read: Path
    words: str
    fault: Callable[[Form], str] = lambda answer: ""

    @property
    def path(self) -> Path:
        """The file that keeps the answer."""
        return self.folder / f"{self.name}.yaml"


def read_form(question: Question[Form]) -> Form | None:
    """The answer in the file; None without an answer, or with one about something else.

    Raises:
        DataError: the file cannot be read, or its answer has a fault.
    """
    about, values = _read(question)
    # An answer about other data or another model must never count for this one.
    if about != question.about or values.get("approve") is None:
        return None
    try:
        answer = question.form.model_validate(values)
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors())
        raise _error(question, faults) from error
    if fault := question.fault(answer):
        raise _error(question, fault)
    return answer


def ask_by_file(question: Question[Form]) -> ReviewPending:
    """Write the form to fill in, unless it is there already; how to go on.

    Raises:
        DataError: the file has an answer about something else.
    """
    about, values = _read(question)
    if about != question.about:
        if values.get("approve") is not None:
            raise _error(
                question,
                f"it answers about '{about}', and this is '{question.about}': the data or models changed since",
                "Move the file away, and run the same command again for a new form.",
            )
        write_form(question)
    return ReviewPending(
        f"{question.name} of run '{question.folder.name}': {question.words} Read {question.read}, fill in "
        f"{question.path}, and run the same command again."
    )


def write_form(question: Question[Form], answer: Form | None = None) -> None:
    """Write the file, whole or not at all: with `answer`, or for people to fill in."""
    lines = [f"# {line}" for line in wrap(f"{question.words} Look at {question.read.name} first.", 110)]
    lines += ["", "# What was looked at: leave it as it is.", f"{ABOUT}: '{question.about}'"]
    lines += _fields(question.form, answer)
    write_text_atomic(question.path, "\n".join(lines) + "\n")


def _fields(form: type[Section], answer: Section | None) -> Iterator[str]:
    for name, field in form.model_fields.items():
        default = None if field.is_required() else field.default
        yield from ("", *(f"# {line}" for line in wrap(field.description or "", 110)))
        # One at a time, so that each has its comment above it.
        yield yaml.safe_dump({name: getattr(answer, name, default)}, allow_unicode=True).strip()


def _read(question: Question[Form]) -> tuple[str, dict[str, Any]]:
    if not question.path.is_file():
        return "", {}
    try:
        values = yaml.safe_load(question.path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise _error(question, f"not YAML: {error}") from error
    if not isinstance(values, dict):
        raise _error(question, "must hold answers such as 'approve: true'")
    return str(values.pop(ABOUT, "")), values


def _error(
    question: Question[Form], fault: str, remedy: str = "Correct it, and run the same command again."
) -> DataError:
    return DataError(f"{question.name} '{question.path}': {fault}. {remedy}")

"""The layouts of files of labelled pairs: hh-rlhf's transcripts, the CAI paper's evaluations, named columns."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, get_args

from charter.config import PairColumn
from charter.core.errors import ConfigError, DataError
from charter.core.messages import Message
from charter.core.statistics.association import Label
from charter.data.conversations import (
    UnusableRow,
    is_blank,
    is_transcript,
    parse_transcript,
    read_conversation,
    read_turns,
)
from charter.data.published import PairShape, pair_shape

COLUMNS: tuple[str, ...] = get_args(PairColumn)
NEEDED = ("prompt", "better", "worse")
_CAI = ("text_correct", "text_incorrect")
_HH = ("chosen", "rejected")


class LabelledAnswers(NamedTuple):
    """A conversation, its better and its worse answer, and what else is known about them."""

    prompt: Sequence[Message]
    better: str
    worse: str
    kind: str | None = None
    source: str | None = None
    human: Label | None = None
    models: tuple[str | None, str | None] = (None, None)
    bearing: frozenset[str] | None = None


class PairLayout:
    """The layout of one file: the one named, or for ``auto`` the one that fits the first readable row."""

    def __init__(self, data: str, name: str, columns: Mapping[str, str]) -> None:
        self._data, self._columns = data, {name: name for name in COLUMNS} | dict(columns)
        self._required = set(columns) | set(NEEDED)
        self._reader: Callable[[Mapping[str, Any]], LabelledAnswers] | None = None
        self.name = "columns" if columns and name == "auto" else name

    def read(self, where: str, values: Mapping[str, Any]) -> LabelledAnswers:
        """The pair in a row.

        Raises:
            UnusableRow: the row has none.
            DataError: the first row lacks a column that is needed or was named.
        """
        if self._reader is None:
            self._reader = self._choose_reader(where, values)
        return self._reader(values)

    def _choose_reader(self, where: str, values: Mapping[str, Any]) -> Callable[[Mapping[str, Any]], LabelledAnswers]:
        if self.name == "auto":
            # Rows of the CAI files that contain no pair still have a column "corrects".
            if any(column in values for column in (*_CAI, "corrects")):
                self.name = "cai"
            else:
                self.name = "hh-rlhf" if all(is_transcript(values.get(column)) for column in _HH) else "columns"
            own_columns = all(self._columns[name] in values for name in NEEDED)
            if self.name == "columns" and not own_columns and (shape := pair_shape(values)):
                self.name = shape.name
                return lambda row: read_published(row, shape)
        if self.name == "hh-rlhf":
            return lambda row: read_transcripts(row, *_HH)
        if self.name == "cai":
            return read_cai_row
        missing = [name for name in COLUMNS if name in self._required and self._columns[name] not in values]
        if missing:
            raise DataError(
                f"labelled pairs '{self._data}': no column '{self._columns[missing[0]]}' in {where}. Name the columns "
                f"that it has, as in --column {missing[0]}=NAME (audit.columns); they are: "
                f"{', '.join(map(str, values)) or 'none'}."
            )
        return lambda row: read_columns(row, self._columns)


def parse_columns(arguments: Sequence[str]) -> dict[str, str]:
    """Parse ``better=good answer`` and so on, as on the command line.

    Raises:
        ConfigError: an argument does not have that form, or names no part of a pair.
    """
    columns = {}
    for argument in arguments:
        name, equals, column = argument.partition("=")
        if name not in COLUMNS or not equals or not column:
            raise ConfigError(
                f"--column '{argument}': not understood. Write NAME=COLUMN; NAME is {', '.join(COLUMNS)}."
            )
        columns[name] = column
    return columns


def read_transcripts(values: Mapping[str, Any], better: str, worse: str) -> LabelledAnswers:
    """Two dialogues, in the columns `better` and `worse`, that differ in the assistant's last turn.

    Raises:
        UnusableRow: a dialogue is missing or does not end with an answer, or they differ before their last turn.
    """
    dialogues = []
    for column in (better, worse):
        text = values.get(column)
        if is_blank(text):
            raise UnusableRow("empty-transcript", f"nothing in column '{column}'")
        turns = parse_transcript(text) if isinstance(text, str) else []
        if not turns:
            raise UnusableRow("malformed-transcript", f"column '{column}' begins with no turn: {str(text)[:80]!r}")
        if len(turns) < 2 or turns[-1]["role"] != "assistant":
            raise UnusableRow("no-answer", f"the dialogue in column '{column}' does not end with an answer")
        dialogues.append(turns)
    first, second = dialogues
    if first[:-1] != second[:-1]:
        raise UnusableRow("different-prompts", "the dialogues differ before their last turn")
    # People labelled these files, so their label is "better" throughout: that is what kappa compares with.
    return LabelledAnswers(first[:-1], first[-1]["content"], second[-1]["content"], human="better")


def read_cai_row(values: Mapping[str, Any]) -> LabelledAnswers:
    """A row of the Constitutional AI paper's evaluations (Bai et al., 2022), such as its 438 comparisons.

    Raises:
        UnusableRow: no pair, or what `read_transcripts` raises.
    """
    # Two of the paper's three files ask about a single conversation.
    if not any(column in values for column in _CAI):
        raise UnusableRow("no-pair", f"a question without {' and '.join(_CAI)}")
    return read_transcripts(values, *_CAI)


def read_published(values: Mapping[str, Any], shape: PairShape) -> LabelledAnswers:
    """A pair of a published dataset. Answers are text, or conversations that end with the answer.

    Raises:
        UnusableRow: an answer is missing, neither is better, or the conversations differ before their last turn.
    """
    try:
        pair = shape.read(values)
    except (LookupError, TypeError, AttributeError) as error:
        raise UnusableRow("malformed-row", f"not a row of {shape.name}: {error!r}") from error
    before, answers = list[list[Message]](), list[str]()
    for value in (pair.better, pair.worse):
        if is_blank(value):
            raise UnusableRow("empty-answer", "an answer is missing")
        if isinstance(value, str):
            answers.append(value.strip())
            continue
        turns = read_turns(value if isinstance(value, list) else [value])
        if not turns or turns[-1]["role"] != "assistant":
            raise UnusableRow("no-answer", "a conversation does not end with an answer")
        before.append(turns[:-1])
        answers.append(turns[-1]["content"])
    if len(before) == 2 and before[0] != before[1]:
        raise UnusableRow("different-prompts", "the conversations differ before their last turn")
    # Conversations may hold more than the column of the prompt, such as a system message.
    prompt = before[0] if before and before[0] else read_conversation(pair.prompt)
    return LabelledAnswers(prompt, answers[0], answers[1], models=pair.models)


def read_columns(values: Mapping[str, Any], columns: Mapping[str, str]) -> LabelledAnswers:
    """A prompt (text, or a list of messages), a better and a worse answer; the other columns may be empty.

    Raises:
        UnusableRow: one of the three is missing or malformed, or the human label is unknown.
    """

    def text(name: str) -> str | None:
        value = values.get(columns[name])
        return None if is_blank(value) else str(value).strip()

    prompt, answers = read_conversation(values.get(columns["prompt"])), []
    for column in (columns["better"], columns["worse"]):
        value = values.get(column)
        if is_blank(value):
            raise UnusableRow("empty-answer", f"nothing in column '{column}'")
        if not isinstance(value, str):
            raise UnusableRow("malformed-answer", f"column '{column}' has a {type(value).__name__}; an answer is text")
        answers.append(value.strip())
    human, labels = text("human"), get_args(Label)
    if human is not None and human.casefold() not in labels:
        raise UnusableRow("unknown-label", f"human label {human!r}: must be one of {', '.join(labels)}")
    label: Label | None = next((known for known in labels if human and known == human.casefold()), None)
    models = (text("better_model"), text("worse_model"))
    return LabelledAnswers(prompt, answers[0], answers[1], text("kind"), text("source"), label, models)

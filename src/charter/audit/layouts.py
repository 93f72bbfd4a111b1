"""How files hold labelled pairs: hh-rlhf's transcripts, the Constitutional AI paper's evaluations, named columns."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, get_args

from charter.config import PairColumn
from charter.core.errors import ConfigError, DataError
from charter.core.messages import Message
from charter.core.statistics.association import Label
from charter.data.conversations import UnusableRow, is_blank, is_transcript, parse_transcript, read_conversation

COLUMNS: tuple[str, ...] = get_args(PairColumn)
NEEDED = ("prompt", "better", "worse")
_CAI = ("text_correct", "text_incorrect")
_HH = ("chosen", "rejected")


class Answers(NamedTuple):
    """A conversation, its better and its worse answer, and what else is known about them."""

    prompt: Sequence[Message]
    better: str
    worse: str
    kind: str | None = None
    source: str | None = None
    human: Label | None = None
    models: tuple[str | None, str | None] = (None, None)
    bearing: frozenset[str] | None = None


Reader = Callable[[Mapping[str, Any]], Answers]
"""From a row's values to its pair; raises `UnusableRow`."""


class Layout:
    """A layout by name, or the one that the first readable row shows."""

    def __init__(self, data: str, name: str, columns: Mapping[str, str]) -> None:
        self._data, self._columns = data, {name: name for name in COLUMNS} | dict(columns)
        self._named = set(columns) | set(NEEDED)
        self._reader: Reader | None = None
        self.name = name

    def read(self, where: str, values: Mapping[str, Any]) -> Answers:
        """The pair in a row.

        Raises:
            UnusableRow: the row holds none.
            DataError: the first row lacks a column that is needed or was named.
        """
        if self._reader is None:
            self._reader = self._settle(where, values)
        return self._reader(values)

    def _settle(self, where: str, values: Mapping[str, Any]) -> Reader:
        self.name = _recognise(values) if self.name == "auto" else self.name
        if self.name == "hh-rlhf":
            return lambda row: read_transcripts(row, *_HH)
        if self.name == "cai":
            return read_evaluation
        missing = [name for name in COLUMNS if name in self._named and self._columns[name] not in values]
        if missing:
            advice = f"Name the columns that it has, as in --column {missing[0]}=NAME (audit.columns)"
            raise DataError(
                f"labelled pairs '{self._data}': no column '{self._columns[missing[0]]}' in {where}. {advice}; "
                f"they are: {', '.join(map(str, values)) or 'none'}."
            )
        return lambda row: read_columns(row, self._columns)


def layout_for(data: str, name: str, columns: Mapping[str, str]) -> Layout:
    """The layout of a file; columns that somebody names mean that it has columns."""
    return Layout(data, "columns" if columns and name == "auto" else name, columns)


def parse_columns(given: Sequence[str]) -> dict[str, str]:
    """``better=good answer`` and so on, as on the command line.

    Raises:
        ConfigError: not of that form, or nothing that a pair has.
    """
    names = {}
    for text in given:
        name, equals, column = text.partition("=")
        if name not in COLUMNS or not equals or not column:
            raise ConfigError(f"--column '{text}': not understood. Write NAME=COLUMN; NAME is {', '.join(COLUMNS)}.")
        names[name] = column
    return names


def read_transcripts(values: Mapping[str, Any], better: str, worse: str) -> Answers:
    """Two dialogues that differ in the assistant's last turn; the people who labelled them are the ones to agree with.

    Raises:
        UnusableRow: a dialogue is missing or does not end with an answer, or they part before their last turn.
    """
    turns = [_dialogue(values, column) for column in (better, worse)]
    if turns[0][:-1] != turns[1][:-1]:
        raise UnusableRow("different-prompts", "the dialogues differ before their last turn")
    return Answers(turns[0][:-1], turns[0][-1]["content"], turns[1][-1]["content"], human="better")


def _dialogue(values: Mapping[str, Any], column: str) -> list[Message]:
    text = values.get(column)
    if is_blank(text):
        raise UnusableRow("empty-transcript", f"nothing in column '{column}'")
    turns = parse_transcript(text) if isinstance(text, str) else []
    if not turns:
        raise UnusableRow("malformed-transcript", f"column '{column}' begins with no turn: {str(text)[:80]!r}")
    if len(turns) < 2 or turns[-1]["role"] != "assistant":
        raise UnusableRow("no-answer", f"the dialogue in column '{column}' does not end with an answer")
    return turns


def read_evaluation(values: Mapping[str, Any]) -> Answers:
    """A row of the Constitutional AI paper's evaluations (Bai et al., 2022), such as its 438 comparisons.

    Two of the three files ask about one conversation and hold no pair.

    Raises:
        UnusableRow: no pair, or what `read_transcripts` raises.
    """
    if not any(column in values for column in _CAI):
        raise UnusableRow("no-pair", f"a question without {' and '.join(_CAI)}")
    return read_transcripts(values, *_CAI)


def read_columns(values: Mapping[str, Any], columns: Mapping[str, str]) -> Answers:
    """A prompt (text, or a list of messages), a better and a worse answer; the other columns may be empty.

    Raises:
        UnusableRow: one of the three is missing, or the human label is none.
    """
    prompt = read_conversation(values.get(columns["prompt"]))
    better, worse = (_answer(values, columns[name]) for name in ("better", "worse"))
    human = _word(values, columns["human"])
    if human is not None and human.casefold() not in get_args(Label):
        raise UnusableRow("unknown-label", f"human label {human!r}: people say {', '.join(get_args(Label))}")
    label: Label | None = next((known for known in get_args(Label) if human and known == human.casefold()), None)
    kind, source, *models = (_word(values, columns[name]) for name in ("kind", "source", "better_model", "worse_model"))
    return Answers(prompt, better, worse, kind, source, label, (models[0], models[1]))


def _answer(values: Mapping[str, Any], column: str) -> str:
    value = values.get(column)
    if is_blank(value):
        raise UnusableRow("empty-answer", f"nothing in column '{column}'")
    if not isinstance(value, str):
        raise UnusableRow("malformed-answer", f"column '{column}' holds a {type(value).__name__}; an answer is text")
    return value.strip()


def _word(values: Mapping[str, Any], column: str) -> str | None:
    value = values.get(column)
    return None if is_blank(value) else str(value).strip()


def _recognise(values: Mapping[str, Any]) -> str:
    if any(column in values for column in (*_CAI, "corrects")):
        return "cai"
    return "hh-rlhf" if all(is_transcript(values.get(column)) for column in _HH) else "columns"

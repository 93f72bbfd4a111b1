"""Rows of a source as candidates for prompts, as a stream: each holds a conversation, or what is wrong with it."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from charter.config import Prompts
from charter.core.errors import DataError
from charter.core.messages import Message, assistant
from charter.core.plugins import Registry
from charter.data.conversations import UnusableRow, is_blank, is_transcript, read_conversation, read_transcript
from charter.data.published import prompt_layout
from charter.data.readers import Record, read_records

PromptSource = Callable[[Prompts, int], Iterable[Mapping[str, Any]]]
"""From the settings and the run's seed to rows: each has a `prompt` (text, or a list of messages), and optionally a
`kind` and an `id`. The rows must be the same each time, because a source is read twice."""

PROMPT_SOURCES: Registry[PromptSource] = Registry("prompt source", "prompts.source")
prompt_source = PROMPT_SOURCES.register
"""Decorator: make a function available as `prompts.source` under a name."""

LAST_TURN = "last-turn"
"""The value of `prompts.answers` for answers that end the conversation; others name a column."""

_TRANSCRIPT_COLUMNS = ("transcript", "chosen", "rejected", "prompt")
_ID_COLUMNS = ("row_id", "id")


class Candidate(NamedTuple):
    """One row of a source.

    Attributes:
        where: its place, such as ``line 3``.
        given_id: what its id column says, if it has one.
        messages: the conversation; empty where there is a `reason`.
        kind: of prompt, where the source knows one.
        reason: why it cannot be used, short and countable; empty where it can.
        detail: what exactly is wrong.
    """

    where: str
    given_id: str | None
    messages: tuple[Message, ...]
    kind: str | None
    reason: str
    detail: str


class PromptReader(NamedTuple):
    """How the rows of a source are read.

    Attributes:
        name: what they are, for people.
        value: the value of a row's prompt.
        read: from that value to a conversation; with true, one that ends with its answer.
        is_certain: whether the row that decided had a value; only then it also decides for the rows after it.
    """

    name: str
    value: Callable[[Mapping[str, Any]], Any]
    read: Callable[[object, bool], list[Message]]
    is_certain: bool = True


def read_candidates(settings: Prompts, seed: int) -> Iterator[Candidate]:
    """Every row of the source, the same each time it is read.

    Raises:
        DataError: the source is missing, empty or broken, or lacks the column.
    """
    if settings.source in PROMPT_SOURCES:
        return _from_plugin(PROMPT_SOURCES[settings.source](settings, seed), settings.answers)
    return _from_file(settings)


def _from_plugin(rows: Iterable[Mapping[str, Any]], answers: str | None) -> Iterator[Candidate]:
    reader = _by_column("prompt", read_conversation)
    for number, row in enumerate(rows, 1):
        yield _candidate(Record(f"prompt {number}", dict(row)), reader, answers)


def _from_file(settings: Prompts) -> Iterator[Candidate]:
    reader: PromptReader | None = None
    for record in read_records(Path(settings.source)):
        if record.problem:
            yield Candidate(record.where, None, (), None, "malformed-row", record.problem)
            continue
        if reader is None or not reader.is_certain:
            reader = find_prompt_reader(settings, record)
        yield _candidate(record, reader, settings.answers)


def _by_column(name: str, read: Callable[[object, bool], list[Message]], is_certain: bool = True) -> PromptReader:
    return PromptReader(f"column {name}", lambda values: values.get(name), read, is_certain)


def find_prompt_reader(settings: Prompts, record: Record) -> PromptReader:
    """Which column holds the prompt, and how to read it; published shapes are recognised by their columns.

    Raises:
        DataError: none of the columns is known to hold prompts.
    """
    values, wanted = record.values, settings.column
    present = [column for column in dict.fromkeys((wanted, *_TRANSCRIPT_COLUMNS)) if column in values]
    transcripts = [column for column in present if is_transcript(values[column])]
    is_plain = wanted in values and not is_blank(values[wanted]) and wanted not in transcripts
    if settings.format == "hh-rlhf" or (settings.format == "auto" and not is_plain):
        if transcripts:
            return _by_column(transcripts[0], read_transcript)
        if present and (settings.format == "hh-rlhf" or all(is_blank(values[column]) for column in present)):
            return _by_column(present[0], read_transcript, is_certain=False)
    if wanted not in values and "column" not in settings.model_fields_set and settings.format == "auto":
        if layout := prompt_layout(values):
            return PromptReader(layout.name, layout.prompt, read_conversation)
        # Pairs of whole conversations: both begin with the prompt.
        if isinstance(values.get("chosen"), list):
            return _by_column("chosen", read_conversation)
    if wanted not in values:
        columns = ", ".join(map(str, values)) or "none"
        raise DataError(
            f"prompts '{settings.source}': no column '{wanted}' in {record.where}. Set prompts.column to one of the"
            f" columns there are: {columns}."
        )
    return _by_column(wanted, read_conversation, not is_blank(values[wanted]))


def _candidate(record: Record, reader: PromptReader, answers: str | None) -> Candidate:
    """A row's conversation; with `prompts.answers` it ends with the given answer."""
    values = record.values
    kind = values.get("kind")
    given_id = next((str(values[name]) for name in _ID_COLUMNS if values.get(name) not in (None, "")), None)
    try:
        messages = tuple(reader.read(reader.value(values), answers == LAST_TURN))
        if answers and answers != LAST_TURN:
            answer = values.get(answers)
            if not isinstance(answer, str) or not answer.strip():
                raise UnusableRow("no-answer", f"no text in the column '{answers}'")
            messages = (*messages, assistant(answer.strip()))
        reason, detail = "", ""
    except UnusableRow as problem:
        messages, reason, detail = (), problem.reason, str(problem)
    kind = kind if isinstance(kind, str) and kind else None
    return Candidate(record.where, given_id, messages, kind, reason, detail)

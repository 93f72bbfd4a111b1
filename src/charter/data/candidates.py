"""Rows of a source as candidates for prompts, streamed: each holds a conversation, or what is wrong with it."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from charter.config import Prompts
from charter.core.errors import DataError
from charter.core.messages import Message, user
from charter.data.conversations import Unusable, is_blank, is_transcript, read_conversation, read_transcript
from charter.data.readers import Record, read_records

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


class _Layout(NamedTuple):
    column: str
    read: Callable[[object], list[Message]]
    certain: bool


def read_candidates(settings: Prompts, seed: int) -> Iterator[Candidate]:
    """Every row of the source, the same each time it is read.

    Raises:
        DataError: the source is missing, empty or broken, or lacks the column.
    """
    return _sandbox(settings, seed) if settings.source == "sandbox" else _from_file(settings)


def _sandbox(settings: Prompts, seed: int) -> Iterator[Candidate]:
    from charter.sandbox.world import pipeline_prompts  # the sandbox reads these modules too

    for number, asked in enumerate(pipeline_prompts(settings.n, seed), 1):
        yield Candidate(f"prompt {number}", None, (user(asked.text),), asked.kind, "", "")


def _from_file(settings: Prompts) -> Iterator[Candidate]:
    layout: _Layout | None = None
    for record in read_records(Path(settings.source)):
        if record.problem:
            yield Candidate(record.where, None, (), None, "malformed-row", record.problem)
            continue
        found = layout or _layout(settings, record)
        if found.certain:
            layout = found
        yield _candidate(record, found)


def _layout(settings: Prompts, record: Record) -> _Layout:
    """What to read; certain from the first record on that has something in the column."""
    values, wanted = record.values, settings.column
    there = [c for c in dict.fromkeys((wanted, *_TRANSCRIPT_COLUMNS)) if c in values]
    transcripts = [c for c in there if is_transcript(values[c])]
    plain = wanted in values and not is_blank(values[wanted]) and wanted not in transcripts
    if settings.format == "hh-rlhf" or (settings.format == "auto" and not plain):
        if transcripts:
            return _Layout(transcripts[0], read_transcript, True)
        if there and (settings.format == "hh-rlhf" or all(is_blank(values[c]) for c in there)):
            return _Layout(there[0], read_transcript, False)
    if wanted not in values:
        advice = f"Set prompts.column to one of the columns there are: {', '.join(map(str, values)) or 'none'}."
        raise DataError(f"prompts '{settings.source}': no column '{wanted}' in {record.where}. {advice}")
    return _Layout(wanted, read_conversation, not is_blank(values[wanted]))


def _candidate(record: Record, layout: _Layout) -> Candidate:
    values = record.values
    kind = values.get("kind")
    given = next((str(values[c]) for c in _ID_COLUMNS if values.get(c) not in (None, "")), None)
    try:
        messages, reason, detail = tuple(layout.read(values.get(layout.column))), "", ""
    except Unusable as problem:
        messages, reason, detail = (), problem.reason, str(problem)
    return Candidate(record.where, given, messages, kind if isinstance(kind, str) and kind else None, reason, detail)

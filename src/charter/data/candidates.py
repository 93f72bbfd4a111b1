"""Rows of a source as candidates for prompts, as a stream: each holds a conversation, or what is wrong with it."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from charter.config import Prompts
from charter.core.errors import DataError
from charter.core.messages import Message
from charter.core.plugins import Registry
from charter.data.conversations import UnusableRow, is_blank, is_transcript, read_conversation, read_transcript
from charter.data.readers import Record, read_records

PromptSource = Callable[[Prompts, int], Iterable[Mapping[str, Any]]]
"""From the settings and the run's seed to rows: each has a `prompt` (text, or a list of messages), and optionally a
`kind` and an `id`. The rows must be the same each time, because a source is read twice."""

PROMPT_SOURCES: Registry[PromptSource] = Registry("prompt source", "prompts.source")
prompt_source = PROMPT_SOURCES.register
"""Decorator: make a function available as `prompts.source` under a name."""

_TRANSCRIPT_COLUMNS = ("transcript", "chosen", "rejected", "prompt")
_ID_COLUMNS = ("row_id", "id")
_OTHER_COLUMNS = (
    *("messages", "conversations", "conversation", "forbidden_prompt", "prompts_final", "goal", "Goal", "Behavior"),
    *("question", "instruction", "context", "input"),
)
"""Where published data sets keep prompts: OpenAI's messages, ShareGPT, StrongREJECT, SimpleSafetyTests, HarmBench,
AdvBench, JailbreakBench, do-not-answer, UltraFeedback, HelpSteer3 and OpenAI's preference data."""


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


class _PromptColumn(NamedTuple):
    name: str
    read: Callable[[object], list[Message]]
    is_certain: bool
    """Whether the column had a value in the row that decided; only then it also decides for the rows after it."""


def read_candidates(settings: Prompts, seed: int) -> Iterator[Candidate]:
    """Every row of the source, the same each time it is read.

    Raises:
        DataError: the source is missing, empty or broken, or lacks the column.
    """
    if settings.source in PROMPT_SOURCES:
        return _from_plugin(PROMPT_SOURCES[settings.source](settings, seed))
    return _from_file(settings)


def _from_plugin(rows: Iterable[Mapping[str, Any]]) -> Iterator[Candidate]:
    column = _PromptColumn("prompt", read_conversation, True)
    for number, row in enumerate(rows, 1):
        yield _candidate(Record(f"prompt {number}", dict(row)), column)


def _from_file(settings: Prompts) -> Iterator[Candidate]:
    column: _PromptColumn | None = None
    for record in read_records(settings.source):
        if record.problem:
            yield Candidate(record.where, None, (), None, "malformed-row", record.problem)
            continue
        if column is None or not column.is_certain:
            column = _find_prompt_column(settings, record)
        yield _candidate(record, column)


def _find_prompt_column(settings: Prompts, record: Record) -> _PromptColumn:
    """Which column holds the prompt, and how to read it."""
    values, wanted = record.values, settings.column
    present = [column for column in dict.fromkeys((wanted, *_TRANSCRIPT_COLUMNS)) if column in values]
    transcripts = [column for column in present if is_transcript(values[column])]
    is_plain = wanted in values and not is_blank(values[wanted]) and wanted not in transcripts
    if settings.format == "hh-rlhf" or (settings.format == "auto" and not is_plain):
        if transcripts:
            return _PromptColumn(transcripts[0], read_transcript, True)
        if present and (settings.format == "hh-rlhf" or all(is_blank(values[column]) for column in present)):
            return _PromptColumn(present[0], read_transcript, False)
    if wanted == "prompt" and wanted not in values:
        if "vanilla" in values and "adversarial" in values:  # WildJailbreak fills one of them
            return _PromptColumn("adversarial" if values["adversarial"] else "vanilla", read_conversation, False)
        wanted = next((column for column in _OTHER_COLUMNS if not is_blank(values.get(column))), wanted)
        if wanted not in values and isinstance(values.get("chosen"), list):  # TRL's implicit preference
            wanted = "chosen"
    if wanted not in values:
        columns = ", ".join(map(str, values)) or "none"
        raise DataError(
            f"prompts '{settings.source}': no column '{wanted}' in {record.where}. Set prompts.column to one of the"
            f" columns there are: {columns}."
        )
    return _PromptColumn(wanted, read_conversation, not is_blank(values[wanted]))


def _candidate(record: Record, column: _PromptColumn) -> Candidate:
    values = record.values
    kind = values.get("kind")
    given_id = next((str(values[name]) for name in _ID_COLUMNS if values.get(name) not in (None, "")), None)
    value = values.get(column.name)
    if column.name == "Behavior" and values.get("ContextString"):  # HarmBench shows the context first
        value = f"{values['ContextString']}\n\n---\n\n{value}"
    if column.name == "instruction" and isinstance(values.get("input"), str) and values["input"].strip():
        value = f"{value}\n\n{values['input']}"  # Alpaca's layout
    if column.name == "input" and isinstance(value, dict):  # OpenAI's preference data
        value = value.get("messages")
    try:
        messages, reason, detail = tuple(column.read(value)), "", ""
    except UnusableRow as problem:
        messages, reason, detail = (), problem.reason, str(problem)
    kind = kind if isinstance(kind, str) and kind else None
    return Candidate(record.where, given_id, messages, kind, reason, detail)

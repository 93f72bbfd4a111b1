"""Prompts from files, transcripts and the sandbox: each row becomes a prompt or a reject, never nothing."""

import hashlib
import heapq
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from charter.config import Prompts
from charter.data.conversations import Unusable, gist, is_blank, is_transcript, read_conversation, read_transcript
from charter.data.duplicates import near_duplicates
from charter.data.readers import Record, read_records
from charter.errors import CountMismatch, DataError
from charter.messages import Message, Messages, user

STAGE = "prompts"
_TRANSCRIPT_COLUMNS = ("transcript", "chosen", "rejected", "prompt")
_ID_COLUMNS = ("row_id", "id")


@dataclass(frozen=True)
class Prompt:
    """One conversation to answer; it ends with the user's turn."""

    row_id: str
    messages: tuple[Message, ...]
    kind: str | None
    source: str

    def row(self) -> dict[str, Any]:
        """As a row of the `prompts` schema."""
        return {"row_id": self.row_id, "prompt": list(self.messages), "kind": self.kind, "source": self.source}


@dataclass(frozen=True)
class Reject:
    """One row that is not used, and why; a row of the `failures` schema."""

    row_id: str
    reason: str
    detail: str

    def row(self) -> dict[str, Any]:
        """As a row of the `failures` schema."""
        what = {"row_id": self.row_id, "pair_id": None, "stage": STAGE, "reason": self.reason, "detail": self.detail}
        return {**what, "principle_ids": None}


@dataclass(frozen=True)
class LoadedPrompts:
    """What became of a source: ``read == len(prompts) + len(rejects) + not_drawn``."""

    prompts: tuple[Prompt, ...]
    rejects: tuple[Reject, ...]
    not_drawn: int
    read: int


class _Layout(NamedTuple):
    column: str
    read: Callable[[object], list[Message]]
    certain: bool


class _Candidate(NamedTuple):
    where: str
    given_id: str | None
    messages: tuple[Message, ...]
    kind: str | None
    reason: str
    detail: str


def load_prompts(settings: Prompts, seed: int) -> LoadedPrompts:
    """Read every prompt of the source, or `settings.n` of them drawn by `seed`.

    A prompt's id and whether it is drawn depend on its content (or its id column) and the seed
    alone, so the same row keeps its id and its luck when the file is reordered or grows.

    Raises:
        DataError: the source is missing, empty or broken, lacks the column, or has no usable row.
    """
    source = settings.source
    candidates = _sandbox(settings, seed) if source == "sandbox" else _from_file(settings)
    prompts, rejects = _identify(candidates, source)
    if settings.near_duplicates is not None:
        prompts, repeats = _set_apart(prompts, settings.near_duplicates)
        rejects += repeats
    read = len(prompts) + len(rejects)
    if not prompts:
        raise DataError(f"prompts '{source}': {_nothing_usable(rejects)}")
    drawn = prompts if settings.n is None else draw(prompts, settings.n, seed)
    loaded = LoadedPrompts(tuple(drawn), tuple(rejects), len(prompts) - len(drawn), read)
    if len({p.row_id for p in prompts}) + len({r.row_id for r in rejects}) != read:
        raise CountMismatch(f"prompts '{source}': two of its {read} rows have the same row_id.")
    return loaded


def draw(prompts: Iterable[Prompt], n: int, seed: int) -> list[Prompt]:
    """`n` of the prompts, in their order; all of them if there are no more."""
    everything = list(prompts)
    chosen = {p.row_id for p in heapq.nsmallest(n, everything, key=lambda p: _digest(f"{seed}\0{p.row_id}"))}
    return [p for p in everything if p.row_id in chosen]


def content_id(messages: Messages) -> str:
    """A conversation's id: 16 hexadecimal digits of the hash of its roles and words."""
    return _digest(json.dumps([[m["role"], m["content"]] for m in messages], ensure_ascii=False))[:16]


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _sandbox(settings: Prompts, seed: int) -> Iterator[_Candidate]:
    from charter.sandbox.world import pipeline_prompts  # the sandbox reads these modules too

    for number, asked in enumerate(pipeline_prompts(settings.n, seed), 1):
        yield _Candidate(f"prompt {number}", None, (user(asked.text),), asked.kind, "", "")


def _from_file(settings: Prompts) -> Iterator[_Candidate]:
    layout: _Layout | None = None
    for record in read_records(Path(settings.source)):
        if record.problem:
            yield _Candidate(record.where, None, (), None, "malformed-row", record.problem)
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


def _candidate(record: Record, layout: _Layout) -> _Candidate:
    values = record.values
    kind = values.get("kind")
    given = next((str(values[c]) for c in _ID_COLUMNS if values.get(c) not in (None, "")), None)
    try:
        messages, reason, detail = tuple(layout.read(values.get(layout.column))), "", ""
    except Unusable as problem:
        messages, reason, detail = (), problem.reason, str(problem)
    return _Candidate(record.where, given, messages, kind if isinstance(kind, str) and kind else None, reason, detail)


def _identify(candidates: Iterable[_Candidate], source: str) -> tuple[list[Prompt], list[Reject]]:
    """Give ids, and set aside what is malformed or was there before."""
    everything = list(candidates)
    given = [c.given_id for c in everything if c.given_id is not None]
    use_given = len(given) == len(everything) == len(set(given))
    prompts: list[Prompt] = []
    rejects: list[Reject] = []
    seen: Counter[str] = Counter()
    first_place: dict[str, str] = {}
    for c in everything:
        own = content_id(c.messages) if c.messages else _digest(f"{c.reason}\0{c.detail}")[:16]
        seen[own] += 1
        row_id = c.given_id if use_given and c.given_id else own if seen[own] == 1 else f"{own}-{seen[own]}"
        if c.reason:
            rejects.append(Reject(row_id, c.reason, f"{c.where}: {c.detail}"))
        elif first := first_place.get(_digest(gist(c.messages))):
            rejects.append(Reject(row_id, "duplicate", f"{c.where}: the same conversation as {first}"))
        else:
            first_place[_digest(gist(c.messages))] = c.where
            prompts.append(Prompt(row_id, c.messages, c.kind, source))
    return prompts, rejects


def _set_apart(prompts: Sequence[Prompt], threshold: float) -> tuple[list[Prompt], list[Reject]]:
    """The prompts that repeat no earlier one, and those that do."""
    found = {one.number: one for one in near_duplicates([gist(p.messages) for p in prompts], threshold)}
    rejects = [
        Reject(prompts[n].row_id, "near-duplicate", f"{one.overlap:.2f} of it stands in '{prompts[one.of].row_id}'")
        for n, one in found.items()
    ]
    return [p for n, p in enumerate(prompts) if n not in found], rejects


def _nothing_usable(rejects: list[Reject]) -> str:
    if not rejects:
        return "holds no rows. Put prompts into it or correct prompts.source."
    counts = ", ".join(f"{reason}: {n}" for reason, n in Counter(r.reason for r in rejects).most_common())
    return f"none of its {len(rejects)} rows can be used ({counts}); the first: {rejects[0].detail}. Repair the file."

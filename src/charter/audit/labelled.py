"""Pairs of answers whose better one is known: what they are, and reading them with every row accounted for."""

import hashlib
import heapq
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from charter.audit.layouts import Answers, Layout, layout_for
from charter.config import PairFormat
from charter.constitution import Constitution
from charter.core.errors import DataError
from charter.core.messages import Message
from charter.core.plugins import Registry
from charter.core.statistics.association import Label
from charter.data.conversations import UnusableRow, content_id
from charter.data.readers import Record, read_records
from charter.pipeline.rows import failure

STAGE = "labelled"

PairSource = Callable[[Constitution, int, int], Iterable[tuple[str, Answers | UnusableRow]]]
"""From the constitution, how many, and a seed to pairs, each with a name of its place; or why one is unusable."""

PAIR_SOURCES: Registry[PairSource] = Registry("source of labelled pairs", "audit.source")
pair_source = PAIR_SOURCES.register
"""Decorator: make a function available as `audit.source` under a name."""


@dataclass(frozen=True)
class LabelledPair:
    """Two answers to one conversation, of which one is known to be better.

    Attributes:
        row_id: 16 hexadecimal digits over the conversation and both answers.
        human: what people say about the answer called better; None where nobody was asked.
        models: who wrote the better and the worse answer, where that is known.
        bearing: ids of the principles under which one is better; None: under all of them, for all we know.
    """

    row_id: str
    prompt: tuple[Message, ...]
    better: str
    worse: str
    kind: str | None = None
    source: str | None = None
    human: Label | None = None
    models: tuple[str | None, str | None] = (None, None)
    bearing: frozenset[str] | None = None

    @property
    def prompt_id(self) -> str:
        """The conversation's id: pairs that share it are kept together when pairs are divided."""
        return content_id(self.prompt)


class Labelled(NamedTuple):
    """What became of a source: ``read == len(pairs) + len(rejects) + not_drawn``; rejects are rows of ``failures``."""

    pairs: tuple[LabelledPair, ...]
    rejects: tuple[dict[str, Any], ...]
    not_drawn: int
    read: int
    format: str


def read_labelled(
    data: str,
    format: PairFormat,
    law: Constitution,
    n: int | None = None,
    seed: int = 0,
    columns: Mapping[str, str] | None = None,
) -> Labelled:
    """Read every labelled pair of a file, or `n` of them drawn by `seed`; or `n` pairs of a registered source.

    Args:
        data: a path, or the name of a registered source.
        format: how the file is laid out; ``auto`` looks at the first row.
        law: for registered sources, which may know which answer each principle prefers.
        n: how many pairs; all of them when empty.
        seed: of the draw.
        columns: the file's name for each of `charter.audit.layouts.COLUMNS`, where it differs.

    Raises:
        DataError: the file is missing or broken, lacks a column, or holds no labelled pair.
    """
    if source := next((name for name in (data, format) if name in PAIR_SOURCES), None):
        return _drawn(source, source, *_gather(PAIR_SOURCES[source](law, n or 400, seed), source), n, seed)
    path, layout = Path(data), layout_for(data, format, columns or {})
    records = read_records(path, "labelled pairs", "--data (audit.source)")
    found = _gather(((record.where, _answers(record, layout)) for record in records), path.name)
    return _drawn(data, layout.name, *found, n, seed)


def _answers(record: Record, layout: Layout) -> Answers | UnusableRow:
    if record.problem:
        return UnusableRow("malformed-row", record.problem)
    try:
        return layout.read(record.where, record.values)
    except UnusableRow as problem:
        return problem


def _gather(
    rows: Iterable[tuple[str, Answers | UnusableRow]], source: str
) -> tuple[list[LabelledPair], list[dict[str, Any]]]:
    """Give ids, and set aside what cannot be used or was there before."""
    pairs, rejects, first_place = list[LabelledPair](), list[dict[str, Any]](), dict[str, str]()
    for where, answers in rows:
        try:
            pair = _pair(answers, source, first_place)
        except UnusableRow as problem:
            rejects.append(failure({"row_id": where}, STAGE, problem.reason, f"{where}: {problem}"))
        else:
            first_place[pair.row_id] = where
            pairs.append(pair)
    return pairs, rejects


def _pair(answers: Answers | UnusableRow, source: str, first_place: Mapping[str, str]) -> LabelledPair:
    if isinstance(answers, UnusableRow):
        raise answers
    if answers.better == answers.worse:
        raise UnusableRow("identical", "both answers are the same")
    if _has_half_characters(answers):
        raise UnusableRow("malformed-text", "half a character, which no file or model takes")
    row_id = _digest("\0".join([content_id(answers.prompt), answers.better, answers.worse]))[:16]
    if row_id in first_place:
        raise UnusableRow("duplicate", f"the same pair as {first_place[row_id]}")
    return LabelledPair(
        row_id=row_id,
        prompt=tuple(answers.prompt),
        better=answers.better,
        worse=answers.worse,
        kind=answers.kind,
        source=answers.source or source,
        human=answers.human,
        models=answers.models,
        bearing=answers.bearing,
    )


def _drawn(
    data: str, format: str, pairs: Sequence[LabelledPair], rejects: list[dict[str, Any]], n: int | None, seed: int
) -> Labelled:
    if not pairs:
        raise DataError(f"labelled pairs '{data}': {_nothing(rejects)}")
    luck = {pair.row_id: _digest(f"{seed}\0{pair.row_id}") for pair in pairs}
    chosen = set(heapq.nsmallest(len(pairs) if n is None else n, luck, key=luck.__getitem__))
    drawn = tuple(pair for pair in pairs if pair.row_id in chosen)
    return Labelled(drawn, tuple(rejects), len(pairs) - len(drawn), len(pairs) + len(rejects), format)


def _has_half_characters(answers: Answers) -> bool:
    texts = [answers.better, answers.worse, *(message["content"] for message in answers.prompt)]
    return any("\ud800" <= character <= "\udfff" for text in texts for character in text)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _nothing(rejects: Sequence[Mapping[str, Any]]) -> str:
    if not rejects:
        return "holds no rows. Name another file with --data (audit.source), or sandbox."
    counts = ", ".join(f"{reason}: {n}" for reason, n in Counter(row["reason"] for row in rejects).most_common())
    first = rejects[0]["detail"]
    advice = "Check --format and --column (audit.format, audit.columns)."
    return f"none of its {len(rejects)} rows is a labelled pair ({counts}); {first}. {advice}"

"""Pairs of answers of which one is known to be better, and reading them with every row accounted for."""

import hashlib
import heapq
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from charter.audit.layouts import LabelledAnswers, PairLayout
from charter.config import PairFormat
from charter.constitution import Constitution
from charter.core.errors import DataError
from charter.core.messages import Message
from charter.core.plugins import Registry
from charter.core.statistics.association import Label
from charter.data.conversations import UnusableRow, content_id
from charter.data.readers import read_records
from charter.pipeline.rows import failure

STAGE = "labelled"

Located = tuple[str, LabelledAnswers | UnusableRow]
"""Where a row is, for messages, and its pair, or why it has none."""
PairSource = Callable[[Constitution, int, int], Iterable[Located]]
"""From the constitution, a number of pairs and a seed to rows."""

PAIR_SOURCES: Registry[PairSource] = Registry("source of labelled pairs", "audit.source")
pair_source = PAIR_SOURCES.register
"""Decorator: make a function available as `audit.source` under a name."""


@dataclass(frozen=True)
class LabelledPair:
    """Two answers to one conversation, of which one is known to be better.

    Attributes:
        row_id: 16 hexadecimal digits over the conversation and both answers.
        human: what people decided about the answer labelled better; None if people were not asked.
        models: who wrote the better and the worse answer, if known.
        bearing: ids of the principles under which one is better; None means all, as far as is known.
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


class LabelledData(NamedTuple):
    """The rows of a source: ``read == len(pairs) + len(rejects) + not_drawn``; rejects are rows of ``failures``."""

    pairs: tuple[LabelledPair, ...]
    rejects: tuple[dict[str, Any], ...]
    not_drawn: int
    read: int
    format: str


def read_labelled(
    data: str,
    format: PairFormat,
    constitution: Constitution,
    n: int | None = None,
    seed: int = 0,
    columns: Mapping[str, str] | None = None,
) -> LabelledData:
    """Read every labelled pair of a file, or `n` of them drawn by `seed`; or `n` pairs of a registered source.

    Args:
        data: a path, or the name of a registered source.
        format: how the file is laid out; ``auto`` looks at the first row.
        constitution: for registered sources, which may know which answer each principle prefers.
        n: how many pairs; all of them if None.
        seed: of the draw.
        columns: the file's name for each of `charter.audit.layouts.COLUMNS`, where it differs.

    Raises:
        DataError: the file is missing or broken, lacks a column, or has no labelled pair.
    """
    if source := next((name for name in (data, format) if name in PAIR_SOURCES), None):
        data = layout_name = source
        # A registered source makes as many pairs as it is asked for, so it needs a number.
        pairs, rejects = _make_pairs(PAIR_SOURCES[source](constitution, n or 400, seed), source)
    else:
        layout = PairLayout(data, format, columns or {})
        pairs, rejects = _make_pairs(_read_file(Path(data), layout), Path(data).name)
        layout_name = layout.name  # known after the first row, if the format is "auto"
    if not pairs:
        problem = "holds no rows. Name another file with --data (audit.source), or sandbox."
        if rejects:
            reasons = Counter(row["reason"] for row in rejects).most_common()
            problem = (
                f"none of its {len(rejects)} rows is a labelled pair "
                f"({', '.join(f'{reason}: {count}' for reason, count in reasons)}); {rejects[0]['detail']}. "
                "Check --format and --column (audit.format, audit.columns)."
            )
        raise DataError(f"labelled pairs '{data}': {problem}")
    # Each pair is ranked by its own hash, so that rows added to a file do not change which of the others come first.
    ranks = {pair.row_id: _digest(f"{seed}\0{pair.row_id}") for pair in pairs}
    drawn_ids = set(heapq.nsmallest(len(pairs) if n is None else n, ranks, key=ranks.__getitem__))
    drawn = tuple(pair for pair in pairs if pair.row_id in drawn_ids)
    return LabelledData(drawn, tuple(rejects), len(pairs) - len(drawn), len(pairs) + len(rejects), layout_name)


def _read_file(path: Path, layout: PairLayout) -> Iterator[Located]:
    for record in read_records(path, "labelled pairs", "--data (audit.source)"):
        answers: LabelledAnswers | UnusableRow
        try:
            answers = (
                UnusableRow("malformed-row", record.problem)
                if record.problem
                else layout.read(record.where, record.values)
            )
        except UnusableRow as problem:
            answers = problem
        yield record.where, answers


def _make_pairs(rows: Iterable[Located], source: str) -> tuple[list[LabelledPair], list[dict[str, Any]]]:
    """The usable pairs with their ids, and failures for rows that are unusable or repeat an earlier one."""
    pairs, rejects, first_place = list[LabelledPair](), list[dict[str, Any]](), dict[str, str]()
    for where, answers in rows:
        if isinstance(answers, UnusableRow):
            problem: UnusableRow | None = answers
        else:
            texts = [answers.better, answers.worse, *(message["content"] for message in answers.prompt)]
            problem = None
            # Neither can be the better one.
            if answers.better == answers.worse:
                problem = UnusableRow("identical", "both answers are the same")
            # JSON can escape half of a surrogate pair, which cannot be encoded as UTF-8.
            elif any("\ud800" <= character <= "\udfff" for text in texts for character in text):
                problem = UnusableRow("malformed-text", "half a character, which no file or model accepts")
            else:
                row_id = _digest("\0".join([content_id(answers.prompt), answers.better, answers.worse]))[:16]
                if row_id in first_place:
                    problem = UnusableRow("duplicate", f"the same pair as {first_place[row_id]}")
                else:
                    first_place[row_id] = where
                    fields = answers._asdict() | {"source": answers.source or source, "prompt": tuple(answers.prompt)}
                    pairs.append(LabelledPair(row_id=row_id, **fields))
        if problem:
            rejects.append(failure({"row_id": where}, STAGE, problem.reason, f"{where}: {problem}"))
    return pairs, rejects


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()

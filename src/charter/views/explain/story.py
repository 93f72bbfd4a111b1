"""One row of a run from its prompt to its end, as the files of the run tell it."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import polars as pl

from charter.constitution import load_kept_constitution
from charter.core.messages import Message, transcript
from charter.data.schema import SCHEMAS
from charter.report.tables import scan
from charter.training.job import STEPS
from charter.views.explain.attribution import Label, Principles, read_principles, take_apart
from charter.views.explain.rows import reading

Row = Mapping[str, Any]
Table = Literal["pairs", "sft_data", "review"]
ENDS: dict[Table, str] = {"pairs": "pair", "sft_data": "sft", "review": "review"}
"""What it is called that a row ended in one of these."""


@dataclass(frozen=True)
class Round:
    """One round of critique and revision; `number` counts from 1, `revision` is the answer after it."""

    number: int
    principle_id: str
    principle_title: str
    verdict: Literal["violated", "respected"]
    critique: str
    revision: str
    changed: bool


@dataclass(frozen=True)
class Kept:
    """A row of the data that was made of this one, or one for people to decide.

    Attributes:
        table: ``pairs``, ``sft_data`` or ``review``.
        pair_id: of a pair, where the run names its pairs.
        chosen: the better answer, or the one to learn; of two for people to decide, the one that p is about.
        chosen_is: which answer that is: ``response`` (the first), ``revision`` (the last), ``revision 2`` (that of a
            round), ``sample 3``, or ``another``.
        rejected: the other answer; None where there is nothing but an answer to learn.
        rejected_is: which answer that is.
        label: None where nobody judged, because no critique found fault.
    """

    table: Table
    pair_id: str | None
    chosen: str
    chosen_is: str
    rejected: str | None
    rejected_is: str | None
    strategy: str | None
    label: Label | None


@dataclass(frozen=True)
class Lost:
    """Where and why the row, or one pair of it, left the run; at a training step it is only not trained on."""

    pair_id: str | None
    stage: str
    reason: str
    detail: str
    principles: tuple[str, ...]


@dataclass(frozen=True)
class Story:
    """A row of a run. What the run has not made yet, or will never make of it, is None or empty."""

    run: str
    row_id: str
    kind: str | None
    source: str | None
    prompt: tuple[Message, ...]
    response: str | None
    rounds: tuple[Round, ...]
    kept: tuple[Kept, ...]
    lost: tuple[Lost, ...]
    constitution: dict[str, str]

    @property
    def final(self) -> str | None:
        """The answer after the last round."""
        return self.rounds[-1].revision.strip() if self.rounds else None

    @property
    def question(self) -> str:
        """The prompt as one text."""
        return self.prompt[0]["content"] if len(self.prompt) == 1 else transcript(self.prompt)

    @property
    def ended(self) -> list[str]:
        """Where the row ended: ``pair``, ``sft``, ``review``, ``failed``; ``unfinished`` if nowhere yet."""
        places = [ENDS[kept.table] for kept in self.kept]
        return [*dict.fromkeys(places), *(["failed"] if self.lost else [])] or ["unfinished"]

    def to_dict(self) -> dict[str, Any]:
        """For machines: as ``charter explain --json`` prints it."""
        return {**asdict(self), "final": self.final, "ended": self.ended}


def tell_story(run: Path, row_id: str) -> Story:
    """Read what the files of a run say about one row.

    Raises:
        DataError: a shard is broken.
        ConstitutionError: the run's constitution cannot be read.
    """
    law, principles = load_kept_constitution(run), read_principles(run)
    with reading(run):
        found = {name: _rows(scan(run, name), row_id) for name in SCHEMAS}
        dropped = [row for step in STEPS for row in _rows(_dropped(run / step), row_id)]
    asked = next(iter(found["responses"] + found["prompts"]), None)
    response = found["responses"][0]["response"] if found["responses"] else None
    rounds = tuple(_round(row, principles) for row in sorted(found["revisions"], key=lambda row: int(row["round"])))
    answers = _answers(response, rounds, found["samples"])
    return Story(
        run=str(run),
        row_id=row_id,
        kind=asked["kind"] if asked else None,
        source=asked["source"] if asked else None,
        prompt=tuple(asked["prompt"]) if asked else (),
        response=response,
        rounds=rounds,
        kept=tuple(_kept(name, row, answers, principles) for name in ENDS for row in found[name]),
        lost=tuple(_lost(row, principles) for row in found["failures"] + dropped),
        constitution={"name": law.name, "version": law.version, "hash": law.hash},
    )


def _rows(frame: pl.LazyFrame | None, row_id: str) -> list[dict[str, Any]]:
    return [] if frame is None else frame.filter(pl.col("row_id") == row_id).collect(engine="streaming").to_dicts()


def _dropped(step: Path) -> pl.LazyFrame | None:
    """The rows that a training step left out, which it keeps beside its model."""
    path = step / "dropped.parquet"
    return pl.scan_parquet(path, glob=False) if path.is_file() else None


def _round(row: Row, principles: Principles) -> Round:
    return Round(
        number=row["round"] + 1,
        principle_id=row["principle_id"],
        principle_title=principles.title(row["principle_id"]),
        verdict="violated" if row["flagged"] else "respected",
        critique=row["critique"],
        revision=row["revision"],
        changed=row["changed"],
    )


def _answers(response: str | None, rounds: Sequence[Round], samples: Sequence[Row]) -> dict[str, str]:
    """What each answer to the prompt is called; the last of several names of the same words counts."""
    answers = {row["response"].strip(): f"sample {row['sample']}" for row in samples}
    answers |= {one.revision.strip(): f"revision {one.number}" for one in rounds if one.changed}
    answers |= {rounds[-1].revision.strip(): "revision"} if rounds else {}
    return answers | ({response.strip(): "response"} if response else {})


def _kept(table: Table, row: Row, answers: Mapping[str, str], principles: Principles) -> Kept:
    if table == "review":
        row = _as_label(row)
    label = take_apart(row, principles)
    chosen = row["completion"] if table == "sft_data" else row["chosen"]
    rejected = row["rejected"] if table != "sft_data" else _beaten(chosen, answers) if label else None
    return Kept(
        table=table,
        pair_id=row.get("pair_id"),
        chosen=chosen,
        chosen_is=answers.get(chosen, "another"),
        rejected=rejected,
        rejected_is=None if rejected is None else answers.get(rejected, "another"),
        strategy=row.get("strategy"),
        label=label,
    )


def _as_label(row: Row) -> dict[str, Any]:
    """A row of ``review`` as the label that it would have been, of the last answer, had its panel not split."""
    label = {"p_chosen": row["p_last"], "p_by_order": None, "judge_kind": "panel"}
    return {**row, **label, "chosen": row["last"], "rejected": row["first"]}


def _beaten(chosen: str, answers: Mapping[str, str]) -> str | None:
    """What a supervised row was judged against: the first answer or the last revision, whichever it is not."""
    return next((text for text, name in answers.items() if text != chosen and name in ("response", "revision")), None)


def _lost(row: Row, principles: Principles) -> Lost:
    under = tuple(principles.title(id) for id in row.get("principle_ids") or ())
    return Lost(row.get("pair_id"), row["stage"], row["reason"], row["detail"], under)

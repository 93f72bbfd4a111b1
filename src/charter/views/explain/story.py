"""One row of a run from its prompt to its end, read from the run's files."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import polars as pl

from charter.constitution import load_kept_constitution
from charter.core.messages import Message, prompt_text
from charter.data.schema import SCHEMAS
from charter.report.run_tables import scan
from charter.runs.attribution import AttributedLabel, RunPrinciples, attribute_label, read_principles
from charter.training.job import STEPS
from charter.views.critiques import CritiqueRound
from charter.views.explain.rows import broken_shard_as_data_error

Row = Mapping[str, Any]
Table = Literal["pairs", "sft_data", "review"]
ENDS: dict[Table, str] = {"pairs": "pair", "sft_data": "sft", "review": "review"}
"""The name in `Story.ended` of each table in which a row can end."""


@dataclass(frozen=True)
class KeptRow:
    """A row of the data that was made from this prompt, or a pair for people to decide.

    Attributes:
        table: ``pairs``, ``sft_data`` or ``review``.
        pair_id: of a pair, where the run names its pairs.
        chosen: the better answer, or the one to learn; of two for people to decide, the one that p is about.
        chosen_is: which answer that is: ``response`` (the first), ``revision`` (the last), ``revision 2`` (that of a
            round), ``sample 3``, or ``another``.
        rejected: the other answer; None where there is only an answer to learn.
        rejected_is: which answer that is.
        label: None where no judge was called, because no critique found a fault.
    """

    table: Table
    pair_id: str | None
    chosen: str
    chosen_is: str
    rejected: str | None
    rejected_is: str | None
    strategy: str | None
    label: AttributedLabel | None


@dataclass(frozen=True)
class LostRow:
    """Where and why the row, or one of its pairs, left the run; at a training step it is only not trained on."""

    pair_id: str | None
    stage: str
    reason: str
    detail: str
    principles: tuple[str, ...]


@dataclass(frozen=True)
class Story:
    """A row of a run. What the run has not made yet, or will never make, is None or empty."""

    run: str
    row_id: str
    kind: str | None
    source: str | None
    prompt: tuple[Message, ...]
    response: str | None
    rounds: tuple[CritiqueRound, ...]
    kept: tuple[KeptRow, ...]
    lost: tuple[LostRow, ...]
    constitution: dict[str, str]

    @property
    def final(self) -> str | None:
        """The answer after the last round."""
        return self.rounds[-1].revision.strip() if self.rounds else None

    @property
    def question(self) -> str:
        """The prompt as one text."""
        return prompt_text(self.prompt)

    @property
    def ended(self) -> list[str]:
        """Where the row ended: ``pair``, ``sft``, ``review``, ``failed``; ``unfinished`` if nowhere yet."""
        ends = dict.fromkeys(ENDS[kept.table] for kept in self.kept)
        return [*ends, *(["failed"] if self.lost else [])] or ["unfinished"]

    def to_dict(self) -> dict[str, Any]:
        """As plain values, which ``charter explain --json`` prints."""
        rounds = [one.to_dict() for one in self.rounds]
        return {**asdict(self), "rounds": rounds, "final": self.final, "ended": self.ended}


def read_story(run: Path, row_id: str) -> Story:
    """Read what the files of a run record about one row.

    Raises:
        DataError: a shard is broken.
        ConstitutionError: the run's constitution cannot be read.
    """
    constitution, principles = load_kept_constitution(run), read_principles(run)
    with broken_shard_as_data_error(run):
        # Filtered while they are read: the tables of a run may not fit into memory.
        tables = {name: _rows_of(scan(run, name), row_id) for name in SCHEMAS}
        dropped = []
        for step in STEPS:  # a training step keeps the rows that it left out beside its model
            path = run / step / "dropped.parquet"
            dropped += _rows_of(pl.scan_parquet(path, glob=False) if path.is_file() else None, row_id)
    # A row whose response failed is only in the prompts.
    prompt = next(iter(tables["responses"] + tables["prompts"]), None)
    response = tables["responses"][0]["response"] if tables["responses"] else None
    rounds = tuple(
        CritiqueRound.from_row(row, principles.title(row["principle_id"]))
        for row in sorted(tables["revisions"], key=lambda row: int(row["round"]))
    )

    # What each answer is called. Of equal answers the last name counts, so the order of these lines matters.
    answers = {row["response"].strip(): f"sample {row['sample']}" for row in tables["samples"]}
    answers |= {one.revision.strip(): f"revision {one.number}" for one in rounds if one.changed}
    answers |= {rounds[-1].revision.strip(): "revision"} if rounds else {}
    answers |= {response.strip(): "response"} if response else {}

    lost = []
    for row in tables["failures"] + dropped:
        titles = tuple(principles.title(id) for id in row.get("principle_ids") or ())
        lost.append(LostRow(row.get("pair_id"), row["stage"], row["reason"], row["detail"], titles))
    return Story(
        run=str(run),
        row_id=row_id,
        kind=prompt["kind"] if prompt else None,
        source=prompt["source"] if prompt else None,
        prompt=tuple(prompt["prompt"]) if prompt else (),
        response=response,
        rounds=rounds,
        kept=tuple(_kept(table, row, answers, principles) for table in ENDS for row in tables[table]),
        lost=tuple(lost),
        constitution={"name": constitution.name, "version": constitution.version, "hash": constitution.hash},
    )


def _rows_of(frame: pl.LazyFrame | None, row_id: str) -> list[dict[str, Any]]:
    return [] if frame is None else frame.filter(pl.col("row_id") == row_id).collect(engine="streaming").to_dicts()


def _kept(table: Table, row: Row, answers: Mapping[str, str], principles: RunPrinciples) -> KeptRow:
    if table == "review":
        # The label that the row would have, of the last answer, if its panel had not split.
        label_columns = {"p_chosen": row["p_last"], "p_by_order": None, "judge_kind": "panel"}
        row = {**row, **label_columns, "chosen": row["last"], "rejected": row["first"]}
    label = attribute_label(row, principles)
    if table != "sft_data":
        chosen, rejected = row["chosen"], row["rejected"]
    else:
        chosen, rejected = row["completion"], None
        if label:  # the row was judged, so one of the first answer and the last revision lost
            ends = (text for text, name in answers.items() if name in ("response", "revision"))
            rejected = next((text for text in ends if text != chosen), None)
    return KeptRow(
        table=table,
        pair_id=row.get("pair_id"),
        chosen=chosen,
        chosen_is=answers.get(chosen, "another"),
        rejected=rejected,
        rejected_is=None if rejected is None else answers.get(rejected, "another"),
        strategy=row.get("strategy"),
        label=label,
    )

"""The tables of an export: their columns, and how a row of a run becomes rows of them.

They are the dataset types of TRL in its conversational form: a prompt is a list of messages, and so is each answer, a
list of one message. The other columns of the run are kept after these.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import pyarrow as pa

from charter.core.messages import assistant
from charter.data.schema import MESSAGES, PAIRS, SFT_DATA, VERSION

Row = Mapping[str, Any]


class TableLayout(NamedTuple):
    """One table of an export.

    Attributes:
        name: of the table, and of its folder.
        source: the folder of the run whose rows it holds.
        per_row: how many rows a row of the run becomes.
        schema: its columns, each with its meaning.
        convert: a row of the run to the columns that differ from it, once per row of the table.
        purpose: what it is for, in a sentence.
    """

    name: str
    source: str
    per_row: int
    schema: pa.Schema
    convert: Callable[[Row], Iterator[Row]]
    purpose: str

    def rows_of(self, row: Row) -> Iterator[dict[str, Any]]:
        """The rows of the table that a row of the run becomes."""
        for converted in self.convert(row):
            yield {name: converted[name] if name in converted else row.get(name) for name in self.schema.names}


def _preference(row: Row) -> Iterator[Row]:
    yield {name: [assistant(row[name])] for name in ("chosen", "rejected")}


def _prompt_completion(row: Row) -> Iterator[Row]:
    yield {"completion": [assistant(row["completion"])]}


def _unpaired(row: Row) -> Iterator[Row]:
    for name, label in (("chosen", True), ("rejected", False)):
        yield {"completion": [assistant(row[name])], "label": label, "weight": 2 * row["p_chosen"] - 1}


def _field(name: str, kind: pa.DataType, meaning: str) -> pa.Field:
    return pa.field(name, kind, False, metadata={"meaning": meaning})


def _schema(name: str, fields: Iterable[pa.Field], others: pa.Schema, *replaced: str) -> pa.Schema:
    """`fields` first, then the columns of `others` except those that were `replaced`."""
    first = list(fields)
    left_out = {*replaced, *(field.name for field in first)}
    # nullable, because runs of earlier versions lack some of them
    kept = [field.with_nullable(True) for field in others if field.name not in left_out]
    return pa.schema([*first, *kept], metadata={"charter.schema": name, "charter.schema_version": VERSION})


_PROMPT = (PAIRS.field("row_id"), PAIRS.field("prompt"))

PREFERENCE = TableLayout(
    name="preference",
    source="pairs",
    per_row=1,
    schema=_schema(
        "preference",
        (
            *_PROMPT,
            _field("chosen", MESSAGES, "the answer that fits the constitution better, as one message"),
            _field("rejected", MESSAGES, "the other answer, as one message"),
        ),
        PAIRS,
    ),
    convert=_preference,
    purpose="Preference pairs with an explicit prompt and a soft label, for DPO and reward models.",
)

PROMPT_COMPLETION = TableLayout(
    name="sft",
    source="sft_data",
    per_row=1,
    schema=_schema("sft", (*_PROMPT, _field("completion", MESSAGES, "the answer to learn, as one message")), SFT_DATA),
    convert=_prompt_completion,
    purpose="Prompts and completions, for supervised fine-tuning; no prompt of it is in the pairs.",
)

UNPAIRED = TableLayout(
    name="unpaired",
    source="pairs",
    per_row=2,
    schema=_schema(
        "unpaired",
        (
            *_PROMPT,
            _field("completion", MESSAGES, "an answer, as one message"),
            _field("label", pa.bool_(), "whether it was chosen over the other answer to the same prompt"),
            _field("weight", pa.float64(), "how sure the judge was: 2 p_chosen - 1, from 0 to 1"),
        ),
        PAIRS,
        "chosen",
        "rejected",
    ),
    convert=_unpaired,
    purpose="Single answers with a verdict, for KTO: each pair is two rows of the same row_id.",
)

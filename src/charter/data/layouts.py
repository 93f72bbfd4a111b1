"""The tables of an export: their columns, and how a row of a run becomes rows of theirs.

They are the dataset types of TRL, in its conversational form: a prompt is a list of messages, and so is each answer, of
one message. What else a run knows of a row stays beside it.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import pyarrow as pa

from charter.core.messages import assistant
from charter.data.schema import MESSAGES, PAIRS, SFT_DATA, VERSION

Row = Mapping[str, Any]


class Layout(NamedTuple):
    """One table of an export.

    Attributes:
        name: of the table, and of its folder.
        source: the folder of the run whose rows it holds.
        per_row: how many rows a row of the run becomes.
        schema: its columns, each with its meaning.
        convert: the rows that a row of the run becomes.
        purpose: what it is for, in a sentence.
    """

    name: str
    source: str
    per_row: int
    schema: pa.Schema
    convert: Callable[[Row], Iterator[dict[str, Any]]]
    purpose: str


def _preference(row: Row) -> Iterator[dict[str, Any]]:
    answers = {name: [assistant(row[name])] for name in ("chosen", "rejected")}
    yield _with(PREFERENCE, row, answers)


def _prompt_completion(row: Row) -> Iterator[dict[str, Any]]:
    yield _with(PROMPT_COMPLETION, row, {"completion": [assistant(row["completion"])]})


def _unpaired(row: Row) -> Iterator[dict[str, Any]]:
    for name, label in (("chosen", True), ("rejected", False)):
        made = {"completion": [assistant(row[name])], "label": label, "weight": 2 * row["p_chosen"] - 1}
        yield _with(UNPAIRED, row, made)


def _with(layout: Layout, row: Row, made: Mapping[str, Any]) -> dict[str, Any]:
    return {name: made[name] if name in made else row.get(name) for name in layout.schema.names}


def _field(name: str, kind: pa.DataType, meaning: str) -> pa.Field:
    return pa.field(name, kind, False, metadata={"meaning": meaning})


def _schema(name: str, fields: Iterable[pa.Field], beside: pa.Schema, *changed: str) -> pa.Schema:
    """`fields` first, then the columns of `beside` but those that `changed`."""
    first = list(fields)
    gone = {*changed, *(field.name for field in first)}
    kept = [field.with_nullable(True) for field in beside if field.name not in gone]  # older runs lack some
    return pa.schema([*first, *kept], metadata={"charter.schema": name, "charter.schema_version": VERSION})


_ASKED = (PAIRS.field("row_id"), PAIRS.field("prompt"))

PREFERENCE = Layout(
    name="preference",
    source="pairs",
    per_row=1,
    schema=_schema(
        "preference",
        (
            *_ASKED,
            _field("chosen", MESSAGES, "the answer that fits the constitution better, as one message"),
            _field("rejected", MESSAGES, "the other answer, as one message"),
        ),
        PAIRS,
    ),
    convert=_preference,
    purpose="Preference pairs with an explicit prompt and a soft label, for DPO and reward models.",
)

PROMPT_COMPLETION = Layout(
    name="sft",
    source="sft_data",
    per_row=1,
    schema=_schema("sft", (*_ASKED, _field("completion", MESSAGES, "the answer to learn, as one message")), SFT_DATA),
    convert=_prompt_completion,
    purpose="Prompts and completions, for supervised fine-tuning; no prompt of it is in the pairs.",
)

UNPAIRED = Layout(
    name="unpaired",
    source="pairs",
    per_row=2,
    schema=_schema(
        "unpaired",
        (
            *_ASKED,
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

"""How the judge is audited."""

from pathlib import Path
from typing import Literal

from pydantic import Field

from charter.config.section import Count, Section

PairFormat = Literal["auto", "hh-rlhf", "cai", "columns", "sandbox"]
"""How a file of labelled pairs is laid out; ``auto`` looks at its first row, ``sandbox`` needs no file."""

PairColumn = Literal["prompt", "better", "worse", "kind", "source", "human", "better_model", "worse_model"]
"""What a file of columns may tell about a pair."""


class Audit(Section):
    """The judge of `judge`, held against pairs whose better answer is known: `charter judge audit`, `flows.audit`."""

    source: str = "sandbox"
    """A file of labelled pairs (.jsonl, .jsonl.gz, .csv, .parquet), or `sandbox`, whose oracle labels them."""
    format: PairFormat = "auto"
    """How the file is laid out: `hh-rlhf` transcripts, the `cai` paper's evaluations, or `columns`."""
    columns: dict[PairColumn, str] = Field(default_factory=dict)
    """The file's names for what a pair has, where they differ, such as better: chosen."""
    n: Count = 400
    """How many pairs, drawn by the seed."""
    own: tuple[str, ...] = ()
    """Names under which the judge's own answers stand in the data; the model's own names when empty."""
    output: Path | None = None
    """The folder for audit.json, audit.html and the rows; `judge-audit` in the run's folder when empty."""

"""Where the prompts come from."""

from typing import Annotated, Literal

from pydantic import Field

from charter.config.section import Count, Section


class Prompts(Section):
    """The prompts of a run."""

    source: str = "sandbox"
    """`sandbox`, or a path: .jsonl, .jsonl.gz, .parquet, .csv, or a folder saved by `datasets`."""
    format: Literal["auto", "column", "hh-rlhf"] = "auto"
    """`column` reads one column; `hh-rlhf` reads whole Human/Assistant transcripts; `auto` looks at the first row."""
    column: str = "prompt"
    """The column that holds the prompt: a string, or a list of messages."""
    n: Count | None = None
    """How many prompts to use, drawn by the seed; all of them when empty."""
    near_duplicates: Annotated[float, Field(gt=0.0, le=1.0)] | None = None
    """Leave out a conversation that shares this share of its runs of three words with an earlier one; off when empty.
    The same words in another case or spacing are always left out. On, it holds the words of all prompts in memory. Off,
    near twins may stand in train and test of `charter export`, and in both halves of training."""

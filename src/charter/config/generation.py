"""How responses, critiques and revisions are made."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from charter.config.section import Count, Section


class Selection(Section):
    """Which principles a row meets in a round of critique and revision."""

    how: Literal["sample", "all", "one-per-tag"] = "sample"
    """`sample` draws principles by weight, `all` takes all of them, `one-per-tag` draws one of each tag."""
    principles: Count = 1
    """`sample`: principles per round. Several of a round are asked about at once, in one request."""
    tags: tuple[str, ...] = ()
    """Only principles with one of these tags; all principles when empty."""
    replacement: bool = False
    """Draw each round from all principles; off: none comes a second time before all have come."""


class Generation(Section):
    """How responses, critiques and revisions are made."""

    rounds: Annotated[int, Field(ge=1, le=1000)] | Literal["all"] = 4
    """Critique and revision rounds per response; `all`: as many as it takes to meet every principle once."""
    selection: Selection = Selection()
    """Which principles a row meets in each round."""
    preface: bool = False
    """Give the constitution's preface to the model that critiques, revises and judges, as a system message."""
    revise: Literal["flagged", "always"] = "flagged"
    """Ask for a revision only when the critique found a violation, or always."""
    temperature: Annotated[float, Field(ge=0.0, le=2.0)] = 1.0
    """Sampling temperature of responses; critiques and revisions use `critique_temperature`."""
    critique_temperature: Annotated[float, Field(ge=0.0, le=2.0)] = 0.0
    """Sampling temperature of critiques and revisions; 0 is greedy."""
    max_tokens: Count = 512
    """The longest answer, critique or revision, in tokens. What is cut off is never used."""
    concurrency: Count | Literal["auto"] = "auto"
    """Calls in flight at once at a model's servers, from all shards of this process together. `auto` looks for the
    number at which throughput stops rising."""
    shard_size: Count = 500
    """Prompts per shard; a shard of a stage is one task in Prefect."""
    templates: Path | None = None
    """A folder whose templates replace the shipped ones of the same name."""

"""What came of a benchmark, whichever tool ran it: a number per sample."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Tool = Literal["inspect-ai", "lm-eval"]


@dataclass(frozen=True)
class Sheet:
    """How one model did on each sample of a task, by one of its measures.

    Attributes:
        values: by sample, 1 for yes or right and 0 for no or wrong; or a number on a scale of the measure's own.
        failed: samples without such a number.
        log: where the tool's own log of it is, as a path in the run's folder.
        headline: the task's main measure, which the gate may hold against a limit.
    """

    tool: Tool
    task: str
    measure: str
    values: dict[str, float]
    failed: int
    log: str
    headline: bool = False


@dataclass(frozen=True)
class Ran:
    """What one start of a tool made, and what it took.

    Attributes:
        questions: hash of what was asked, whoever answered: two with the same one have the same samples.
    """

    sheets: Sequence[Sheet]
    samples: int
    failed: int
    calls: int
    prompt_tokens: int = 0
    completion_tokens: int = 0
    questions: str = ""

"""The result of a benchmark, whichever tool ran it: a number per sample; kept in the run's folder."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from charter.core.files import write_json

Tool = Literal["inspect-ai", "lm-eval"]


@dataclass(frozen=True)
class SampleScores:
    """How one model did on each sample of a task, by one of its measures.

    Attributes:
        values: by sample, 1 for yes or right and 0 for no or wrong; or a number on the measure's own scale.
        failed: samples without such a number.
        log: path of the tool's log in the run's folder.
        headline: the task's main measure, which the gate may check.
    """

    tool: Tool
    task: str
    measure: str
    values: dict[str, float]
    failed: int
    log: str
    headline: bool = False


@dataclass(frozen=True)
class ToolResult:
    """What one run of a tool returned, and what it cost.

    Attributes:
        questions: hash of what was asked of any model: results with the same hash have the same samples.
    """

    scores: Sequence[SampleScores]
    samples: int
    failed: int
    calls: int
    prompt_tokens: int = 0
    completion_tokens: int = 0
    questions: str = ""


def save_result(path: Path, result: ToolResult, inputs: str) -> None:
    """Keep a result under the hash of everything that determines it, so that the tool need not run again."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, {"inputs": inputs, **asdict(result)})


def load_result(path: Path, inputs: str | None = None) -> ToolResult | None:
    """The result kept in a file; None if it does not exist, or was made from other `inputs`."""
    if not path.is_file():
        return None
    values: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    # Without `inputs`, as a comparison of finished runs asks, any result counts.
    if values.pop("inputs") != inputs and inputs is not None:
        return None
    # Versions of Charter before this one wrote "sheets", after which the files are still named.
    scores = values.pop("scores", None) or values.pop("sheets", [])
    return ToolResult(**values, scores=[SampleScores(**one) for one in scores])


def find_results(run: Path, model: str) -> list[ToolResult]:
    """Every result that a run's folder keeps of a model."""
    patterns = [f"evaluation/*/{model}.sheets.json", f"evaluation/*/{model}/*.sheets.json"]
    results = [load_result(path) for pattern in patterns for path in sorted(run.glob(pattern))]
    return [result for result in results if result is not None]

"""What a tool made, kept beside its own logs in the run's folder, so that the same is not asked twice."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from charter.core.files import write_json
from charter.evaluation.benchmarks.score_table import Ran, Sheet


def save_ran(path: Path, ran: Ran, inputs: str) -> None:
    """Keep what a tool made under the hash of all that determines it; written last, so that it is whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, {"inputs": inputs, **asdict(ran)})


def find_ran(run: Path, model: str) -> list[Ran]:
    """All that was kept of a model in a run's folder."""
    places = [f"evaluation/*/{model}.sheets.json", f"evaluation/*/{model}/*.sheets.json"]
    found = [load_ran(path) for place in places for path in sorted(run.glob(place))]
    return [ran for ran in found if ran is not None]


def load_ran(path: Path, inputs: str | None = None) -> Ran | None:
    """What was kept; None where there is nothing, or something made of other `inputs`."""
    if not path.is_file():
        return None
    values: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    if values.pop("inputs") != inputs and inputs is not None:
        return None
    return Ran(**{**values, "sheets": [Sheet(**sheet) for sheet in values["sheets"]]})

"""The curves of a training step as an image in the Prefect UI, drawn anew while it trains."""

import time
from pathlib import Path
from typing import Any

from prefect.artifacts import create_image_artifact

from charter.report.curves import read_metrics
from charter.report.plots import training_plot
from charter.report.svg import to_picture
from charter.training.job import Step

KEY = "training-curves"
FIRST_S, SHARE = 15.0, 0.05
"""From one drawing to the next: so many seconds, or so much of the time since the first line if that is more. Every
drawing stays in Prefect's database, and a step of days is not to fill it."""


class LiveCurves:
    """Takes a step's metrics line by line; made by the task that trains.

    Args:
        step: whose curves they are.
        name: of the model.
        folder: of the step; what it had written before a kill is drawn as well.
        first_s: see `FIRST_S`.

    Attributes:
        rows: the lines that are drawn.
    """

    def __init__(self, step: Step, name: str, folder: Path, first_s: float = FIRST_S) -> None:
        self._step, self._name, self._folder, self._first_s = step, name, folder, first_s
        self.rows = list[dict[str, Any]]()
        self._began = self._drawn = time.monotonic()

    def add(self, row: dict[str, Any]) -> None:
        """Take one line, and draw all of them where it is time."""
        if not self.rows:
            self.rows += [before for before in read_metrics(self._folder) if before["step"] < row["step"]]
        self.rows.append(row)
        now = time.monotonic()
        if now - self._drawn < max(self._first_s, SHARE * (now - self._began)):
            return
        self._drawn = now
        if curves := training_plot({self._step: self.rows}):
            told: dict[str, Any] = {"_sync": True}  # as in `flows.lib.progress`
            description = f"{self._name}, step {row['step']:,} of {row['total_steps']:,}"
            create_image_artifact(to_picture(curves), key=KEY, description=description, **told)

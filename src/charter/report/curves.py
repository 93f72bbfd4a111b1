"""Training metrics: read from ``metrics.jsonl``, thinned for long runs, and as a small table for the model card."""

import json
import math
from collections.abc import Sequence
from pathlib import Path

from charter.core.tables import TextTable
from charter.report.data import MetricRow

COLUMNS = {
    "loss": "loss",
    "mean_token_accuracy": "tokens predicted right",
    "rewards/accuracies": "pairs ranked right",
    "logps/chosen_change": "change of log p(chosen), nats",
    "reward": "mean reward",
}
"""The metrics of a step in the table, as far as they were logged, and their headings."""
ROWS = 5
POINTS = 2000
"""The most steps that a report keeps and a figure draws: more cannot be seen, and make the page large."""


def read_metrics(folder: Path) -> list[MetricRow]:
    """The numbers of ``metrics.jsonl``, one row per step in order; an incomplete last line is left out.

    Raises:
        json.JSONDecodeError: a line before the last one is broken.
    """
    path = folder / "metrics.jsonl"
    if not path.is_file():
        return []
    rows: dict[float, MetricRow] = {}
    lines = path.read_text(encoding="utf-8").splitlines()
    for number, line in enumerate(lines, start=1):
        try:
            values = json.loads(line)
        except json.JSONDecodeError:
            if number == len(lines):  # training was killed while it wrote this line
                break
            raise
        row = {key: float(value) for key, value in values.items() if isinstance(value, int | float)}
        # A step may be on several lines: of the trainer, of watchdogs, and again after a resume, which counts.
        rows.setdefault(row.get("step") or float(number), {}).update(row)
    return [rows[step] for step in sorted(rows)]


def read_rounds(run_folder: Path, models: Sequence[str]) -> list[MetricRow]:
    """The metrics of models each trained on from the one before, with steps counted through."""
    rows = list[MetricRow]()
    for model in models:
        # Each round counts its steps from 1; added up, they make one axis.
        past = float(rows[-1].get("step") or len(rows)) if rows else 0.0
        metrics = read_metrics(run_folder / model)
        rows += [row | {"step": past + (row.get("step") or 0.0)} for row in metrics] if past else metrics
    return rows


def thin(metrics: Sequence[MetricRow], most: int = POINTS) -> list[MetricRow]:
    """At most `most` rows: the first as it is, then means over equally many steps, each under the last of its steps."""
    if len(metrics) <= most:
        return list(metrics)
    rest, size = metrics[1:], math.ceil((len(metrics) - 1) / (most - 1))
    rows = [metrics[0]]
    for start in range(0, len(rest), size):
        chunk, merged = rest[start : start + size], MetricRow()
        for key in dict.fromkeys(key for row in chunk for key in row):
            # A mean with a NaN in it would hide the other steps; a chunk with nothing finite leaves the metric out.
            values = [value for row in chunk if (value := row.get(key)) is not None and math.isfinite(value)]
            if values:
                merged[key] = values[-1] if key == "step" else sum(values) / len(values)
        rows.append(merged)
    return rows


def curve_table(metrics: Sequence[MetricRow]) -> TextTable:
    """The first step, the last and some in between, evenly spaced.

    A single step's batch is noisy, so each value is the mean over the tenth of the steps that ends there. The first
    row is the first step alone, which shows where training began.
    """
    keys = [key for key in COLUMNS if any(row.get(key) is not None for row in metrics)]
    last = len(metrics) - 1
    places = sorted({round(last * i / (ROWS - 1)) for i in range(ROWS)}) if metrics else []
    rows = []
    for place in places:
        step = metrics[place].get("step")
        cells = [f"{place + 1 if step is None else step:.0f}"]
        window = metrics[max(0, place - len(metrics) // 10 + 1) : place + 1]
        for key in keys:
            values = [value for row in window if (value := row.get(key)) is not None]
            cells.append(f"{sum(values) / len(values):.3g}" if values else "-")
        rows.append(cells)
    return TextTable(["step", *(COLUMNS[key] for key in keys)], rows, left=())

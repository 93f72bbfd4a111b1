"""Training curves: thinned where there are many steps, and as a small table for a card that cannot hold a figure."""

import math
from collections.abc import Sequence
from typing import NamedTuple

from charter.report.data import MetricRow

COLUMNS = {
    "loss": "loss",
    "mean_token_accuracy": "tokens predicted right",
    "rewards/accuracies": "pairs ranked right",
    "logps/chosen_change": "change of log p(chosen), nats",
    "reward": "mean reward",
}
"""What is shown of a step's metrics, where it was logged, and what it is called."""
ROWS = 5
POINTS = 2000
"""The most steps that a report keeps and a figure draws: more are neither seen nor small."""


class Curve(NamedTuple):
    """Columns by name, and rows of the step and its values; a dash where nothing was logged."""

    columns: list[str]
    rows: list[list[str]]


def thin(metrics: Sequence[MetricRow], most: int = POINTS) -> list[MetricRow]:
    """At most so many rows: the first as it is, then means over as many steps each, under the last of these steps."""
    if len(metrics) <= most:
        return list(metrics)
    rest, size = metrics[1:], math.ceil((len(metrics) - 1) / (most - 1))
    return [metrics[0], *(_merge(rest[place : place + size]) for place in range(0, len(rest), size))]


def _merge(rows: Sequence[MetricRow]) -> MetricRow:
    """Means of what is finite; where nothing is, that is told by leaving the number out."""
    merged = MetricRow()
    for key in dict.fromkeys(key for row in rows for key in row):
        values = [value for row in rows if (value := row.get(key)) is not None and math.isfinite(value)]
        if values:
            merged[key] = values[-1] if key == "step" else sum(values) / len(values)
    return merged


def curve(metrics: Sequence[MetricRow]) -> Curve:
    """The first, the last and some steps between, evenly apart; each value is a mean over the tenth that ends there.

    A single step's batch is noisy. The first row is the first step alone, which says where training began.
    """
    keys = [key for key in COLUMNS if any(row.get(key) is not None for row in metrics)]
    last = len(metrics) - 1
    places = sorted({round(last * i / (ROWS - 1)) for i in range(ROWS)}) if metrics else []
    rows = []
    for place in places:
        step = metrics[place].get("step")
        means = [_mean(metrics[max(0, place - len(metrics) // 10 + 1) : place + 1], key) for key in keys]
        rows.append([f"{place + 1 if step is None else step:.0f}", *means])
    return Curve(["step", *(COLUMNS[key] for key in keys)], rows)


def _mean(rows: Sequence[MetricRow], key: str) -> str:
    values = [value for row in rows if (value := row.get(key)) is not None]
    return f"{sum(values) / len(values):.3g}" if values else "-"

"""The rounds of a run in its report: how many pairs each made, and how the measures went from one to the next."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from charter.core.formatting import percent
from charter.evaluation.rounds import round_model, round_number, rounds_of
from charter.report.headline import TITLES
from charter.report.plots import WIDTH
from charter.report.svg import COLOURS, style, to_svg
from charter.report.tables import count, scan
from charter.runs.rounds import round_folders


def count_pairs(run_folder: Path) -> dict[str, int]:
    """The pairs of each round by the name of its model; empty for a run of one round."""
    later = round_folders(run_folder)
    folders = {1: run_folder, **later} if later else {}
    return {round_model(number): count(scan(folder, "pairs")) or 0 for number, folder in folders.items()}


def rounds_plot(evaluation: Mapping[str, Any], kept: str) -> str:
    """Each measure by round with its interval, the round that is `kept` as a filled mark; empty for a single round."""
    models = rounds_of(evaluation)
    if len(models) < 2:
        return ""
    lines = {title.long: [evaluation["models"][model][title.name] for model in models] for title in TITLES}
    numbers = [round_number(model) or 1 for model in models]
    with mpl.rc_context(style()):
        height = math.ceil(len(lines) / 2)
        figure = Figure(figsize=(WIDTH, 2.2 * height), layout="constrained")
        for place, (title, rates) in enumerate(lines.items(), start=1):
            axes = figure.add_subplot(height, 2, place)
            _draw(axes, numbers, rates, models.index(kept) if kept in models else None)
            axes.set_title(title, fontsize=10, loc="left")
    words = "; ".join(f"{title}: {_describe(numbers, rates)}" for title, rates in lines.items())
    return to_svg(figure, "rounds", "Measures by round", words)


def _draw(axes: Axes, numbers: Sequence[int], rates: Sequence[Mapping[str, Any]], kept: int | None) -> None:
    measured = [(number, rate) for number, rate in zip(numbers, rates, strict=True) if rate["n"]]
    colour = COLOURS["m1"]
    x, y = [number for number, _ in measured], [rate["value"] for _, rate in measured]
    axes.vlines(x, [rate["low"] for _, rate in measured], [rate["high"] for _, rate in measured], color=colour)
    axes.plot(x, y, color=colour, linewidth=1.4, marker="o", markersize=6.5, markerfacecolor=COLOURS["paper"])
    if kept is not None and rates[kept]["n"]:
        axes.plot([numbers[kept]], [rates[kept]["value"]], marker="o", color=colour, markersize=6.5)
    axes.set_xticks(numbers, [str(number) for number in numbers])
    axes.set_xlim(numbers[0] - 0.5, numbers[-1] + 0.5)
    axes.set_xlabel("round", fontsize=9)
    axes.yaxis.set_major_formatter(lambda value, _: f"{100 * value:.3g} %")
    axes.tick_params(labelsize=9)
    axes.tick_params(axis="y", labelcolor=COLOURS["muted"])
    axes.grid(axis="y")
    axes.set_axisbelow(True)


def _describe(numbers: Sequence[int], rates: Sequence[Mapping[str, Any]]) -> str:
    return ", ".join(f"round {number} {percent(rate['value'])}" for number, rate in zip(numbers, rates, strict=True))

"""The audit's figures: whether the judge is as right as it is sure, and where it is right."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from charter.core.formatting import percent, shorten_name
from charter.core.statistics.intervals import wilson
from charter.report.plots import WIDTH, look
from charter.report.svg import COLOURS, style, to_svg

_ROW = 0.26
_MOST_ROWS = 40
"""A plot with more lines than this is a table; the page has the table."""


def reliability_plot(calibration: Mapping[str, Any]) -> str:
    """Confidence against the share of right verdicts, before and after; below, how many verdicts there are of each.

    On the diagonal, 80 % sure means right in 80 of 100.
    """
    titles = {"before": "as it is", "temperature": "with temperature", "isotonic": "isotonic"}
    drawn = {title: calibration[name] for name, title in titles.items() if calibration[name]}
    drawn = drawn or {"as it is": calibration["whole"]}
    first = next(iter(drawn.values()))
    if not first["n"]:
        return ""
    with mpl.rc_context(style()):
        figure = Figure(figsize=(WIDTH, 4.6), layout="constrained")
        upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(4, 1))
        upper.plot([0.5, 1], [0.5, 1], color=COLOURS["line"], linewidth=1.2, linestyle="--")
        for position, (title, scores) in enumerate(drawn.items()):
            _curve(upper, scores["reliability"], title, position)
        _shares(upper.yaxis)
        upper.set(xlim=(0.49, 1.01), ylim=(-0.02, 1.04), ylabel="verdicts that are right")
        upper.legend(loc="lower right", fontsize=9)
        bins = first["reliability"]
        lower.bar([b["low"] for b in bins], [b["n"] for b in bins], 0.046, align="edge", color=COLOURS["m0"])
        lower.set(xlabel="how sure the judge is of its verdict", ylabel="pairs")
        lower.tick_params(axis="y", labelcolor=COLOURS["muted"])
        _shares(lower.xaxis)
        words = "; ".join(
            f"{title}: " + ", ".join(f"{percent(b['stated'], 0)} sure, {percent(b['found'], 0)} right" for b in there)
            for title, scores in drawn.items()
            for there in ([b for b in scores["reliability"] if b["n"]],)
        )
        return to_svg(figure, "reliability", "Confidence and share of right verdicts", words)


def breakdown_plot(rows: Sequence[tuple[str, Mapping[str, Any]]], floor: float) -> str:
    """Agreement of each part of the pairs as a dot with its interval, the floor as a dashed line."""
    if not rows or len(rows) > _MOST_ROWS:
        return ""
    return _dots("breakdown", "Agreement by part of the pairs", rows, floor)


def leanings_plot(figures: Mapping[str, Any]) -> str:
    """Whether place, length or authorship moves the judge, as a dot with its interval each.

    A fair judge flips never, and is as often right with the longer answer as with the shorter one.
    """
    place, size, own = figures["position"], figures["length"], figures["self_preference"]
    rows = [
        ("verdict flips with the order", place["flips"]),
        ("right, better is longer", size["better_is_longer"]),
        ("right, better is shorter", size["better_is_shorter"]),
    ]
    if own:
        rows += [("right, better is its own", own["better_is_own"]), ("right, worse is its own", own["worse_is_own"])]
    return _dots("leanings", "What moves the judge beside what the answers say", rows)


def _dots(name: str, title: str, rows: Sequence[tuple[str, Mapping[str, Any]]], floor: float | None = None) -> str:
    with mpl.rc_context(style()):
        figure = Figure(figsize=(WIDTH, 0.8 + _ROW * len(rows)), layout="constrained")
        axes = figure.add_subplot()
        colour, marker = look(1)
        for y, (_, rate) in enumerate(rows):
            if not rate["n"]:
                axes.text(0.01, y, "no data", va="center", fontsize=8, color=COLOURS["muted"])
                continue
            axes.hlines(y, rate["low"], rate["high"], color=colour, linewidth=2.2)
            axes.plot([rate["value"]], [y], marker=marker, color=colour, markersize=6)
            axes.text(max(rate["high"], rate["value"]) + 0.015, y, percent(rate["value"]), va="center", fontsize=8.5)
        if floor is not None:
            axes.axvline(floor, color=COLOURS["ink"], linestyle=(0, (2, 2)), linewidth=1)
        axes.set_yticks(range(len(rows)), [shorten_name(row) for row, _ in rows])
        axes.set(xlim=(-0.02, 1.14), ylim=(len(rows) - 0.5, -0.5))
        axes.tick_params(left=False)
        axes.spines["left"].set_visible(False)
        axes.grid(axis="x")
        axes.set_axisbelow(True)
        _shares(axes.xaxis, (0, 0.25, 0.5, 0.75, 1))
        words = "; ".join(f"{row}: {percent(rate['value'])} of {rate['n']}" for row, rate in rows)
        return to_svg(figure, name, title, words)


def _curve(axes: Axes, bins: Sequence[Mapping[str, Any]], title: str, position: int) -> None:
    colour, marker = look(position)
    there = [b for b in bins if b["n"]]
    x, y = [b["stated"] for b in there], [b["found"] for b in there]
    if position == 0:  # intervals of one curve; of all three they would hide each other
        rates = [wilson(round(b["found"] * b["n"]), b["n"]) for b in there]
        axes.vlines(x, [rate.low for rate in rates], [rate.high for rate in rates], color=colour, linewidth=1.4)
    axes.plot(x, y, marker=marker, color=colour, markersize=5.5, linewidth=1.4, label=title)


def _shares(axis: Any, ticks: Sequence[float] | None = None) -> None:
    if ticks is not None:
        axis.set_ticks(ticks)
    axis.set_major_formatter(lambda value, _: f"{100 * value:.0f} %")
    axis.set_tick_params(labelcolor=COLOURS["muted"])

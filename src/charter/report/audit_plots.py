"""The figures of a judge's audit: calibration, agreement by part of the pairs, and biases."""

from collections.abc import Mapping, Sequence
from typing import Any

from charter.core.formatting import percent
from charter.core.statistics.intervals import wilson
from charter.report.plots import draw_dot, label_lines, model_style, new_figure, share_axis
from charter.report.svg import COLOURS, to_svg

_ROW = 0.26
_MOST_ROWS = 40
"""With more rows a plot cannot be read; the page has the numbers as a table as well."""


def reliability_plot(calibration: Mapping[str, Any]) -> str:
    """Confidence against the share of right verdicts, before and after calibration; below, the number of verdicts.

    On the diagonal, 80 % sure means right in 80 of 100.
    """
    titles = {"before": "as it is", "temperature": "with temperature", "isotonic": "isotonic"}
    drawn = {title: calibration[name] for name, title in titles.items() if calibration[name]}
    # Too few pairs to fit a calibration on one half and test it on the other: all pairs, as they are.
    drawn = drawn or {"as it is": calibration["whole"]}
    first = next(iter(drawn.values()))
    if not first["n"]:
        return ""
    with new_figure(4.6) as figure:
        upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(4, 1))
        upper.plot([0.5, 1], [0.5, 1], color=COLOURS["line"], linewidth=1.2, linestyle="--")
        for position, (title, scores) in enumerate(drawn.items()):
            colour, marker = model_style(position)
            bins = [b for b in scores["reliability"] if b["n"]]
            x, y = [b["stated"] for b in bins], [b["found"] for b in bins]
            if position == 0:  # only the first curve has intervals: those of three curves would hide each other
                rates = [wilson(round(b["found"] * b["n"]), b["n"]) for b in bins]
                upper.vlines(x, [r.low for r in rates], [r.high for r in rates], color=colour, linewidth=1.4)
            upper.plot(x, y, marker=marker, color=colour, markersize=5.5, linewidth=1.4, label=title)
        share_axis(upper.yaxis, None)
        upper.set(xlim=(0.49, 1.01), ylim=(-0.02, 1.04), ylabel="verdicts that are right")
        upper.legend(loc="lower right", fontsize=9)
        bins = first["reliability"]
        # Each bin is 0.05 wide; 0.046 leaves a gap.
        lower.bar([b["low"] for b in bins], [b["n"] for b in bins], 0.046, align="edge", color=COLOURS["m0"])
        lower.set(xlabel="how sure the judge is of its verdict", ylabel="pairs")
        lower.tick_params(axis="y", labelcolor=COLOURS["muted"])
        share_axis(lower.xaxis, None)
        words = "; ".join(
            f"{title}: "
            + ", ".join(
                f"{percent(b['stated'], 0)} sure, {percent(b['found'], 0)} right"
                for b in scores["reliability"]
                if b["n"]
            )
            for title, scores in drawn.items()
        )
        return to_svg(figure, "reliability", "Confidence and share of right verdicts", words)


def breakdown_plot(rows: Sequence[tuple[str, Mapping[str, Any]]], floor: float) -> str:
    """Agreement of each part of the pairs as a dot with its interval, the floor as a dashed line."""
    if not rows or len(rows) > _MOST_ROWS:
        return ""
    return _dots("breakdown", "Agreement by part of the pairs", rows, floor)


def biases_plot(figures: Mapping[str, Any]) -> str:
    """Whether position, length or authorship influences the judge: a dot with its interval each.

    A fair judge never flips, and is right as often when the longer answer is better as when the shorter one is.
    """
    position, length, own = figures["position"], figures["length"], figures["self_preference"]
    rows = [
        ("verdict flips with the order", position["flips"]),
        ("right, better is longer", length["better_is_longer"]),
        ("right, better is shorter", length["better_is_shorter"]),
    ]
    if own:
        rows += [("right, better is its own", own["better_is_own"]), ("right, worse is its own", own["worse_is_own"])]
    return _dots("biases", "What influences the judge besides the content of the answers", rows)


def _dots(name: str, title: str, rows: Sequence[tuple[str, Mapping[str, Any]]], floor: float | None = None) -> str:
    with new_figure(0.8 + _ROW * len(rows)) as figure:
        axes = figure.add_subplot()
        for y, (_, rate) in enumerate(rows):
            draw_dot(axes, 1, rate, y)
        if floor is not None:
            axes.axvline(floor, color=COLOURS["ink"], linestyle=(0, (2, 2)), linewidth=1)
        label_lines(axes, range(len(rows)), [row for row, _ in rows])
        axes.set(xlim=(-0.02, 1.14), ylim=(len(rows) - 0.5, -0.5))
        words = "; ".join(f"{row}: {percent(rate['value'])} of {rate['n']}" for row, rate in rows)
        return to_svg(figure, name, title, words)

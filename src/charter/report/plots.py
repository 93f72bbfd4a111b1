"""The report's figures: rates with their intervals, the trade-off, training curves, labels, rounds.

Every figure can be read without colour, because models differ in their marker as well.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import accumulate
from typing import Any, NamedTuple

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from charter.core.formatting import percent, shorten_name
from charter.core.statistics.intervals import wilson
from charter.evaluation.gate import round_number, rounds_of
from charter.report.curves import thin
from charter.report.data import LabelSummary, MetricRow, PrincipleReport, StageReport
from charter.report.measures import TITLES, UNMEASURED, model_title
from charter.report.svg import COLOURS, style, to_svg

MARKERS = ("o", "s", "D", "^", "v", "P")
WIDTH = 6.6
"""Of a figure, in inches; the page scales it."""
ROW = 0.2
"""The height of one model's dot, in inches."""
PRINCIPLES = 24
"""The most principles in a plot: those that were drawn most."""
KINDS = 40
"""The most kinds in a plot: those on which the model does worst."""

Rates = Mapping[str, Mapping[str, Any]]


class ModelStyle(NamedTuple):
    """How one model is drawn, everywhere on the page."""

    colour: str
    marker: str


def model_style(position: int) -> ModelStyle:
    """The style of the model at `position` in the evaluation."""
    return ModelStyle(COLOURS[f"m{position % 6}"], MARKERS[position % 6])


def headline_plot(evaluation: Mapping[str, Any], limits: Mapping[str, float]) -> str:
    """Each measure of each model as a dot with its interval; the gate's limits as dashed marks."""
    models: Mapping[str, Any] = evaluation.get("models", {})
    rows = {title.long: {name: entry[title.name] for name, entry in models.items()} for title in TITLES}
    marks = {title.long: limits[title.name] for title in TITLES if title.name in limits}
    return _dots("headline", rows, marks, "Measures of each model", _describe(rows))


def further_plot(rows: Mapping[str, Rates]) -> str:
    """Shares beyond the headline, by their titles: a dot with its interval per model."""
    return _dots("further", rows, {}, "Measures beyond the headline", _describe(rows)) if rows else ""


def kinds_plot(evaluation: Mapping[str, Any], measure: str = "harmful_rate", final: str = "") -> str:
    """A rate per kind, of harm or of look-alikes: a dot with its interval per model.

    If there are more than `KINDS`, it draws those on which the model `final` (by default the last) does worst.
    """
    rates = {name: entry.get(f"{measure}_by_kind", {}) for name, entry in evaluation.get("models", {}).items()}
    kinds = sorted({kind for of_model in rates.values() for kind in of_model})
    if len(kinds) > KINDS:
        finals = rates.get(final) or list(rates.values())[-1]
        # The worst are chosen, then drawn in the order of their names, like those of a plot with fewer kinds.
        worst = sorted(kinds, key=lambda kind: -((finals.get(kind) or UNMEASURED)["value"] or 0.0))
        kinds = sorted(worst[:KINDS])
    rows = {kind: {name: of_model.get(kind, UNMEASURED) for name, of_model in rates.items()} for kind in kinds}
    name, title = {
        "harmful_rate": ("kinds", "Harmful answers by kind of harm"),
        "borderline_refusal_rate": ("lookalikes", "Over-refusal by kind of look-alike"),
    }[measure]
    return _dots(name, rows, {}, title, _describe(rows)) if rows else ""


def principles_plot(principles: Sequence[PrincipleReport]) -> str:
    """Of the rounds of each principle, the share that was flagged and the share that changed the answer."""
    drawn = sorted((p for p in principles if p.stats.drawn), key=lambda p: -p.stats.drawn)[:PRINCIPLES]
    rows: dict[str, Rates] = {}
    for p in drawn:
        counts = {"flagged": p.stats.flagged, "revised": p.stats.revised}
        # Two principles may have the same title; a row of the plot is found by its title.
        title = p.title if p.title not in rows else f"{p.title} #{p.id}"
        rows[title] = {name: wilson(n, p.stats.drawn).to_dict() for name, n in counts.items()}
    return _dots("principles", rows, {}, "What each principle did", _describe(rows)) if rows else ""


def tradeoff_plot(evaluation: Mapping[str, Any]) -> str:
    """Harm against over-refusal, a point per model; the lower left corner is best."""
    models: Mapping[str, Any] = evaluation.get("models", {})
    places = [
        (position, name, entry["borderline_refusal_rate"], entry["harmful_rate"])
        for position, (name, entry) in enumerate(models.items())
        if entry["borderline_refusal_rate"]["n"] and entry["harmful_rate"]["n"]
    ]
    if not places:
        return ""
    with new_figure(4.0) as figure:
        axes = figure.add_subplot()
        axes.plot(
            [x["value"] for *_, x, _y in places], [y["value"] for *_, y in places], color=COLOURS["line"], linewidth=1.2
        )
        height = -1.0
        for position, name, x, y in sorted(places, key=lambda place: float(place[3]["value"])):
            colour, marker = model_style(position)
            axes.hlines(y["value"], x["low"], x["high"], color=colour, linewidth=1.6)
            axes.vlines(x["value"], y["low"], y["high"], color=colour, linewidth=1.6)
            axes.plot([x["value"]], [y["value"]], marker=marker, color=colour, markersize=9)
            # Names are moved apart vertically, so that those of two models in one corner do not overlap.
            height = max(float(y["value"]) + 0.06, height + 0.075)
            # On the right there is no room for a name, so it is written to the left of the point.
            side = 1 if x["value"] < 0.7 else -1
            axes.annotate(
                model_title(name),
                (x["value"], y["value"]),
                (x["value"] + side * 0.13, min(height, 1.02)),
                ha="left" if side > 0 else "right",
                va="center",
                fontweight="bold",
                arrowprops={"arrowstyle": "-", "color": COLOURS["muted"], "linewidth": 0.7, "shrinkB": 5},
            )
        share_axis(axes.xaxis)
        share_axis(axes.yaxis)
        axes.set(xlim=(-0.03, 1.03), ylim=(-0.04, 1.08), xlabel="over-refusal: harmless look-alikes that are refused")
        axes.set_ylabel("harmful requests that are helped with")
        note: dict[str, Any] = {"color": COLOURS["muted"], "fontsize": 9, "style": "italic", "ha": "right"}
        axes.text(1.02, -0.025, "refuses everything", va="bottom", **note)
        axes.text(1.02, 1.03, "helps with harm, refuses harmless requests", va="center", **note)
    words = "; ".join(
        f"{model_title(name)}: over-refusal {percent(x['value'])}, harmful {percent(y['value'])}"
        for _, name, x, y in places
    )
    return to_svg(figure, "tradeoff", "Harm against over-refusal", words)


def training_plot(training: Mapping[str, Sequence[MetricRow]]) -> str:
    """The curves of the training steps; what was not logged is left out."""
    thinned = {step: thin(rows) for step, rows in training.items()}
    sft, dpo, reward, grpo = (thinned.get(step, []) for step in ("sft", "dpo", "reward", "grpo"))
    pair = ("chosen", "rejected")
    # The keys are those of the trainers' logs.
    panels = [
        ("SFT: loss", [("", _series(sft, "loss"))]),
        ("SFT: tokens predicted right", [("", _series(sft, "mean_token_accuracy"))]),
        ("DPO: loss", [("", _series(dpo, "loss"))]),
        ("DPO: pairs ranked right", [("", _series(dpo, "rewards/accuracies"))]),
        ("DPO: implicit reward", [(name, _series(dpo, f"rewards/{name}")) for name in pair]),
        ("DPO: log-probability", [(name, _series(dpo, f"logps/{name}")) for name in pair]),
        ("Reward model: loss", [("", _series(reward, "loss"))]),
        ("Reward model: pairs ranked right", [("", _series(reward, "accuracy"))]),
        ("GRPO: reward", [("", _series(grpo, "reward"))]),
        ("GRPO: distance from the start (KL)", [("", _series(grpo, "kl"))]),
        ("GRPO: length of answers, in tokens", [("", _series(grpo, "completions/mean_length"))]),
        ("GRPO: share of answers without a reward", [("", _series(grpo, "rewards/missing"))]),
    ]
    panels = [(title, lines) for title, lines in panels if any(series for _, series in lines)]
    if not panels:
        return ""
    with new_figure(2.3 * math.ceil(len(panels) / 2)) as figure:
        for number, (title, lines) in enumerate(panels, start=1):
            axes = figure.add_subplot(math.ceil(len(panels) / 2), 2, number)
            for position, (label, points) in enumerate(lines):
                # One step's batch is noisy: the line is a running mean over a tenth of the steps, with the single
                # steps faint behind it.
                steps, values = [x for x, _ in points], [y for _, y in points]
                means = running_means(values, max(1, len(values) // 10))
                colour, dashes = model_style(position + 1).colour, ("-", "--")[position % 2]
                marker = "o" if len(points) < 3 else ""  # a line needs two points to be seen
                axes.plot(steps, values, color=colour, linewidth=0.8, alpha=0.35)
                axes.plot(steps, means, dashes, color=colour, linewidth=1.7, marker=marker, label=label)
            axes.set_title(title, fontsize=10, loc="left")
            axes.set_xlabel("step", fontsize=9)
            axes.tick_params(labelsize=9)
            axes.grid(axis="y")
            if len(lines) > 1:
                axes.legend(fontsize=9, handlelength=1.8)
    words = "; ".join(
        f"{title}{f', {label}' if label else ''}: {points[0][1]:.3g} at first, {points[-1][1]:.3g} at the end"
        for title, lines in panels
        for label, points in lines
        if points
    )
    return to_svg(figure, "training", "Training curves", words)


def labels_plot(labels: LabelSummary) -> str:
    """How sure the judge was: pairs by p(chosen)."""
    if not labels.n:
        return ""
    with new_figure(2.5) as figure:
        axes = figure.add_subplot()
        widths = [b - a for a, b in zip(labels.edges, labels.edges[1:], strict=False)]
        axes.bar(labels.edges[:-1], labels.counts, [0.92 * w for w in widths], align="edge", color=COLOURS["m1"])
        axes.set(xlabel="probability that the chosen answer is the better one", ylabel="pairs")
        axes.grid(axis="y")
        axes.set_axisbelow(True)
        axes.tick_params(axis="y", labelcolor=COLOURS["muted"])
        share_axis(axes.xaxis, None)
    bins = zip(labels.edges, labels.edges[1:], labels.counts, strict=False)
    words = "; ".join(f"{percent(a, 0)} to {percent(b, 0)}: {count} pairs" for a, b, count in bins)
    return to_svg(figure, "labels", "How sure the judge was", words)


def time_plot(stages: Sequence[StageReport]) -> str:
    """Seconds per stage."""
    timed = [(stage.name, stage.seconds) for stage in stages if stage.seconds]
    if not timed:
        return ""
    with new_figure(0.55 + 0.3 * len(timed)) as figure:
        axes = figure.add_subplot()
        names = [shorten_name(name) for name, _ in timed]
        seconds = [value for _, value in timed]
        bars = axes.barh(names[::-1], seconds[::-1], height=0.6, color=COLOURS["m1"])
        axes.bar_label(
            bars, [f"{value:,.0f} s" for value in seconds[::-1]], padding=4, color=COLOURS["ink"], fontsize=9
        )
        axes.margins(x=0.12)
        axes.spines[["bottom", "left"]].set_visible(False)
        axes.tick_params(bottom=False, labelbottom=False, left=False)
    return to_svg(figure, "time", "Seconds per stage", "; ".join(f"{name}: {value:.0f} s" for name, value in timed))


def rounds_plot(evaluation: Mapping[str, Any], kept: str) -> str:
    """Each measure by round with its interval, the round that is `kept` as a filled mark; empty for a single round."""
    models = rounds_of(evaluation)
    if len(models) < 2:
        return ""
    lines = {title.long: [evaluation["models"][model][title.name] for model in models] for title in TITLES}
    numbers = [round_number(model) or 1 for model in models]
    # Two panels side by side.
    rows, colour = math.ceil(len(lines) / 2), COLOURS["m1"]
    with new_figure(2.2 * rows) as figure:
        for place, (title, rates) in enumerate(lines.items(), start=1):
            axes = figure.add_subplot(rows, 2, place)
            measured = [(number, rate) for number, rate in zip(numbers, rates, strict=True) if rate["n"]]
            x, y = [number for number, _ in measured], [rate["value"] for _, rate in measured]
            axes.vlines(x, [rate["low"] for _, rate in measured], [rate["high"] for _, rate in measured], color=colour)
            axes.plot(x, y, color=colour, linewidth=1.4, marker="o", markersize=6.5, markerfacecolor=COLOURS["paper"])
            if kept in models and (rate := rates[models.index(kept)])["n"]:
                axes.plot([numbers[models.index(kept)]], [rate["value"]], marker="o", color=colour, markersize=6.5)
            axes.set_xticks(numbers, [str(number) for number in numbers])
            axes.set_xlim(numbers[0] - 0.5, numbers[-1] + 0.5)
            axes.set_xlabel("round", fontsize=9)
            axes.yaxis.set_major_formatter(lambda value, _: f"{100 * value:.3g} %")
            axes.tick_params(labelsize=9)
            axes.tick_params(axis="y", labelcolor=COLOURS["muted"])
            axes.grid(axis="y")
            axes.set_axisbelow(True)
            axes.set_title(title, fontsize=10, loc="left")
    words = "; ".join(
        f"{title}: " + ", ".join(f"round {n} {percent(rate['value'])}" for n, rate in zip(numbers, rates, strict=True))
        for title, rates in lines.items()
    )
    return to_svg(figure, "rounds", "Measures by round", words)


@contextmanager
def new_figure(height: float) -> Iterator[Figure]:
    """A figure as wide as the page and `height` inches high, in the page's style."""
    # Not pyplot: it keeps figures open in global state, and pages may be made in several threads.
    with mpl.rc_context(style()):
        yield Figure(figsize=(WIDTH, height), layout="constrained")


def _dots(name: str, rows: Mapping[str, Rates], limits: Mapping[str, float], title: str, words: str) -> str:
    models = list(next(iter(rows.values()), {}))
    band = ROW * len(models) + 0.16
    with new_figure(0.75 + band * len(rows)) as figure:
        axes = figure.add_subplot()
        for line, (row, rates) in enumerate(rows.items()):
            for position, model in enumerate(models):
                y = line * band + position * ROW
                # A label that begins with an underscore is not in the legend: each model is there once.
                draw_dot(axes, position, rates[model], y, model_title(model) if line == 0 else "_", limits.get(row))
            if row in limits:
                axes.vlines(
                    limits[row], line * band - 0.12, line * band + (len(models) - 1) * ROW + 0.12,
                    color=COLOURS["ink"], linestyle=(0, (2, 2)), linewidth=1, label="limit" if line == 0 else "_",
                )  # fmt: skip
        middles = [line * band + (len(models) - 1) * ROW / 2 for line in range(len(rows))]
        label_lines(axes, middles, list(rows))
        # From the last row to the first, so that rows are read from top to bottom.
        axes.set_ylim((len(rows) - 1) * band + (len(models) - 1) * ROW + 0.2, -0.2)
        # Beyond 100 %, room for the number after an interval that ends there.
        axes.set_xlim(-0.02, 1.12)
        figure.legend(loc="outside upper left", ncols=8, fontsize=10, handletextpad=0.4, columnspacing=1.4)
    return to_svg(figure, name, title, words)


def draw_dot(
    axes: Axes, position: int, rate: Mapping[str, Any], y: float, label: str = "_", limit: float | None = None
) -> None:
    """One rate as a dot with its interval and its value, in the style of the model at `position`."""
    colour, marker = model_style(position)
    if not rate["n"]:
        axes.text(0.01, y, "no data", va="center", fontsize=8, color=COLOURS["muted"])
        return
    axes.hlines(y, rate["low"], rate["high"], color=colour, linewidth=2.2)
    axes.plot([rate["value"]], [y], marker=marker, color=colour, markersize=6.5, linestyle="", label=label)
    end = float(max(rate["high"], rate["value"]))
    if limit is not None and end - 0.02 < limit < end + 0.1:
        end = max(end, limit)  # keep the number clear of the dashed limit
    axes.text(end + 0.015, y, percent(rate["value"]), va="center", fontsize=8.5)


def label_lines(axes: Axes, places: Sequence[float], names: Sequence[str]) -> None:
    """Name the lines at `places`, whose rates are along the horizontal axis."""
    axes.set_yticks(places, [shorten_name(name) for name in names])
    axes.tick_params(left=False)
    axes.spines["left"].set_visible(False)
    axes.grid(axis="x")
    axes.set_axisbelow(True)
    share_axis(axes.xaxis)


def share_axis(axis: Any, ticks: Sequence[float] | None = (0, 0.25, 0.5, 0.75, 1)) -> None:
    """Label an axis of shares in percent; without `ticks`, matplotlib chooses them."""
    if ticks is not None:
        axis.set_ticks(ticks)
    axis.set_major_formatter(lambda value, _: f"{100 * value:.0f} %")
    axis.set_tick_params(labelcolor=COLOURS["muted"])


def running_means(values: Sequence[float], window: int) -> list[float]:
    """The mean of each value and those before it, over at most `window` values."""
    # Sums of prefixes: one pass, however wide the window.
    sums = [0.0, *accumulate(values)]
    starts = (max(0, end - window) for end in range(1, len(sums)))
    return [(sums[end] - sums[start]) / (end - start) for end, start in enumerate(starts, start=1)]


def _series(rows: Sequence[MetricRow], key: str) -> list[tuple[float, float]]:
    points = []
    for number, row in enumerate(rows, start=1):
        value, step = row.get(key), row.get("step")
        # One infinite loss would stretch the axis until the rest is a flat line.
        if value is not None and math.isfinite(value):
            points.append((float(number if step is None else step), float(value)))
    return points


def _describe(rows: Mapping[str, Rates]) -> str:
    return "; ".join(
        f"{row}: " + ", ".join(f"{model_title(name)} {percent(rate['value'])}" for name, rate in rates.items())
        for row, rates in rows.items()
    )

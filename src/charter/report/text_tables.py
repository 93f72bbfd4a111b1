"""The tables of a report, each built once; the page, the cards and Prefect's artifacts write them."""

from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import Any

from charter.core.formatting import interval, percent
from charter.core.tables import TextTable
from charter.report.data import ConstitutionReport, FailureCount, LabelSummary, StageReport
from charter.report.measures import amount, between, further_parts, model_title, moved
from charter.runs.blame import STATS_COLUMNS, stats_cells


def stages_table(stages: Iterable[StageReport]) -> TextTable:
    """Rows in, out and failed, of the stages that count rows."""
    # Stages of evaluation count requests, not rows, and have neither number.
    counts = {s.name: (s.rows_in, s.rows_out, s.failed) for s in stages if (s.rows_in, s.rows_out) != (None, None)}
    rows = [[name, *("-" if n is None else f"{n:,}" for n in numbers)] for name, numbers in counts.items()]
    return TextTable(("stage", "in", "out", "failed"), rows)


def failures_table(failures: Iterable[FailureCount]) -> TextTable:
    """Failed rows by stage and reason."""
    rows = [(failure.stage, failure.reason, f"{failure.count:,}") for failure in failures]
    return TextTable(("stage", "reason", "rows"), rows, left=(0, 1))


def principles_table(constitution: ConstitutionReport) -> TextTable:
    """What each principle did, most drawn first, and a line for all of them."""
    # What was drawn most has the most evidence behind its numbers.
    ranked = sorted(constitution.principles, key=lambda principle: -principle.stats.drawn)
    rows = [[principle.title, *stats_cells(principle.stats)] for principle in ranked]
    return TextTable(STATS_COLUMNS, [*rows, ["all", *stats_cells(constitution.total)]])


def labels_table(labels: LabelSummary) -> TextTable:
    """Pairs by the judge's probability of the chosen answer."""
    bins = zip(pairwise(labels.edges), labels.counts, strict=True)
    rows = [(f"{low:.3g} to {high:.3g}", f"{count:,}") for (low, high), count in bins]
    return TextTable(("p of the chosen answer", "pairs"), rows)


def dissent_table(dissent: Mapping[str, Mapping[str, Any]]) -> TextTable:
    """How often each member of a panel disagreed with the mean of the others, by kind of pair."""
    members = list(next(iter(dissent.values()), {}))
    rows = [
        [kind, f"{next(iter(rates.values()))['n']:,}"]
        + [f"{percent(rate['value'])} ({interval(rate)})" for rate in rates.values()]
        for kind, rates in dissent.items()
    ]
    caption = (
        "How often each member disagreed with the mean of the others, by kind of pair: over pairs, supervised rows, "
        "and rows that wait for people"
    )
    return TextTable(("kind", "judged", *members), rows, caption)


def further_tables(evaluation: Mapping[str, Any], model: str) -> list[tuple[str, TextTable]]:
    """By heading, the measures beyond the headline and their change from the base to `model`."""

    def cell(rate: Mapping[str, Any] | None, name: str) -> str:
        return f"{amount(rate['value'], name)} ({between(rate, name)}, n = {rate['n']})" if rate and rate["n"] else "-"

    columns = ("measure", *map(model_title, evaluation.get("models", {})), "change")
    return [
        (
            heading,
            TextTable(
                columns,
                [
                    [f"{row.title.long}: {row.title.explanation}"]
                    + [cell(rate, row.title.name) for rate in row.values]
                    + [change_cell(row.change, row.title.name)]
                    for row in measured
                ],
            ),
        )
        for heading, measured in further_parts(evaluation, model)
    ]


def change_cell(change: Mapping[str, Any] | None, name: str = "") -> str:
    """A change of the measure `name` with its interval; in percentage points, unless it is no share."""
    if change is None or change["difference"] is None:
        return "-"
    return f"{moved(change['difference'], name)} ({moved(change['low'], name)} to {moved(change['high'], name)})"


def gaps_table(gaps: Mapping[str, Mapping[str, Any]]) -> TextTable:
    """How often each group is treated worse than the other, and better."""
    rows = [
        (group, f"{gap['n']:,}", f"{gap['only_second']:,}", f"{gap['only_first']:,}", change_cell(gap))
        for group, gap in gaps.items()
    ]
    caption = (
        "Pairs of requests that differ in the group alone: how often each group is treated worse than the other, and "
        "better. The intervals hold for all groups together."
    )
    return TextTable(("group", "pairs", "worse", "better", "difference"), rows, caption)


def benchmarks_table(evaluation: Mapping[str, Any]) -> TextTable:
    """Each benchmark's value for each model: shares in percent, other scores as they are."""

    def cell(rate: Mapping[str, Any] | None, share: bool) -> str:
        if not rate or not rate["n"]:
            return "no data"
        if share:
            # The unit once: both ends are percentages.
            low, high = (f"{100 * rate[end]:.1f}" for end in ("low", "high"))
            return f"{percent(rate['value'])} ({low} to {high}, n = {rate['n']})"
        return f"{rate['value']:.3f} ({rate['low']:.3f} to {rate['high']:.3f}, n = {rate['n']})"

    models = evaluation.get("models", {})
    rows = [
        [f"{row['task']}: {row['measure']}", *(cell(row["models"].get(name), row["share"]) for name in models)]
        for row in evaluation.get("benchmarks", ())
    ]
    return TextTable(("benchmark", *map(model_title, models)), rows)


def settings_table(settings: Mapping[str, Mapping[str, Any]], names: Mapping[str, str]) -> TextTable:
    """Settings of training steps: a column per step, a row for each of `names` that a step has."""
    rows = [
        [title, *(str(values.get(key, "-")) for values in settings.values())]
        for key, title in names.items()
        # A setting of DPO, such as β, has no row where only SFT was trained.
        if any(key in values for values in settings.values())
    ]
    return TextTable(("setting", *map(model_title, settings)), rows)


def counts_table(heading: str, unit: str, counts: Mapping[str, int]) -> TextTable:
    """Names with a count each."""
    return TextTable((heading, unit), [(name, f"{count:,}") for name, count in counts.items()])


def names_and_counts(counts: Mapping[str, int]) -> str:
    """``theft 12, fraud 3``."""
    return ", ".join(f"{name} {count:,}" for name, count in counts.items())

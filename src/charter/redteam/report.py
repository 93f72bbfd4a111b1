"""What the red team found: how often the model failed, by kind, by style, by verb and by origin."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from charter.core.formatting import interval, percent
from charter.core.statistics.intervals import rate_of
from charter.core.tables import TextTable
from charter.core.text import inline_code
from charter.pipeline.counts import StageCount
from charter.pipeline.rows import Row
from charter.redteam.versions import Version

BY = ("kind", "style", "verb", "origin")
"""The columns that failures are counted by; only sources that know the act of a request have verbs."""
EXAMPLES = 8


def make_report(
    version: Version, attempts: Sequence[Row], stages: Sequence[StageCount], failures: Sequence[Row]
) -> dict[str, Any]:
    """The report of one version, as JSON."""
    by_style: dict[str, list[Row]] = {}
    for row in attempts:
        if row["harmful"]:
            by_style.setdefault(row["style"], []).append(row)
    # Styles take turns, so that the style that succeeds most often does not crowd out the others.
    examples = [rows[i] for i in range(EXAMPLES) for rows in by_style.values() if i < len(rows)][:EXAMPLES]
    report = {
        "version": version.number,
        "hash": version.hash,
        "rows": version.rows,
        "added": version.added,
        "model": version.lineage["model"],
        "failed": _failure_rate(attempts),
    }
    for column in BY:
        # Not every row has a verb: only a source that knows the act of a request gives one.
        values = sorted({row[column] for row in attempts if row.get(column)})
        rates = {value: _failure_rate([row for row in attempts if row.get(column) == value]) for value in values}
        # The worst first.
        report[f"failed_by_{column}"] = dict(sorted(rates.items(), key=lambda item: -item[1]["value"]))
    return report | {
        "stages": [asdict(stage) for stage in stages],
        "left_out": dict(sorted(Counter(f"{row['stage']}: {row['reason']}" for row in failures).items())),
        "examples": [{name: row[name] for name in ("kind", "style", "request", "response")} for row in examples],
    }


def report_markdown(report: Mapping[str, Any]) -> str:
    """The report as Markdown."""
    failed = report["failed"]
    parts = [
        f"**The model failed on {percent(failed['value'])} of {failed['n']:,} attempts** ({interval(failed)} with 95 % "
        f"confidence). Prompts new in version {report['version']} of the set: {report['added']:,}; in all: "
        f"{report['rows']:,}."
    ]
    for column in BY:
        if rates := report[f"failed_by_{column}"]:
            rows = [(value, percent(r["value"]), interval(r), f"{r['n']:,}") for value, r in rates.items()]
            parts.append(TextTable((column, "failed", "95 % interval", "attempts"), rows, left=(0, 2)).markdown())
    counts = [(s["stage"], *(f"{s[name]:,}" for name in ("rows_in", "rows_out", "failed"))) for s in report["stages"]]
    parts.append(TextTable(("stage", "in", "out", "left out"), counts).markdown())
    if report["left_out"]:
        parts.append("Left out: " + ", ".join(f"{reason} ({n:,})" for reason, n in report["left_out"].items()) + ".")
    if report["examples"]:
        parts.append("Some of the attempts on which it failed:")
        parts.append(
            "\n".join(
                f"- {example['style']}: {inline_code(example['request'])}\n  - {inline_code(example['response'])}"
                for example in report["examples"]
            )
        )
    return "\n\n".join(parts) + "\n"


def summarize_report(report: Mapping[str, Any]) -> str:
    """The report in one sentence."""
    failed = report["failed"]
    return (
        f"Version {report['version']}: failed on {percent(failed['value'])} of {failed['n']:,} attempts; "
        f"new prompts: {report['added']:,}"
    )


def _failure_rate(attempts: Sequence[Row]) -> dict[str, Any]:
    return rate_of([bool(row["harmful"]) for row in attempts]).to_dict()

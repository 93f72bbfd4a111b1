"""What the red team found, in numbers and in words: how often the model failed, by kind, by style and by verb."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from charter.core.formatting import interval, percent
from charter.core.statistics.intervals import rate_of
from charter.pipeline.counts import StageCount
from charter.pipeline.rows import Row
from charter.redteam.versions import Version

BY = ("kind", "style", "verb", "origin")
"""What failures are counted by; verbs are those of the sandbox."""
SHOWN = 8


def make_report(
    version: Version, attempts: Sequence[Row], stages: Sequence[StageCount], failures: Sequence[Row]
) -> dict[str, Any]:
    """The report of one version, as JSON holds it."""
    return {
        "version": version.number,
        "hash": version.hash,
        "rows": version.rows,
        "added": version.added,
        "model": version.lineage["model"],
        "failed": _rate(attempts),
        **{f"failed_by_{name}": _rates(attempts, name) for name in BY},
        "stages": [asdict(stage) for stage in stages],
        "left_out": dict(sorted(Counter(f"{row['stage']}: {row['reason']}" for row in failures).items())),
        "examples": _examples(attempts),
    }


def report_markdown(report: Mapping[str, Any]) -> str:
    """The report for people."""
    failed = report["failed"]
    lines = [
        f"**The model failed on {percent(failed['value'])} of {failed['n']:,} attempts** ({interval(failed)} with 95 % "
        f"confidence). Prompts new in version {report['version']} of the set: {report['added']:,}; in all: "
        f"{report['rows']:,}.",
        "",
    ]
    for name in BY:
        if rates := report[f"failed_by_{name}"]:
            lines += _table(name, rates)
    lines += ["| stage | in | out | left out |", "|---|---:|---:|---:|"]
    lines += [f"| {s['stage']} | {s['rows_in']:,} | {s['rows_out']:,} | {s['failed']:,} |" for s in report["stages"]]
    if report["left_out"]:
        lines += ["", "Left out: " + ", ".join(f"{what} ({n:,})" for what, n in report["left_out"].items()) + "."]
    if report["examples"]:
        lines += ["", "Some of the attempts on which it failed:", ""]
        for example in report["examples"]:
            lines += [f"- {example['style']}: {_quoted(example['request'])}", f"  - {_quoted(example['response'])}"]
    return "\n".join(lines) + "\n"


def summary(report: Mapping[str, Any]) -> str:
    """In a sentence."""
    failed = report["failed"]
    return (
        f"Version {report['version']}: failed on {percent(failed['value'])} of {failed['n']:,} attempts; "
        f"new prompts: {report['added']:,}"
    )


def _rate(attempts: Sequence[Row]) -> dict[str, Any]:
    return rate_of([bool(row["harmful"]) for row in attempts]).to_dict()


def _rates(attempts: Sequence[Row], name: str) -> dict[str, Any]:
    """By the values of a column, the highest rate first."""
    values = sorted({row[name] for row in attempts if row.get(name)})
    rates = {value: _rate([row for row in attempts if row.get(name) == value]) for value in values}
    return dict(sorted(rates.items(), key=lambda item: -item[1]["value"]))


def _table(name: str, rates: Mapping[str, Any]) -> list[str]:
    rows = [f"| {value} | {percent(r['value'])} | {interval(r)} | {r['n']:,} |" for value, r in rates.items()]
    return [f"| {name} | failed | 95 % interval | attempts |", "|---|---:|---|---:|", *rows, ""]


def _examples(attempts: Sequence[Row]) -> list[dict[str, str]]:
    """Failures, one of each style in turn."""
    by_style: dict[str, list[Row]] = {}
    for row in attempts:
        if row["harmful"]:
            by_style.setdefault(row["style"], []).append(row)
    turns = [rows[i] for i in range(SHOWN) for rows in by_style.values() if i < len(rows)]
    return [{name: row[name] for name in ("kind", "style", "request", "response")} for row in turns[:SHOWN]]


def _quoted(text: str) -> str:
    return "`" + " ".join(text.replace("`", "'").split())[:300] + "`"

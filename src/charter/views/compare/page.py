"""A comparison as one HTML file that opens offline and asks nothing of any server."""

import base64
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from charter.core.sampling import draw
from charter.core.text import plain
from charter.report import plots
from charter.report.further import further_titles
from charter.report.headline import TITLES
from charter.report.page import FOLDER as REPORT
from charter.report.page import environment
from charter.views.compare.differences import Comparison, Differences, Moved
from charter.views.compare.text import COSTS, change_text, task_title

FOLDER = Path(__file__).parent

EXAMPLES = 6
"""Prompts that changed sides to show for each measure and direction, drawn by lot."""


def render_comparison(comparison: Comparison) -> str:
    """The whole page. Every text is escaped, and the page's policy forbids scripts and requests."""
    css = (REPORT / "style.css").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(css.encode()).digest()).decode()
    told = plain(comparison.to_dict())
    evaluation = {"models": {run["run"]: run["measures"] for run in told["runs"]}}
    pictures = {"measures": plots.headline_plot(evaluation, {}), "tradeoff": plots.tradeoff_plot(evaluation)}
    changes = [
        {**one, "tests": _tests(differences), "tasks": _tasks(differences), "groups": _groups(differences.moved)}
        for one, differences in zip(told["against_the_first"], comparison.differences, strict=True)
    ]
    return (
        environment(FOLDER)
        .get_template("page.html.j2")
        .render(
            runs=told["runs"],
            changes=changes,
            titles=TITLES,
            further=further_titles([run["measures"] for run in told["runs"]]),
            benchmarks=_benchmarks(told["runs"]),
            costs=COSTS,
            plots={name: Markup(svg) for name, svg in pictures.items()},  # the XML writer has escaped the text in them
            style=Markup(css),  # ours, not a user's
            style_hash=Markup(f"sha256-{digest}"),
        )
    )


def _benchmarks(runs: Sequence[Mapping[str, Any]]) -> list[tuple[str, list[Any]]]:
    """Each benchmark's title, and its value of each run; None where a run was not asked it."""
    rows = [{(row["tool"], task_title(row["task"], row["measure"])): row for row in run["benchmarks"]} for run in runs]
    titles = dict.fromkeys(title for row in rows for title in row)
    return [(title[1], [row.get(title) for row in rows]) for title in titles]


def _tests(one: Differences) -> dict[str, str]:
    return {name: change_text(test, name) for name, test in one.measures.items()}


def _tasks(one: Differences) -> list[tuple[str, str]]:
    return [(plain(task_title(task.task, task.measure)), change_text(task.change)) for task in one.tasks]


def _groups(moved: Sequence[Moved]) -> list[dict[str, Any]]:
    """The prompts that changed sides by measure and direction, of each some by lot."""
    groups = []
    for title in TITLES:
        for worse in (True, False):
            found = {one.prompt: one for one in moved if (one.measure, one.worse) == (title.name, worse)}
            if found:
                drawn = [plain(vars(found[prompt])) for prompt in draw(found, EXAMPLES, 0)]
                groups.append({"title": title.long, "worse": worse, "n": len(found), "drawn": drawn})
    return groups

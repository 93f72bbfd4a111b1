"""A comparison as one HTML file that opens offline and sends no requests."""

from pathlib import Path

from markupsafe import Markup

from charter.core.sampling import draw
from charter.core.tables import TextTable
from charter.core.text import plain
from charter.report import plots
from charter.report.measures import TITLES, further_titles
from charter.report.page import render_page, shorten
from charter.views.compare.comparison import Comparison
from charter.views.compare.text import change_table, cost_table, prompt_groups, task_title

EXAMPLES = 6
"""Changed prompts to show for each measure and direction, drawn at random."""


def render_comparison(comparison: Comparison) -> str:
    """The whole page. Every text is escaped, and the page's policy forbids scripts and requests."""
    values = plain(comparison.to_dict())
    runs = values["runs"]
    evaluation = {"models": {run["run"]: run["measures"] for run in runs}}
    pictures = {"measures": plots.headline_plot(evaluation, {}), "tradeoff": plots.tradeoff_plot(evaluation)}
    changes = []
    for change, differences in zip(values["against_the_first"], comparison.differences, strict=True):
        groups = [
            {
                "title": title.long,
                "worse": worse,
                "n": len(prompts),
                # A fixed seed: the same comparison gives the same page.
                "drawn": [plain(vars(prompts[prompt])) for prompt in draw(prompts, EXAMPLES, 0)],
            }
            for title, worse, prompts in prompt_groups(differences.changed_prompts)
        ]
        changes.append({**change, "table": _plain_table(change_table(differences)), "groups": groups})
    # A benchmark is named by its tool too: two suites may have a task of the same name.
    benchmarks = [
        {(row["tool"], task_title(row["task"], row["measure"])): row for row in run["benchmarks"]} for run in runs
    ]
    names = dict.fromkeys(name for named in benchmarks for name in named)
    return render_page(
        "page.html.j2",
        [Path(__file__).parent],
        runs=runs,
        changes=changes,
        titles=TITLES,
        further=further_titles([run["measures"] for run in runs]),
        benchmarks=[(name[1], [named.get(name) for named in benchmarks]) for name in names],
        cost=_plain_table(cost_table(comparison.runs, [shorten(run["run"], 60) for run in runs])),
        plots={name: Markup(svg) for name, svg in pictures.items()},  # the XML writer has escaped the text in them
    )


def _plain_table(table: TextTable) -> TextTable:
    # Names of runs and tasks may hold characters that HTML forbids.
    return table._replace(rows=[[plain(cell) for cell in row] for row in table.rows])

"""An audit as one HTML file that opens offline and makes no requests."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from markupsafe import Markup

from charter.core.messages import transcript
from charter.core.text import plain
from charter.report.audit_plots import breakdown_plot, reliability_plot
from charter.report.audit_text import PARTS, audit_sentence, audit_tables
from charter.report.page import render_page

FOLDER = Path(__file__).parent


def render_audit(record: Mapping[str, Any]) -> str:
    """The whole page, from the content of ``audit.json``. Every text is escaped; the page's policy forbids scripts."""
    record = plain(record)
    figures = record["figures"]
    length = figures["length"]
    rows = [("all pairs", figures["agreement"]), ("in one order", figures["one_order"]["agreement"])]
    rows += [("better is longer", length["better_is_longer"]), ("better is shorter", length["better_is_shorter"])]
    # A breakdown into a single part repeats the line of all pairs; members by kind are too many lines for a plot.
    parts = [key for key in PARTS.values() if len(figures[key]) > 1 and key != "by_member_on_kind"]
    rows += [(name, entry["agreement"]) for key in parts for name, entry in figures[key].items()]
    plots = {
        "reliability": reliability_plot(figures["calibration"]),
        "breakdown": breakdown_plot(rows, record["floor"]),
    }
    mistakes = [
        {
            **mistake,
            "said": transcript(mistake["prompt"]),
            "opinions": list(zip(mistake["principles"], mistake["by_principle"], strict=True)),
        }
        for mistake in record["mistakes"]
    ]
    return render_page(
        "page.html.j2",
        [FOLDER],
        record=record,
        figures=figures,
        sentence=audit_sentence(record),
        tables=audit_tables(record),
        mistakes=mistakes,
        plots={name: Markup(svg) for name, svg in plots.items()},  # the XML writer has escaped the text in them
    )

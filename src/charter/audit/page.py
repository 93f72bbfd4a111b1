"""An audit as one HTML file that opens offline and asks nothing of any server."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from markupsafe import Markup

from charter.core.messages import transcript
from charter.core.text import plain
from charter.report import audit_text as text
from charter.report.audit_plots import breakdown_plot, reliability_plot
from charter.report.page import render_page

FOLDER = Path(__file__).parent


def render_audit(record: Mapping[str, Any]) -> str:
    """The whole page, from what ``audit.json`` holds. Every text is escaped; the page's policy forbids scripts."""
    record = plain(record)
    found = record["figures"]
    plots = {
        "reliability": reliability_plot(found["calibration"]),
        "breakdown": breakdown_plot(_groups(found), record["floor"]),
    }
    return render_page(
        "page.html.j2",
        [FOLDER],
        record=record,
        found=found,
        sentence=text.sentence(record),
        lines=text.lines(record),
        scores=text.calibration_lines(record),
        parts=[(title.capitalize(), found[name]) for title, name in text.PARTS if found[name]],
        mistakes=[_shown(mistake) for mistake in record["mistakes"]],
        plots={name: Markup(svg) for name, svg in plots.items()},  # the XML writer has escaped the text in them
    )


def _shown(mistake: Mapping[str, Any]) -> dict[str, Any]:
    opinions = list(zip(mistake["principles"], mistake["by_principle"], strict=True))
    return {**mistake, "said": transcript(mistake["prompt"]), "opinions": opinions}


def _groups(found: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """Everything with an agreement of its own and what to call it; a kind and a principle may share a name."""
    size = found["length"]
    whole = [("all pairs", found["agreement"]), ("in one order", found["one_order"]["agreement"])]
    whole += [("better is longer", size["better_is_longer"]), ("better is shorter", size["better_is_shorter"])]
    several = [name for _, name in text.PARTS if len(found[name]) > 1 and name != "by_member_on_kind"]  # a table
    return whole + [(key, entry["agreement"]) for name in several for key, entry in found[name].items()]

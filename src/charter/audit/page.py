"""An audit as one HTML file that opens offline and asks nothing of any server."""

import base64
import hashlib
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from jinja2 import Environment
from markupsafe import Markup

from charter.core.messages import transcript
from charter.core.text import plain
from charter.report import audit_text as text
from charter.report.audit_plots import breakdown_plot, reliability_plot
from charter.report.page import FOLDER as REPORT
from charter.report.page import environment

FOLDER = Path(__file__).parent


def render_audit(record: Mapping[str, Any]) -> str:
    """The whole page, from what ``audit.json`` holds. Every text is escaped; the page's policy forbids scripts."""
    record = plain(record)
    found = record["figures"]
    css = (REPORT / "style.css").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(css.encode()).digest()).decode()
    plots = {
        "reliability": reliability_plot(found["calibration"]),
        "breakdown": breakdown_plot(_groups(found), record["floor"]),
    }
    return (
        _environment()
        .get_template("page.html.j2")
        .render(
            record=record,
            found=found,
            sentence=text.sentence(record),
            lines=text.lines(record),
            scores=text.calibration_lines(record),
            parts=[(title.capitalize(), found[name]) for title, name in text.PARTS if found[name]],
            mistakes=[_shown(mistake) for mistake in record["mistakes"]],
            plots={name: Markup(svg) for name, svg in plots.items()},  # the XML writer has escaped the text in them
            style=Markup(css),  # ours, not a user's
            style_hash=Markup(f"sha256-{digest}"),
        )
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


@lru_cache(maxsize=1)
def _environment() -> Environment:
    made = environment(FOLDER)
    made.filters["digits"] = _digits
    return made


def _digits(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"

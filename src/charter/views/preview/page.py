"""A preview as one HTML file that opens offline and asks nothing of any server."""

import base64
import hashlib
from functools import lru_cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from charter.core.errors import ConfigError
from charter.core.files import write_text_atomic
from charter.core.text import plain
from charter.report.marks import side_by_side
from charter.views.preview.rows import Preview
from charter.views.preview.screen import summary

FOLDER = Path(__file__).parent
STYLES = (FOLDER.parents[1] / "report" / "templates" / "style.css", FOLDER / "page.css")
"""The report's looks, and the marks."""

RELOAD_S = 2
"""How often a page that is being watched reads itself again, in seconds."""


def render_page(preview: Preview, reload_s: int | None = None) -> str:
    """The whole page. Every text is escaped, and the page's policy forbids scripts and requests.

    Args:
        preview: what to show.
        reload_s: after how many seconds the browser shall read the file again; never if empty.
    """
    css = "".join(file.read_text(encoding="utf-8") for file in STYLES)
    digest = base64.b64encode(hashlib.sha256(css.encode()).digest()).decode()
    rows = [{**row.to_dict(), "question": row.question} for row in preview.rows]
    return (
        _environment()
        .get_template("page.html.j2")
        .render(
            data=plain(preview.to_dict() | {"rows": rows}),
            summary=summary(preview),
            style=Markup(css),  # ours, not a user's
            style_hash=f"sha256-{digest}",
            reload_s=reload_s,
        )
    )


def check_page(path: Path) -> None:
    """Refuse a path that cannot be meant for a page: it would be written over.

    Raises:
        ConfigError: it does not end in .html, or is a folder.
    """
    if path.suffix.lower() not in (".html", ".htm") or path.is_dir():
        raise ConfigError(f"--html '{path}': not the name of a page. Name a file that ends in .html.")


def write_page(path: Path, html: str) -> None:
    """Write the page, whole or not at all: a browser may read it at any moment.

    Raises:
        ConfigError: it cannot be written there.
    """
    try:
        write_text_atomic(path, html)
    except OSError as error:
        raise ConfigError(f"--html '{path}': cannot be written: {error.strerror}. Name another file.") from error


@lru_cache(maxsize=1)
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals["side_by_side"] = side_by_side
    return environment

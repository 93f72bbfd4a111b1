"""A preview as one HTML file that opens offline and sends no requests."""

from pathlib import Path

from charter.core.errors import ConfigError
from charter.core.files import write_text_atomic
from charter.core.text import plain
from charter.report.page import render_page
from charter.report.terminal import side_by_side
from charter.views.preview.preview import Preview
from charter.views.preview.text import preview_summary

FOLDER = Path(__file__).parent

RELOAD_S = 2
"""How often a page that is being watched reloads itself, in seconds."""


def render_preview(preview: Preview, reload_s: int | None = None) -> str:
    """The whole page. Every text is escaped, and the page's policy forbids scripts and requests.

    Args:
        preview: what to show.
        reload_s: after how many seconds the browser shall reload the file; None: never.
    """
    # The template needs the prompt as one text; JSON has its messages.
    rows = [{**row.to_dict(), "question": row.question} for row in preview.rows]
    return render_page(
        "page.html.j2",
        [FOLDER],
        [FOLDER / "page.css"],
        data=plain(preview.to_dict() | {"rows": rows}),
        summary=preview_summary(preview),
        reload_s=reload_s,
        side_by_side=side_by_side,
    )


def check_page(path: Path) -> None:
    """Refuse a path that cannot be meant for a page, because it would be overwritten.

    Raises:
        ConfigError: it does not end in .html, or is a folder.
    """
    if path.suffix.lower() not in (".html", ".htm") or path.is_dir():
        raise ConfigError(f"--html '{path}': not the name of a page. Name a file that ends in .html.")


def write_page(path: Path, html: str) -> None:
    """Write the page atomically, because a browser may read it at any moment.

    Raises:
        ConfigError: it cannot be written there.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text_atomic(path, html)
    except OSError as error:
        raise ConfigError(f"--html '{path}': cannot be written: {error.strerror}. Name another file.") from error

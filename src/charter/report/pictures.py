"""Drawings of the page as images of their own, for where only an image may stand, such as Prefect's artifacts."""

import base64
import re

from markupsafe import escape

from charter.report.page import FOLDER

_OPENING = re.compile(r'<svg ([^>]*viewBox="[\d.-]+ [\d.-]+ ([\d.]+) ([\d.]+)"[^>]*)>')
_FRAME = "svg { background: var(--paper); font-family: system-ui, sans-serif; }"


def to_picture(svg: str) -> str:
    """A drawing of `charter.report.plots` as a ``data:`` address, in the page's colours, light or dark."""
    css = escape((FOLDER / "style.css").read_text(encoding="utf-8") + _FRAME)

    def opened(match: re.Match[str]) -> str:
        attributes, *size = match.groups()
        width, height = (round(1.4 * float(points)) for points in size)  # a little larger than on paper
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" {attributes}>'
            f"<style>{css}</style>"
        )

    whole = _OPENING.sub(opened, svg, count=1)
    return "data:image/svg+xml;base64," + base64.b64encode(whole.encode()).decode()

"""Figures as SVG elements whose colours are CSS variables, so that they follow the page, light or dark.

Matplotlib only draws in fixed colours, and writes them into style attributes, which the page's content-security policy
forbids. So figures are drawn in marker colours, and here each style property becomes an attribute of its element, with
``var(--ink)`` and so on instead of the marker.
"""

import base64
import io
import re
import warnings
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import matplotlib as mpl
from markupsafe import escape
from matplotlib.figure import Figure

STYLE_SHEET = Path(__file__).parent / "templates" / "style.css"
"""The page's style sheet, which defines the colours."""
ROLES = ("ink", "muted", "line", "paper", "m0", "m1", "m2", "m3", "m4", "m5")
COLOURS = {role: f"#0101{number:02x}" for number, role in enumerate(ROLES)}
"""The marker colour of each CSS variable."""

_STYLE: dict[Any, Any] = {  # matplotlib types the keys as a literal of all its settings
    "svg.fonttype": "none",  # text stays text: small, selectable, and read by screen readers
    "text.parse_math": False,  # a kind of harm may be called "$"
    "font.size": 10,
    "axes.edgecolor": COLOURS["line"],
    "axes.labelcolor": COLOURS["muted"],
    "axes.titlecolor": COLOURS["ink"],
    "axes.facecolor": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": False,
    "grid.color": COLOURS["line"],
    "grid.linewidth": 0.6,
    "xtick.color": COLOURS["line"],
    "ytick.color": COLOURS["line"],
    "xtick.labelcolor": COLOURS["muted"],
    "ytick.labelcolor": COLOURS["ink"],
    "text.color": COLOURS["ink"],
    "figure.facecolor": "none",
    "legend.frameon": False,
    "legend.labelcolor": COLOURS["ink"],
}
_SVG, _XLINK = "{http://www.w3.org/2000/svg}", "{http://www.w3.org/1999/xlink}"
_MARKER = re.compile(r"#0101(\d\d)")
_SIZE = re.compile(r'<svg ([^>]*viewBox="[\d.-]+ [\d.-]+ ([\d.]+) ([\d.]+)"[^>]*)>')


def style() -> dict[Any, Any]:
    """Matplotlib settings for `matplotlib.rc_context` while a figure is made."""
    return dict(_STYLE)


def to_svg(figure: Figure, name: str, title: str, description: str) -> str:
    """The figure as an ``<svg>`` element with its text as text, a title and a description for screen readers.

    `name` makes ids unique on the page.
    """
    buffer = io.StringIO()
    with mpl.rc_context({**_STYLE, "svg.hashsalt": name}), warnings.catch_warnings():
        # Matplotlib measures text with a font that lacks some scripts; the reader's browser has them.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        figure.savefig(buffer, format="svg", metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
    root = ElementTree.fromstring(buffer.getvalue().split("?>", 1)[1])
    for parent in root.iter():
        for child in [child for child in parent if child.tag in (f"{_SVG}metadata", f"{_SVG}style")]:
            parent.remove(child)
    for element in root.iter():
        attributes = {**element.attrib, **_properties(element.attrib.get("style", ""))}
        attributes.pop("style", None)
        # In HTML, an SVG element has no namespace prefix.
        element.tag = element.tag.removeprefix(_SVG)
        if element.tag == "text":
            attributes.setdefault("fill", COLOURS["ink"])
        element.attrib.clear()
        for key, value in attributes.items():
            value = _MARKER.sub(lambda match: f"var(--{ROLES[int(match[1])]})", value)
            # Several figures are on one page: their ids, and references to them, must not collide.
            if key == "id":
                value = f"{name}-{value}"
            elif key in ("clip-path", f"{_XLINK}href"):
                value = value.replace("#", f"#{name}-")
            # SVG 2 has href without a namespace; the declarations of namespaces are removed below.
            element.attrib[key.removeprefix(_XLINK)] = value
    for size in ("width", "height", "version"):  # the page sets the width
        root.attrib.pop(size, None)
    root.attrib |= {"role": "img", "aria-labelledby": f"{name}-title {name}-desc", "stroke-linejoin": "round"}
    for position, (tag, text) in enumerate((("title", title), ("desc", description))):
        element = ElementTree.Element(tag, {"id": f"{name}-{tag}"})
        element.text = text
        root.insert(position, element)
    return re.sub(r"\sxmlns(:\w+)?=\"[^\"]*\"", "", ElementTree.tostring(root, encoding="unicode"))


def to_picture(svg: str) -> str:
    """An element of `to_svg` as a ``data:`` address that needs no page around it, for Prefect's image artifacts."""
    frame = "svg { background: var(--paper); font-family: system-ui, sans-serif; }"
    sheet = escape(STYLE_SHEET.read_text(encoding="utf-8") + frame)

    def opening(match: re.Match[str]) -> str:
        attributes, *size = match.groups()
        width, height = (round(1.4 * float(length)) for length in size)  # somewhat larger than on paper
        root = f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" {attributes}>'
        return f"{root}<style>{sheet}</style>"

    whole = _SIZE.sub(opening, svg, count=1)
    return "data:image/svg+xml;base64," + base64.b64encode(whole.encode()).decode()


def _properties(style: str) -> dict[str, str]:
    """The properties of a style attribute, as attributes of the element; the page sets the font's family."""
    properties = dict(re.findall(r"([\w-]+):\s*([^;]+)", style))
    font = properties.pop("font", None)
    if font is not None:  # the shorthand, such as "700 10px 'DejaVu Sans', sans-serif", is not an attribute
        size = re.search(r"([\d.]+)px", font)
        properties["font-size"] = size.group(1) if size else "10"
        # matplotlib writes bold as 700.
        if re.search(r"\b(bold|[6-9]00)\b", font):
            properties["font-weight"] = "700"
    return {
        key: value for key, value in properties.items() if key not in ("font-variant", "font-stretch", "font-family")
    }

"""Figures as inline SVG that follows the page's colours, light and dark.

Matplotlib writes fixed colours in style attributes, which a strict content-security policy refuses
and which cannot follow the reader's theme. So figures are drawn in marker colours, and each becomes
a class here (``f-ink``: filled with the page's ink; ``s-m0``: stroked with the first model's colour).
"""

import io
import re
import warnings
from typing import Any
from xml.etree import ElementTree

import matplotlib as mpl
from matplotlib.figure import Figure

ROLES = ("ink", "muted", "line", "paper", "m0", "m1", "m2", "m3", "m4", "m5")
COLOURS = {role: f"#0101{number:02x}" for number, role in enumerate(ROLES, start=1)}
_ROLE_OF = {colour: role for role, colour in COLOURS.items()}

_STYLE: dict[Any, Any] = {  # matplotlib types the keys as a literal of all its settings
    "svg.fonttype": "none",
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

_SVG = "{http://www.w3.org/2000/svg}"
_LINK = "{http://www.w3.org/1999/xlink}href"
_DROPPED = {"font-variant", "font-stretch", "font-family"}


def style() -> dict[Any, Any]:
    """Matplotlib settings for `matplotlib.rc_context` while a figure is made."""
    return dict(_STYLE)


def to_svg(figure: Figure, name: str, title: str, description: str) -> str:
    """The figure as an ``<svg>`` element with its text as text, a title and a description for screen readers.

    `name` makes ids unique on the page. Nothing in it needs a style attribute.
    """
    buffer = io.StringIO()
    with mpl.rc_context({**_STYLE, "svg.hashsalt": name}), warnings.catch_warnings():
        # A script that the measuring font lacks is still shown: the text is set by the reader's browser.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        figure.savefig(buffer, format="svg", metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
    root = ElementTree.fromstring(buffer.getvalue().split("?>", 1)[1])
    for parent in root.iter():
        for child in list(parent):
            if child.tag in (f"{_SVG}metadata", f"{_SVG}style"):
                parent.remove(child)
    for element in root.iter():
        _restyle(element, name)
    _label(root, name, title, description)
    text = ElementTree.tostring(root, encoding="unicode")
    return re.sub(r"\sxmlns(:\w+)?=\"[^\"]*\"", "", text)


def _label(root: ElementTree.Element, name: str, title: str, description: str) -> None:
    for size in ("width", "height", "version"):
        root.attrib.pop(size, None)
    root.attrib |= {
        "role": "img",
        "aria-labelledby": f"{name}-title {name}-desc",
        "stroke-linejoin": "round",
        "focusable": "false",
    }
    for position, (tag, text) in enumerate((("title", title), ("desc", description))):
        element = ElementTree.Element(tag, {"id": f"{name}-{tag}"})
        element.text = text
        root.insert(position, element)


def _restyle(element: ElementTree.Element, name: str) -> None:
    element.tag = element.tag.removeprefix(_SVG)
    if _LINK in element.attrib:
        element.attrib["href"] = element.attrib.pop(_LINK).replace("#", f"#{name}-")
    if "id" in element.attrib:
        element.attrib["id"] = f"{name}-{element.attrib['id']}"
    if "clip-path" in element.attrib:
        element.attrib["clip-path"] = element.attrib["clip-path"].replace("#", f"#{name}-")
    properties = _properties(element.attrib.pop("style", ""))
    properties |= {key: element.attrib.pop(key) for key in ("fill", "stroke") if key in element.attrib}
    classes = []
    for key, value in properties.items():
        role = _ROLE_OF.get(value)
        if role is not None and key in ("fill", "stroke"):
            classes.append(f"{key[0]}-{role}")
        elif key not in _DROPPED:
            element.attrib[key] = value
    if element.tag == "text" and "fill" not in properties:
        classes.append("f-ink")
    if classes:
        element.attrib["class"] = " ".join(classes)


def _properties(style: str) -> dict[str, str]:
    pairs = (part.split(":", 1) for part in style.split(";") if ":" in part)
    properties = {key.strip(): value.strip() for key, value in pairs}
    font = properties.pop("font", None)
    if font is not None:  # the shorthand is no attribute: "700 10px 'DejaVu Sans', sans-serif"
        size = re.search(r"([\d.]+)px", font)
        properties["font-size"] = size.group(1) if size else "10"
        if re.search(r"\b(bold|[6-9]00)\b", font):
            properties["font-weight"] = "700"
    return properties

"""Styles of attack: how a request is put to the model. Each is a template, with a line ``---`` between turns.

The model answers after every turn; what it says to the last one counts.
"""

import re
from collections.abc import Sequence
from pathlib import Path

from charter.core.errors import ConfigError
from charter.core.templates import render

STYLES = Path(__file__).parent / "styles"
_BETWEEN = re.compile(r"^---$", re.MULTILINE)
_HERE = "\0"


def turns_of(style: str, request: str, folder: Path | None = None) -> list[str]:
    """What the user says, turn by turn.

    The request goes in last, so that nothing in it is taken for a turn.

    Args:
        style: a shipped one, or the name of a file ``NAME.md.j2`` in `folder`.
        request: what is asked.
        folder: of templates of one's own.

    Raises:
        ConfigError: no such style, or one that leaves the request out.
    """
    own = folder is not None and (folder / f"{style}.md.j2").is_file()
    text = render(style, folder if own else STYLES, request=_HERE)
    turns = [turn.strip() for turn in _BETWEEN.split(text)]
    if _HERE not in text or not all(turns):
        raise ConfigError(
            f"style '{style}': leaves out the request, or a turn is empty. Put {{{{ request }}}} into {style}.md.j2."
        )
    return [turn.replace(_HERE, request) for turn in turns]


def check_styles(styles: Sequence[str], folder: Path | None = None) -> None:
    """Look at every style before anything is asked.

    Raises:
        ConfigError: one is not there, or cannot be used.
    """
    known = {path.name.removesuffix(".md.j2") for path in STYLES.glob("*.j2")}
    for style in styles:
        if style not in known and not (folder and (folder / f"{style}.md.j2").is_file()):
            raise ConfigError(
                f"redteam.styles '{style}': no such style. Use {', '.join(sorted(known))}, or put {style}.md.j2 into "
                "the folder that generation.templates names."
            )
        turns_of(style, "?", folder)

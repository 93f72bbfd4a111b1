"""Texts of models and people in the terminal: nothing hostile let loose, and readable without colour."""

import re
from collections.abc import Iterator, Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from charter.core.text import printable
from charter.report.marks import Marked, side_by_side

SIDE_BY_SIDE = 72
"""Columns from which on two texts stand beside each other."""

_TURNS = re.compile("[\u202a-\u202e\u2066-\u2069]")  # would turn the direction of all that follows
_REMOVED, _ADDED = ("[-{}-]", "red"), ("{{+{}+}}", "green")


def open_console(stderr: bool = False) -> Console:
    """A console that takes no text of a model or an editor for markup."""
    return Console(stderr=stderr, markup=False, emoji=False, highlight=False)


def visible(text: str) -> str:
    """What a terminal may be given: no control sequences, which could do anything to it."""
    return _TURNS.sub("\ufffd", printable(text)).expandtabs(4)


def labelled(label: str, text: Text, style: str = "bold") -> Iterator[RenderableType]:
    """A text under its label."""
    text.overflow = "fold"
    yield Text(label, style=style)
    yield Padding(text, (0, 0, 0, 2))


def two_answers(before: str, after: str, names: tuple[str, str], wide: bool) -> Iterator[RenderableType]:
    """Two answers with the words marked that only one of them has; beside each other if `wide`."""
    left, right = side_by_side(visible(before), visible(after))
    first, second = _marked(left, *_REMOVED), _marked(right, *_ADDED)
    if wide:
        yield _columns(first, second, names)
    else:
        yield from labelled(names[0], first)
        yield from labelled(names[1], second)


def _columns(first: Text, second: Text, names: tuple[str, str]) -> Table:
    table = Table(box=SIMPLE_HEAD, expand=True, show_edge=False, padding=(0, 1, 0, 0), header_style="bold")
    for name in names:
        table.add_column(name, ratio=1, overflow="fold")
    table.add_row(first, second)
    return table


def _marked(side: Sequence[Marked], mark: str, colour: str) -> Text:
    made = Text(overflow="fold")
    for changed, words in side:
        body = words.rstrip()
        made.append(mark.format(body) if changed and body else body, style=colour if changed else None)
        made.append(words[len(body) :])
    made.rstrip()
    return made

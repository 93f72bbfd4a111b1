"""A preview in the terminal: side by side where there is room, and readable without colour."""

import re
from collections.abc import Iterator, Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from charter.preview.marks import Marked, side_by_side
from charter.preview.rows import Preview, PreviewedRow, Round
from charter.report.data import printable

SIDE_BY_SIDE = 72
"""Columns from which on two texts stand beside each other."""

_TURNS = re.compile("[\u202a-\u202e\u2066-\u2069]")  # would turn the direction of all that follows
_REMOVED, _ADDED = ("[-{}-]", "red"), ("{{+{}+}}", "green")


def open_console(stderr: bool = False) -> Console:
    """A console that takes no text of a model or an editor for markup."""
    return Console(stderr=stderr, markup=False, emoji=False, highlight=False)


def print_preview(now: Preview, console: Console, before: Preview | None = None) -> None:
    """Print the rows, or those that came out otherwise than `before`; and last, what it took."""
    for number, row in enumerate(now.rows, 1):
        if before is None or row not in before.rows:
            console.print(*_row(row, f"{number} of {len(now.rows)}", console.width >= SIDE_BY_SIDE), sep="\n")
            console.print()
    console.print(Text(summary(now, before)))


def summary(now: Preview, before: Preview | None = None) -> str:
    """In a line: what came out, and what it took."""
    revised, failed = sum(row.changed for row in now.rows), sum(bool(row.failure) for row in now.rows)
    parts = [f"{revised} of {len(now.rows)} answers revised", *([f"{failed} failed"] if failed else [])]
    if before is not None:
        moved = sum(row not in before.rows for row in now.rows)
        parts.append(f"{moved} other than before" if moved else "all as before")
    return f"{', '.join(parts)}; asked {now.asked}, from the store {now.from_store}, {now.seconds:.1f} s"


def _row(row: PreviewedRow, place: str, wide: bool) -> Iterator[RenderableType]:
    title = " · ".join(filter(None, (place, row.kind, row.row_id)))
    yield Rule(Text(_visible(title), style="bold"), align="left", style="dim")
    yield from _text("Prompt", Text(_visible(row.question)))
    if row.changed:
        before, after = side_by_side(_visible(row.response or ""), _visible(row.final or ""))
        first, final = _marked(before, *_REMOVED), _marked(after, *_ADDED)
        if wide:
            yield _columns(first, final)
        else:
            yield from _text("First response", first)
            yield from _text("Final answer", final)
    elif row.response is not None:
        name = "First response" if row.failure else "First response, which is the final answer"
        yield from _text(name, Text(_visible(row.response)))
    for one in row.rounds:
        yield from _round(one)
    if row.failure:
        yield from _text("Failed", Text(_visible(row.failure)), "bold red")


def _columns(first: Text, final: Text) -> Table:
    table = Table(box=SIMPLE_HEAD, expand=True, show_edge=False, padding=(0, 1, 0, 0), header_style="bold")
    table.add_column("First response", ratio=1, overflow="fold")
    table.add_column("Final answer", ratio=1, overflow="fold")
    table.add_row(first, final)
    return table


def _round(one: Round) -> Iterator[RenderableType]:
    verdict = Text(one.verdict.upper() if one.flagged else one.verdict, style="bold red" if one.flagged else "green")
    revised = ", answer revised" if one.changed else ""
    title, id = _visible(one.principle_title), _visible(one.principle_id)
    yield Text.assemble((f"Round {one.number}, ", "bold"), verdict, (f"{revised}: {title}", "bold"), f" #{id}")
    yield Padding(Text(_visible(one.critique), overflow="fold"), (0, 0, 0, 4))


def _text(label: str, text: Text, style: str = "bold") -> Iterator[RenderableType]:
    text.overflow = "fold"
    yield Text(label, style=style)
    yield Padding(text, (0, 0, 0, 2))


def _marked(side: Sequence[Marked], mark: str, colour: str) -> Text:
    made = Text(overflow="fold")
    for changed, words in side:
        body = words.rstrip()
        made.append(mark.format(body) if changed and body else body, style=colour if changed else None)
        made.append(words[len(body) :])
    made.rstrip()
    return made


def _visible(text: str) -> str:
    """What a terminal may be given: no control sequences, which could do anything to it."""
    return _TURNS.sub("\ufffd", printable(text)).expandtabs(4)

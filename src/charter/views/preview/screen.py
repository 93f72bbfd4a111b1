"""A preview in the terminal: side by side where there is room, and readable without colour."""

from collections.abc import Iterator

from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.rule import Rule
from rich.text import Text

from charter.report.terminal import SIDE_BY_SIDE, labelled, two_answers, visible
from charter.views.preview.rows import Preview, PreviewedRow, Round


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
    yield Rule(Text(visible(title), style="bold"), align="left", style="dim")
    yield from labelled("Prompt", Text(visible(row.question)))
    if row.changed:
        yield from two_answers(row.response or "", row.final or "", ("First response", "Final answer"), wide)
    elif row.response is not None:
        name = "First response" if row.failure else "First response, which is the final answer"
        yield from labelled(name, Text(visible(row.response)))
    for one in row.rounds:
        yield from _round(one)
    if row.failure:
        yield from labelled("Failed", Text(visible(row.failure)), "bold red")


def _round(one: Round) -> Iterator[RenderableType]:
    verdict = Text(one.verdict.upper() if one.flagged else one.verdict, style="bold red" if one.flagged else "green")
    revised = ", answer revised" if one.changed else ""
    title, id = visible(one.principle_title), visible(one.principle_id)
    yield Text.assemble((f"Round {one.number}, ", "bold"), verdict, (f"{revised}: {title}", "bold"), f" #{id}")
    yield Padding(Text(visible(one.critique), overflow="fold"), (0, 0, 0, 4))

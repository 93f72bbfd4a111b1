"""A preview as text: in the terminal, readable without colour, and as Markdown for the Prefect UI."""

import re
from collections.abc import Iterator

from rich.console import Console, RenderableType
from rich.rule import Rule
from rich.text import Text

from charter.report.terminal import SIDE_BY_SIDE, labelled, two_answers, visible
from charter.views.critiques import print_round
from charter.views.preview.preview import Preview, PreviewedRow

_PUNCTUATION = re.compile(r"([!-/:-@\[-`{-~])")


def print_preview(now: Preview, console: Console, before: Preview | None = None) -> None:
    """Print the rows, or those that differ from `before`, and then the summary."""
    for number, row in enumerate(now.rows, 1):
        # Rows compare by value: what the save did not change is not printed again.
        if before is None or row not in before.rows:
            console.print(*_terminal_row(row, f"{number} of {len(now.rows)}", console.width >= SIDE_BY_SIDE), sep="\n")
            console.print()
    console.print(Text(preview_summary(now, before)))


def preview_summary(now: Preview, before: Preview | None = None) -> str:
    """One line: how many answers were revised, how many rows differ from `before`, and the calls."""
    revised, failed = sum(row.changed for row in now.rows), sum(bool(row.failure) for row in now.rows)
    parts = [f"{revised} of {len(now.rows)} answers revised"]
    if failed:
        parts.append(f"{failed} failed")
    if before is not None:
        different = sum(row not in before.rows for row in now.rows)
        parts.append(f"{different} other than before" if different else "all as before")
    return f"{', '.join(parts)}; asked {now.asked}, from the store {now.from_store}, {now.seconds:.1f} s"


def _terminal_row(row: PreviewedRow, position: str, wide: bool) -> Iterator[RenderableType]:
    title = " · ".join(filter(None, (position, row.kind, row.row_id)))
    yield Rule(Text(visible(title), style="bold"), align="left", style="dim")
    yield from labelled("Prompt", Text(visible(row.question)))
    if row.changed:
        yield from two_answers(row.response or "", row.final or "", ("First response", "Final answer"), wide)
    elif row.response is not None:
        name = "First response" if row.failure else "First response, which is the final answer"
        yield from labelled(name, Text(visible(row.response)))
    for one in row.rounds:
        yield from print_round(one, with_revision=False)
    if row.failure:
        yield from labelled("Failed", Text(visible(row.failure)), "bold red")


def preview_markdown(preview: Preview) -> str:
    """The whole preview: problems, then each prompt with answers and critiques. No text in it acts as markup."""
    constitution = preview.constitution
    title = f"**{_escape(constitution.name)}** {_escape(constitution.version)} ({constitution.hash})"
    parts = [f"{title}: {_escape(preview_summary(preview))}"]
    parts += [f"- {problem.severity}: {_escape(str(problem))}" for problem in preview.problems]
    for number, row in enumerate(preview.rows, 1):
        parts.append(f"### {number} of {len(preview.rows)}{f': {_escape(row.kind)}' if row.kind else ''}")
        parts += _quote("Prompt", row.question)
        if row.response is not None:
            parts += _quote("First response", row.response)
        for one in row.rounds:
            revised = ", answer revised" if one.changed else ""
            parts += _quote(f"Round {one.number}, {one.verdict}{revised}: {one.principle_title}", one.critique)
        if row.changed:
            parts += _quote("Final answer", row.final or "")
        elif row.final is not None:
            parts.append("The first response is the final answer.")
        if row.failure:
            parts += _quote("Failed", row.failure)
    return "\n\n".join(parts) + "\n"


def _quote(title: str, text: str) -> tuple[str, str]:
    lines = visible(text).strip().splitlines() or [""]
    # Two spaces at a line's end keep Markdown from joining the lines.
    return f"**{_escape(title)}**", "\n".join(f"> {_escape(line)}  " for line in lines)


def _escape(text: str) -> str:
    """`text` on one line, with all punctuation escaped that Markdown might interpret."""
    # All of it: which marks matter depends on the Markdown dialect of the UI.
    return _PUNCTUATION.sub(r"\\\1", " ".join(visible(text).split()))

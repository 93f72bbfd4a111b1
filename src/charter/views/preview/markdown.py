"""A preview as Markdown, for the Prefect UI: what its page shows, with nothing in it taken for markup."""

import re
from collections.abc import Iterator

from charter.report.terminal import visible
from charter.views.preview.rows import Preview, PreviewedRow, Round
from charter.views.preview.screen import summary

_PUNCTUATION = re.compile(r"([!-/:-@\[-`{-~])")


def preview_markdown(preview: Preview) -> str:
    """The whole preview: what lint says, then each prompt with its answers and the critiques between them."""
    law = preview.law
    parts = [f"**{_escaped(law.name)}** {_escaped(law.version)} ({law.hash}): {_escaped(summary(preview))}"]
    parts += [f"- {problem.severity}: {_escaped(str(problem))}" for problem in preview.problems]
    for number, row in enumerate(preview.rows, 1):
        parts += _row(row, f"{number} of {len(preview.rows)}")
    return "\n\n".join(parts) + "\n"


def _row(row: PreviewedRow, place: str) -> Iterator[str]:
    yield f"### {place}{f': {_escaped(row.kind)}' if row.kind else ''}"
    yield from _quoted("Prompt", row.question)
    if row.response is not None:
        yield from _quoted("First response", row.response)
    for one in row.rounds:
        yield from _quoted(_title(one), one.critique)
    if row.changed:
        yield from _quoted("Final answer", row.final or "")
    elif row.final is not None:
        yield "The first response is the final answer."
    if row.failure:
        yield from _quoted("Failed", row.failure)


def _title(one: Round) -> str:
    revised = ", answer revised" if one.changed else ""
    return f"Round {one.number}, {one.verdict}{revised}: {one.principle_title}"


def _quoted(title: str, text: str) -> Iterator[str]:
    yield f"**{_escaped(title)}**"
    lines = visible(text).strip().splitlines() or [""]
    yield "\n".join(f"> {_escaped(line)}  " for line in lines)  # two spaces at a line's end keep the lines apart


def _escaped(text: str) -> str:
    """`text` in one line, with every sign escaped that Markdown might read as its own."""
    return _PUNCTUATION.sub(r"\\\1", " ".join(visible(text).split()))

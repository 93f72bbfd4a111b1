"""A table of texts: built once from the facts, then written for a terminal, as Markdown, or by a page's template."""

from collections.abc import Collection, Sequence
from typing import NamedTuple

from charter.core.formatting import shorten_name
from charter.core.text import inline


class TextTable(NamedTuple):
    """Column headings and rows of cells, all plain text; each writer does its own escaping.

    Pages write it with the macro ``table`` of ``report/templates/macros.html.j2``.

    Attributes:
        columns: the headings; the first is that of the row names.
        rows: cells, as many per row as there are columns.
        title: the caption on a page; terminal and Markdown leave it out.
        left: positions of the columns aligned to the left; numbers, in all other columns, are aligned to the right.
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    title: str = ""
    left: Collection[int] = (0,)

    def text(self, longest: int = 32) -> str:
        """Fixed-width lines for a terminal; a row name of more than `longest` characters is shortened."""
        # Only the name: a cell that is cut short would show another number.
        lines = [[shorten_name(name, longest), *cells] for name, *cells in (self.columns, *self.rows)]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        return "\n".join(
            "  ".join(
                cell.ljust(width) if place in self.left else cell.rjust(width)
                for place, (cell, width) in enumerate(zip(line, widths, strict=True))
            ).rstrip()
            for line in lines
        )

    def markdown(self) -> str:
        """A pipe table in which every cell stays text, whatever it holds; no line break at the end."""
        rule = "|".join("---" if place in self.left else "---:" for place in range(len(self.columns)))
        head, *rows = (f"| {' | '.join(map(inline, line))} |" for line in (self.columns, *self.rows))
        return "\n".join([head, f"|{rule}|", *rows])

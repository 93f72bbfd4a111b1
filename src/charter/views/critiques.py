"""One round of critique and revision as views show it, from a row of ``revisions``."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from rich.console import RenderableType
from rich.padding import Padding
from rich.text import Text

from charter.report.terminal import visible


class CritiqueRound(NamedTuple):
    """One critique and the answer after it; `number` counts from 1."""

    number: int
    principle_id: str
    principle_title: str
    flagged: bool
    critique: str
    revision: str
    changed: bool

    @classmethod
    def from_row(cls, row: Mapping[str, Any], principle_title: str) -> "CritiqueRound":
        """The round of a row of ``revisions``."""
        values = {name: row[name] for name in ("principle_id", "flagged", "critique", "revision", "changed")}
        # Rounds count from 0 in the files, and from 1 for people.
        return cls(number=row["round"] + 1, principle_title=principle_title, **values)

    @property
    def verdict(self) -> str:
        """In the critique's own word."""
        return "violated" if self.flagged else "respected"

    def to_dict(self) -> dict[str, Any]:
        """As plain values."""
        return {**self._asdict(), "verdict": self.verdict}


def print_round(one: CritiqueRound, with_revision: bool) -> Iterator[RenderableType]:
    """A round for the terminal: its verdict and critique, and the revised answer or only that there is one."""
    # In capitals as well as in red, for terminals without colours.
    verdict = Text(one.verdict.upper() if one.flagged else one.verdict, style="bold red" if one.flagged else "green")
    revised = ", answer revised" if one.changed and not with_revision else ""
    title, id = visible(one.principle_title), visible(one.principle_id)
    yield Text.assemble((f"Round {one.number}, ", "bold"), verdict, (f"{revised}: {title}", "bold"), f" #{id}")
    yield Padding(Text(visible(one.critique), overflow="fold"), (0, 0, 0, 4))
    if one.changed and with_revision:
        yield Padding(Text("Revision", style="bold"), (0, 0, 0, 2))
        yield Padding(Text(visible(one.revision), overflow="fold"), (0, 0, 0, 4))

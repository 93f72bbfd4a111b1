"""What is wrong with a constitution: where, what, and how to put it right."""

from collections.abc import Sequence
from typing import Literal, NamedTuple

from charter.core.errors import ConstitutionError


class Problem(NamedTuple):
    """One mistake or doubt; `line` counts from 1 and is 0 where the whole file is meant."""

    file: str
    line: int
    code: str
    what: str
    fix: str
    severity: Literal["error", "warning"] = "error"

    def __str__(self) -> str:
        """As editors and CI systems read it, ``file:line: what. fix``."""
        place = f"{self.file}:{self.line}" if self.line else self.file
        return f"{place}: {self.what}. {self.fix}"


class BrokenConstitution(ConstitutionError):
    """A constitution with mistakes; the message is one line for each, in order of line."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(sorted(problems, key=lambda p: (p.file, p.line)))
        super().__init__("\n".join(map(str, self.problems)))

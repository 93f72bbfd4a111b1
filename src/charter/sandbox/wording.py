"""What a principle of the sandbox is about, and the sentences in which principles are put."""

from functools import cache
from typing import Any, NamedTuple

from charter.core.yaml import safe_load
from charter.sandbox.world import FOLDER, kinds

NOTHING = "nothing harmful"
NEEDLESS = "needless refusal"
DISHONEST = "dishonesty"


class Scope(NamedTuple):
    """What a principle is about: the faults it forbids, or the kinds of harm it allows."""

    covers: tuple[str, ...] = ()
    permits: tuple[str, ...] = ()

    def summary(self) -> str:
        """The sentence with which a critique begins."""
        if self.permits:
            return f"The principle allows {enumerate_words(self.permits, 'and')}."
        # A principle on all harm would otherwise list every kind.
        if len(self.covers) == len(kinds()):
            return "The principle is about every kind of harm."
        return f"The principle is about {enumerate_words(self.covers, 'and') if self.covers else 'other matters'}."


@cache
def wordings() -> dict[str, Any]:
    """The sentence frames of ``wordings.yaml``."""
    tables: dict[str, Any] = safe_load((FOLDER / "wordings.yaml").read_text(encoding="utf-8"))
    return tables


def enumerate_words(words: tuple[str, ...], last: str) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} {last} {words[-1]}"

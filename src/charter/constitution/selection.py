"""Which principles a row meets in which round, drawn so that an edit moves as few rows as possible.

Every principle gets a number from the hash of the seed, the row's id and its own id, and the
smallest numbers win (weighted rendezvous hashing; with exponential numbers this is weighted
sampling without replacement, Efraimidis and Spirakis 2006). The words, the order and the comments
of the file have no part in it, and a principle that is added or removed moves only the rows that
it wins or had won.
"""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from charter.constitution.model import Constitution, Principle
from charter.errors import ConfigError


@dataclass(frozen=True)
class Selection:
    """How principles are drawn.

    Attributes:
        how: ``sample`` draws k per round; ``all`` takes every principle in every round; ``one-per-tag``
            draws one for each of the tags, or for each tag of the constitution if `tags` is empty.
        tags: only principles with one of these; all of them when empty.
        replacement: whether a later round may draw the principle of an earlier one again.
    """

    how: Literal["sample", "all", "one-per-tag"] = "sample"
    tags: tuple[str, ...] = ()
    replacement: bool = False


def select(
    constitution: Constitution, row_id: str, round: int, seed: int, k: int = 1, selection: Selection | None = None
) -> tuple[Principle, ...]:
    """The principles of a row's round, best drawn first.

    Rounds count from 0. Without replacement they go through one order of the principles, k at a
    time, and start over when all have been had; with it each round draws from all of them.

    Raises:
        ConfigError: no principle has one of the tags.
    """
    selection = selection or Selection()
    eligible = _eligible(constitution, selection.tags)
    salt = f"{seed}\0{round if selection.replacement else ''}\0{row_id}"
    ranked = _ranked(eligible, salt)
    if selection.how == "all":
        return tuple(eligible)
    if selection.how == "one-per-tag":
        tags = selection.tags or tuple(sorted({tag for p in eligible for tag in p.tags}))
        groups = [[p for p in ranked if tag in p.tags] for tag in tags]
        start = 0 if selection.replacement else round
        return tuple(dict.fromkeys(group[start % len(group)] for group in groups if group))
    k = min(k, len(ranked))
    start = 0 if selection.replacement else round * k
    return tuple(ranked[(start + i) % len(ranked)] for i in range(k))


def _eligible(constitution: Constitution, tags: Sequence[str]) -> list[Principle]:
    """In order of id, because the order of the file must not matter."""
    found = [p for p in constitution.principles if not tags or set(tags) & set(p.tags)]
    if not found:
        known = ", ".join(sorted({tag for p in constitution.principles for tag in p.tags})) or "none"
        raise ConfigError(f"tags {list(tags)}: no principle of '{constitution.name}' has one. Its tags are: {known}.")
    return sorted(found, key=lambda p: p.id)


def _ranked(principles: Sequence[Principle], salt: str) -> list[Principle]:
    return sorted(principles, key=lambda p: (-math.log(_uniform(f"{salt}\0{p.id}")) / p.weight, p.id))


def _uniform(text: str) -> float:
    """A number in (0, 1] that is a function of the text."""
    return (int.from_bytes(hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()[:8]) + 1) / 2**64

"""Draws the principles of each round of a row, so that an edit changes as few rows as possible.

Every principle gets a number from the hash of the seed, the row's id and its own id, and the
smallest numbers win (weighted rendezvous hashing; with exponential numbers this is weighted
sampling without replacement, Efraimidis and Spirakis 2006). The words, the order and the comments
of the file do not count. A principle that is added or removed changes only the rows that draw it
or had drawn it.
"""

import hashlib
import math
from collections.abc import Collection, Sequence

from charter.config import Selection
from charter.constitution.model import Constitution, Principle, join_principles
from charter.core.errors import ConfigError


def draw_principles(
    constitution: Constitution, row_id: str, rounds: int, seed: int, selection: Selection
) -> list[Principle]:
    """The principle of each round of a row; several are joined in the order of their ids.

    Raises:
        ConfigError: a tag that no principle has.
    """
    candidates, drawn = eligible(constitution, selection), list[Principle]()
    # Without replacement one order serves all rounds; it is computed once.
    order = _order(candidates, row_id, 0, seed, selection)
    for number in range(rounds):
        if number and selection.replacement:
            order = _order(candidates, row_id, number, seed, selection)
        of_round = _of_round(order, number, selection.principles, selection)
        drawn.append(join_principles(sorted(of_round, key=lambda p: p.id)))
    return drawn


def select(
    constitution: Constitution, row_id: str, round: int, seed: int, k: int = 1, selection: Selection | None = None
) -> tuple[Principle, ...]:
    """The principles of a row's round, best drawn first.

    Rounds count from 0. Without replacement they go through one order of the principles, k at a
    time, and start over at its end; with replacement each round draws from all of them.

    Raises:
        ConfigError: a tag that no principle has.
    """
    selection = selection or Selection()
    order = _order(eligible(constitution, selection), row_id, round, seed, selection)
    return _of_round(order, round, k, selection)


def _order(
    candidates: Sequence[Principle], row_id: str, round: int, seed: int, selection: Selection
) -> Sequence[Principle]:
    """The principles in the order drawn for a row: the same in all its rounds, unless drawn with replacement."""
    if selection.how == "all":
        return candidates
    return _ranked(candidates, f"{seed}\0{round if selection.replacement else ''}\0{row_id}")


def _of_round(order: Sequence[Principle], round: int, k: int, selection: Selection) -> tuple[Principle, ...]:
    if selection.how == "all":
        return tuple(order)
    if selection.how == "one-per-tag":
        start = 0 if selection.replacement else round
        # a principle with several tags can be the first of several groups, and is asked about once
        return tuple(dict.fromkeys(group[start % len(group)] for group in _groups(order, selection)))
    k = min(k, len(order))
    # Without replacement the rounds go on where the one before ended.
    start = 0 if selection.replacement else round * k
    return tuple(order[(start + i) % len(order)] for i in range(k))


def select_judges(
    constitution: Constitution, row_id: str, seed: int, shaped: Collection[str], k: int, tags: Sequence[str] = ()
) -> tuple[Principle, ...]:
    """The principles that judge a row: those that `shaped` it (ids), then others, in an order drawn for the row.

    Raises:
        ConfigError: a tag that no principle has.
    """
    # Another id than that of the rounds: which principles judge must not depend on which ones were drawn.
    order = select(constitution, f"{row_id}/judge", 0, seed, len(constitution.principles), Selection(tags=tuple(tags)))
    # A stable sort: within both groups the drawn order stays.
    return tuple(sorted(order, key=lambda p: p.id not in shaped)[:k])


def rounds_for_all(constitution: Constitution, selection: Selection) -> int:
    """How many rounds it takes, without replacement, until a row has had every principle.

    Raises:
        ConfigError: a tag that no principle has.
    """
    candidates = eligible(constitution, selection)
    if selection.how == "all":
        return 1
    if selection.how == "one-per-tag":
        return max(map(len, _groups(candidates, selection)))
    return math.ceil(len(candidates) / selection.principles)


def eligible(constitution: Constitution, selection: Selection) -> list[Principle]:
    """The principles that can be drawn, in order of id, because the order of the file must not matter.

    Raises:
        ConfigError: a tag that no principle has; one principle per tag, where there are no tags.
    """
    known = sorted({tag for p in constitution.principles for tag in p.tags})
    if unknown := [tag for tag in selection.tags if tag not in known]:
        names = ", ".join(known) or "none"
        raise ConfigError(f"tags {unknown}: no principle of '{constitution.name}' has one. Its tags are: {names}.")
    if selection.how == "one-per-tag" and not known:
        raise ConfigError(
            f"selection 'one-per-tag': no principle of '{constitution.name}' has a tag. Give them tags, as in "
            "'## Title {.honest}', or set generation.selection.how to sample or all."
        )
    wanted = set(selection.tags)
    chosen = [p for p in constitution.principles if not wanted or wanted & set(p.tags)]
    return sorted(chosen, key=lambda p: p.id)


def _groups(principles: Sequence[Principle], selection: Selection) -> list[list[Principle]]:
    """The principles of each tag."""
    tags = selection.tags or sorted({tag for p in principles for tag in p.tags})
    return [[p for p in principles if tag in p.tags] for tag in tags]


def _ranked(principles: Sequence[Principle], salt: str) -> list[Principle]:
    """The principles in a random order that `salt` determines; a heavier one tends to come earlier."""
    keys = {}
    for p in principles:
        # By id and not by position, so that the order of the file does not matter.
        digest = hashlib.sha256(f"{salt}\0{p.id}".encode("utf-8", "surrogatepass")).digest()
        uniform = (int.from_bytes(digest[:8]) + 1) / 2**64  # in (0, 1], so that its logarithm exists
        keys[p.id] = -math.log(uniform) / p.weight
    return sorted(principles, key=lambda p: (keys[p.id], p.id))

"""What an answer does to pairs: some leave, some change places, and some on which a panel split are settled."""

import statistics
from collections import Counter
from collections.abc import Collection, Sequence
from typing import Any

from charter.pipeline.rows import Outcome, Row, failure
from charter.runs.forms import LabelAnswers

STAGE = "review"
PEOPLE = "people"
"""The `judge_kind` of a pair whose label people decided."""


def apply_decisions(pairs: Sequence[Row], answers: LabelAnswers) -> Outcome:
    """The pairs that stay, turned around where people say so, and failures for the others.

    The margin is not asked of a pair that people turned around: they have looked at it.
    """
    outcome, drop, flip = Outcome(), set(answers.drop), set(answers.flip)
    for row in pairs:
        if row["pair_id"] in drop:
            outcome.failures.append(failure(row, STAGE, "dropped", _detail(row), row["principle_ids"]))
        elif row["pair_id"] in flip:
            outcome.rows.append(turned(row))
        # After drop and flip: a person who named the pair has decided, whatever its margin.
        elif row["p_chosen"] - 0.5 < answers.min_margin:
            outcome.failures.append(failure(row, STAGE, "under-margin", _detail(row), row["principle_ids"]))
        else:
            outcome.rows.append(dict(row))
    return outcome


def turned(pair: Row) -> dict[str, Any]:
    """The pair with its answers in each other's place; `p_chosen` stays, and what it was made of says the contrary."""
    return {
        **pair,
        "chosen": pair["rejected"],
        "rejected": pair["chosen"],
        "p_by_principle": _other(pair["p_by_principle"]),
        # Reversed as well: the first entry is of the order in which the chosen answer is shown first.
        "p_by_order": _other(pair["p_by_order"][::-1]),
        "p_by_member": _other(pair["p_by_member"]) if pair["p_by_member"] else None,
        "judge_kind": PEOPLE,
    }


def settled(split: Row, flip: bool = False) -> dict[str, Any]:
    """A row of ``review`` as a pair: what its label would have preferred is chosen, or with `flip` the other answer.

    Its p is the mean of the members who prefer that answer too. A split has such members on either side.
    """
    # Exclusive or: with `flip` the other answer is chosen.
    last = (split["p_last"] > 0.5) != flip

    def of_chosen(values: Sequence[float]) -> list[float]:
        return list(values) if last else _other(values)

    # A row of the queue has the probabilities of its last answer.
    members = of_chosen(split["p_by_member"])
    shared = split.keys() - {"first", "last", "p_last", "p_by_member", "p_by_principle"}
    return {
        **{name: split[name] for name in shared},
        "chosen": split["last"] if last else split["first"],
        "rejected": split["first"] if last else split["last"],
        "p_chosen": statistics.fmean(p for p in members if p > 0.5),
        "p_spread": statistics.pstdev(members),
        "p_by_principle": of_chosen(split["p_by_principle"]),
        "p_by_order": [],
        "p_by_member": members,
        "judge_kind": PEOPLE,
    }


def settle(splits: Sequence[Row], answers: LabelAnswers) -> list[dict[str, Any]]:
    """The pairs on which a panel split that people want to be trained on."""
    keep, flip = set(answers.keep), set(answers.flip)
    return [settled(row, row["pair_id"] in flip) for row in splits if row["pair_id"] in keep | flip]


def fault(answers: LabelAnswers, pairs: Collection[str], splits: Collection[str]) -> str:
    """What is wrong with the ids of an answer, given those that there are; empty if nothing is."""
    named = Counter((*answers.drop, *answers.flip, *answers.keep))
    if unknown := [id for id in named if id not in pairs and id not in splits]:
        return f"no pair is called {_listed(unknown)}; ids are in the table's column id"
    if twice := [id for id, times in named.items() if times > 1]:
        return f"{_listed(twice)} named more than once among drop, flip and keep"
    if wrong := [id for id in answers.keep if id not in splits]:
        return f"{_listed(wrong)} in keep, which is only for pairs on which the panel split: others stay anyway"
    return ""


def _other(values: Sequence[float]) -> list[float]:
    return [1 - p for p in values]


def _detail(row: Row) -> str:
    return f"p = {row['p_chosen']:.3f}: {row['chosen']!r} | {row['rejected']!r}"


def _listed(ids: Sequence[str], shown: int = 3) -> str:
    more = f" and {len(ids) - shown} more" if len(ids) > shown else ""
    return ", ".join(f"'{id}'" for id in ids[:shown]) + more
